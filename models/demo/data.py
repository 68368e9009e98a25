"""Training data: pictures drawn once into a file, labels for the tower, packed conversations.

Packing: after its 64 image rows a picture owns a few chunks of 64 tokens, filled with independent
branches (a question with its answer, a short dialogue, a description); none crosses a chunk. A
branch sees the prefix (system prompt and picture) and itself, and its positions start where the
picture ends: exactly what it would see alone, with the prefix computed once for all. The system
prompt comes before the picture, so one copy serves the batch.
"""

import multiprocessing
import os
import random

import numpy as np
import torch
from tqdm import tqdm

import scenes

SIDE = 8                 # patches along a side of the picture
PATCHES = SIDE * SIDE
CHUNK = 64               # tokens of a chunk of branches
CHUNKS = 5               # chunks of a picture
IGNORE = -100            # a target that does not count


def _see(seed):
    return scenes.see(scenes.make_scene(seed))


def pictures(path, first, count):
    """uint8 [count, 112, 112, 3] of the scenes from seed `first` on, drawn where the file lacks."""
    shape = (count, scenes.IMAGE_SIZE, scenes.IMAGE_SIZE, 3)
    if not os.path.exists(path):
        out = np.lib.format.open_memmap(path + ".part", "w+", np.uint8, shape)
        with multiprocessing.Pool() as pool:
            drawn = pool.imap(_see, range(first, first + count), chunksize=256)
            for i, picture in enumerate(tqdm(drawn, "pictures", count, mininterval=5)):
                out[i] = picture
        out.flush()
        os.rename(path + ".part", path)
    return np.load(path, mmap_mode="r")


# ---------------------------------------------------------------------------- labels of the tower


def tower_labels(scene):
    """Per patch: covered, shape, colour, size, cell, centre (x, y) and offset (x, y) of the nearest
    thing; per picture: which of the 32 names are there, and the count."""
    side = max(scene.width, scene.height)
    shorter = min(scene.width, scene.height)
    pad_x, pad_y = (side - scene.width) / 2, (side - scene.height) / 2
    grid = (np.arange(SIDE) + 0.5) / SIDE
    px, py = np.meshgrid(grid, grid)
    best = np.full((SIDE, SIDE), 9.0)
    whole = np.zeros((SIDE, SIDE, 5), np.int64)   # covered, shape, colour, size, cell
    real = np.zeros((SIDE, SIDE, 4), np.float32)  # centre x y in the picture, offset x y
    names = np.zeros(32, np.float32)
    for t in scene.things:
        x, y = (t.x * scene.width + pad_x) / side, (t.y * scene.height + pad_y) / side
        radius = t.radius * shorter / side
        distance = np.hypot(px - x, py - y) / radius
        near = distance < best
        best = np.minimum(best, distance)
        shape, colour = scenes.SHAPES.index(t.shape), scenes.COLOUR_NAMES.index(t.colour)
        whole[near, 1:] = [shape, colour, t.size == "large", t.cell]
        real[near, 0], real[near, 1] = t.x, t.y
        real[near, 2], real[near, 3] = (x - px)[near], (y - py)[near]
        whole[..., 0] |= distance < 1.0
        names[colour * 4 + shape] = 1
    return whole.reshape(PATCHES, 5), real.reshape(PATCHES, 4), names, len(scene.things)


def all_tower_labels(first, count):
    rows = [tower_labels(scenes.make_scene(s))
            for s in tqdm(range(first, first + count), "labels", mininterval=5)]
    return [torch.from_numpy(np.stack([np.asarray(r[i]) for r in rows])) for i in range(4)]


# ---------------------------------------------------------------------------- conversations


def branch(tokenizer, turns):
    """(ids, targets) of one branch: [(question, answer)], without the prefix."""
    ids, targets = [], []
    for i, (question, answer) in enumerate(turns):
        asked = tokenizer.encode(f"\n{question} ASSISTANT:" if i == 0
                                 else f"USER: {question} ASSISTANT:")
        said = tokenizer.encode(f" {answer}") + [tokenizer.end]
        # A token's target is the token after it.
        targets += [IGNORE] * (len(asked) - (i == 0)) + said
        ids += asked + said
    return ids[:-1], targets


def branches(tokenizer, scene, rng, count):
    """`count` single questions, some joined to a dialogue, or with one description."""
    made = [(q.text, q.answer) for q in scenes.ask_any(scene, rng, count)]
    if rng.random() < 0.4:
        turns, made = made[:3], made[3:]
        out = [branch(tokenizer, turns[:rng.choice([2, 3])])]
    else:
        description = scenes.ask(scene, rng, "description")
        out = [branch(tokenizer, [(description.text, description.answer)])]
    return out + [branch(tokenizer, [turn]) for turn in made]


def pack(rows, chunks=CHUNKS):
    """Rows of branches to ids, targets, segment (number of the branch, -1: padding) and position,
    each [rows * chunks, CHUNK]; what finds no room is left out."""
    ids = np.zeros((len(rows) * chunks, CHUNK), np.int64)
    targets = np.full_like(ids, IGNORE)
    segment = np.full_like(ids, -1)
    position = np.zeros_like(ids)
    for r, row in enumerate(rows):
        used = [0] * chunks
        for n, (some, wanted) in enumerate(row):
            chunk = next((c for c in range(chunks) if used[c] + len(some) <= CHUNK), None)
            if chunk is None:
                continue
            at, end, c = used[chunk], used[chunk] + len(some), r * chunks + chunk
            ids[c, at:end], targets[c, at:end], segment[c, at:end] = some, wanted, n
            position[c, at:end] = np.arange(len(some))
            used[chunk] = end
    return [torch.from_numpy(a) for a in (ids, targets, segment, position)]


class Batches(torch.utils.data.IterableDataset):
    """Endless batches (indices of pictures, ids, targets, segment, position), from a seed."""

    def __init__(self, tokenizer, count, size, seed, skip):
        self.tokenizer, self.count, self.size, self.seed = tokenizer, count, size, seed
        self.skip = skip

    def __iter__(self):
        step = self.skip
        while True:
            rng = random.Random(f"{self.seed} {step}")
            chosen = [rng.randrange(self.count) for _ in range(self.size)]
            rows = [branches(self.tokenizer, scenes.make_scene(s), rng, 24) for s in chosen]
            yield torch.tensor(chosen), *pack(rows)
            step += 1
