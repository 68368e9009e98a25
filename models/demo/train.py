#!/usr/bin/env python3
"""Trains the demonstration model from a seed, in the stages of MoE-Tuning (Lin et al. 2024).

  tower      CLIP's kind of tower with heads that name, place and count things; then frozen
  projector  stage 1: the projector alone, on descriptions and questions
  dense      stage 2: projector and language model
  experts    stage 3: feed-forwards of layers 0, 2, 4 copied to four experts each; everything but
             the tower trains, with a load-balancing loss

Every stage saves its state to --run and goes on from there when started again. Workers are
processes of one thread each that average their gradients: on a machine that others use as well, far
faster than one process with several threads.
"""

import argparse
import os
import tempfile
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

import data
import export
from model import Config, DemoModel, copy_experts, normalise
from muon import Optimiser
from tokenizer import Tokenizer, corpus, learn_merges

# Stage: steps, pictures a step, peak rate of Muon, of AdamW.
STAGES = {
    "tower": (1200, 128, 0.02, 2e-3),
    "projector": (60, 32, 0.02, 2e-3),
    "dense": (1500, 16, 0.01, 2e-3),
    "experts": (300, 16, 0.006, 8e-4),
}
MOE_LAYERS = [0, 2, 4]
BALANCE = 0.01
PICTURES = 64_000


class Loop:
    """Runs a stage: steps, schedule, progress bar, log, state on disk."""

    def __init__(self, name, options, module, parameters):
        steps, size, muon, adam = STAGES[name]
        self.size = size // options.workers
        self.steps = 12 if options.quick else steps
        self.name, self.module, self.options = name, module, options
        self.path = f"{options.run}/{name}.pt"
        self.optimiser = Optimiser(parameters, hidden_matrix, self.steps, muon, adam)
        if os.path.exists(self.path):
            state = torch.load(self.path, weights_only=False)
            module.load_state_dict(state["module"])
            self.optimiser.load(state["optimiser"])

    def save(self):
        torch.save({"module": self.module.state_dict(), "optimiser": self.optimiser.state()},
                   self.path + ".part")
        os.rename(self.path + ".part", self.path)

    def average_gradients(self):
        if self.options.workers > 1:
            grads = [p.grad for p in self.optimiser.all if p.grad is not None]
            flat = torch._utils._flatten_dense_tensors(grads)
            dist.all_reduce(flat)
            flat /= self.options.workers
            for grad, part in zip(grads, torch._utils._unflatten_dense_tensors(flat, grads)):
                grad.copy_(part)

    def run(self, losses):
        """losses(step) gives {name: loss}; their sum is minimised."""
        start, sums, began = self.optimiser.at, {}, time.time()
        leads = self.options.rank == 0
        bar = tqdm(range(start, self.steps), self.name, self.steps, initial=start, mininterval=10,
                   disable=not leads)
        for step in bar:
            parts = losses(step)
            sum(parts.values()).backward()
            self.average_gradients()
            parts = {key: value.item() for key, value in parts.items()}
            parts["norm"] = self.optimiser.step()
            for key, value in parts.items():
                sums[key] = 0.98 * sums.get(key, value) + 0.02 * value
            if leads and (step % 50 == 49 or step + 1 == self.steps):
                text = " ".join(f"{k} {v:.4f}" for k, v in sums.items())
                tqdm.write(f"{self.name} {step + 1} {text} {time.time() - began:.0f}s")
            if leads and (step % 100 == 99 or step + 1 == self.steps):
                self.save()


def hidden_matrix(name):
    """Whether Muon trains it: matrices between hidden states, no embedding, head or router."""
    return (any(part in name for part in ("layers.", "image_spatial_proj"))
            and "norm" not in name and not name.endswith("wg.weight"))


# ---------------------------------------------------------------------------- tower


class TowerTraining(nn.Module):
    """The tower with linear heads on its features, thrown away afterwards."""

    WHOLE = [2, 4, 8, 2, 9, data.SIDE, data.SIDE]  # covered, shape, colour, size, cell, row, column

    def __init__(self, tower, width):
        super().__init__()
        self.tower = tower
        self.patch_head = nn.Linear(width, sum(self.WHOLE) + 4)
        self.class_head = nn.Linear(width, 32 + 6)
        for head in (self.patch_head, self.class_head):
            nn.init.normal_(head.weight, std=0.01)

    def losses(self, pictures, whole, real, names, count):
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self.tower(pictures)
        hidden = hidden.float()
        *classes, place = self.patch_head(hidden[:, 1:]).split(self.WHOLE + [4], -1)
        inside = whole[..., 0] == 1
        out = {"covered": F.cross_entropy(classes[0].flatten(0, 1), whole[..., 0].flatten())}
        for i, name in enumerate(["shape", "colour", "size", "cell"], 1):
            out[name] = F.cross_entropy(classes[i][inside], whole[..., i][inside])
        own = torch.arange(data.PATCHES).expand(len(hidden), -1).flatten()
        out["row"] = 0.2 * F.cross_entropy(classes[5].flatten(0, 1), own // data.SIDE)
        out["column"] = 0.2 * F.cross_entropy(classes[6].flatten(0, 1), own % data.SIDE)
        out["place"] = 10 * F.l1_loss(place[inside], real[inside])
        there, number = self.class_head(hidden[:, 0]).split([32, 6], -1)
        out["there"] = 3 * F.binary_cross_entropy_with_logits(there, names)
        out["count"] = 0.5 * F.cross_entropy(number, count)
        return out


def train_tower(options, model, pictures):
    training = TowerTraining(model.tower, model.config.tower_hidden)
    named = [(n, p) for n, p in training.named_parameters()
             if f"layers.{model.config.tower_layers - 1}." not in n and "post_layernorm" not in n]
    loop = Loop("tower", options, training, named)
    if loop.optimiser.at < loop.steps:
        labels = data.all_tower_labels(0, len(pictures))

    def losses(step):
        draw = torch.Generator().manual_seed(
            options.seed * 1_000_003 + step * options.workers + options.rank)
        chosen = torch.randint(len(pictures), (loop.size,), generator=draw)
        seen = torch.from_numpy(pictures[chosen.numpy()])
        return training.losses(normalise(seen), *(part[chosen] for part in labels))

    loop.run(losses)


@torch.no_grad()
def features(options, model, pictures):
    """bfloat16 features [n, 64, tower_hidden] of all pictures, computed once, a share a worker."""
    path, width = f"{options.run}/features.bin", model.config.tower_hidden
    shape = (len(pictures), data.PATCHES, width)
    partial = path if os.path.exists(path) else path + ".part"
    out = torch.from_file(partial, True, len(pictures) * data.PATCHES * width,
                          dtype=torch.bfloat16).view(shape)
    if partial != path:
        starts = range(256 * options.rank, len(pictures), 256 * options.workers)
        for i in tqdm(starts, "features", mininterval=5, disable=options.rank > 0):
            with torch.autocast("cpu", torch.bfloat16):
                out[i:i + 256] = model.see(torch.from_numpy(pictures[i:i + 256].copy())).bfloat16()
        wait(options)
        if options.rank == 0:
            os.rename(partial, path)
    wait(options)
    return out


def wait(options):
    if options.workers > 1:
        dist.barrier()


# ---------------------------------------------------------------------------- language model


def train_language(name, options, model, tokenizer, seen, named):
    for p in model.parameters():
        p.requires_grad_(False)
    for _, p in named:
        p.requires_grad_(True)
    loop = Loop(name, options, model, named)
    batches = iter(torch.utils.data.DataLoader(
        data.Batches(tokenizer, len(seen), loop.size, f"{options.seed} {name} {options.rank}",
                     loop.optimiser.at), batch_size=None, num_workers=1, prefetch_factor=4))
    before = torch.tensor(tokenizer.before_image())

    def losses(_):
        chosen, ids, targets, segment, position = next(batches)
        with torch.autocast("cpu", torch.bfloat16):
            wanted = (targets != data.IGNORE).flatten().nonzero()[:, 0]
            logits = model(before, seen[chosen], ids, segment, position, wanted)
        out = {"answer": F.cross_entropy(logits.float(), targets.flatten()[wanted])}
        if model.experts():
            out["balance"] = BALANCE * sum(e.balance() for e in model.experts())
        return out

    loop.run(losses)


def language_parameters(model):
    return [(n, p) for n, p in model.named_parameters() if "image_tower" not in n]


def train(rank, options, rendezvous):
    options.rank = rank
    if options.workers > 1:
        torch.set_num_threads(1)
        dist.init_process_group("gloo", f"file://{rendezvous}/store", rank=rank,
                                world_size=options.workers)
    torch.manual_seed(options.seed)
    tokenizer = Tokenizer(learn_merges(corpus()))
    model = DemoModel(Config(vocab=tokenizer.size))
    pictures = data.pictures(f"{options.run}/pictures.npy", 0, options.pictures)
    train_tower(options, model, pictures)
    seen = features(options, model, pictures)
    if options.until == "tower":
        return
    with torch.no_grad():
        model.projector[0].weight /= seen[:1000].float().std()

    projector = [(n, p) for n, p in language_parameters(model) if "mm_projector" in n]
    train_language("projector", options, model, tokenizer, seen, projector)
    train_language("dense", options, model, tokenizer, seen, language_parameters(model))
    if rank == 0:
        torch.save(model.state_dict(), f"{options.run}/dense_model.pt")
    if options.until == "dense":
        return
    sparse = copy_experts(model, MOE_LAYERS)
    train_language("experts", options, sparse, tokenizer, seen, language_parameters(sparse))
    if rank == 0:
        export.export(sparse, tokenizer, options.out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", default=os.path.expanduser("~/.cache/tessera-demo"),
                        help="folder of pictures and states")
    parser.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)),
                        help="folder that gets checkpoint/ and vision_tower/")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--until", choices=["tower", "dense", "experts"], default="experts",
                        help="the last stage to run")
    parser.add_argument("--quick", action="store_true", help="a minute's run that proves the path")
    options = parser.parse_args()
    # Activations come and go in large blocks; giving them back to the kernel halves the speed. One
    # thread a worker. Both are read at a process's start, so they hold for the workers below.
    os.environ |= {"MALLOC_MMAP_THRESHOLD_": "2000000000", "MALLOC_TRIM_THRESHOLD_": "4000000000",
                   "OMP_NUM_THREADS": "1"}
    options.pictures = 512 if options.quick else PICTURES
    os.makedirs(options.run, exist_ok=True)
    data.pictures(f"{options.run}/pictures.npy", 0, options.pictures)
    with tempfile.TemporaryDirectory() as rendezvous:
        torch.multiprocessing.spawn(train, (options, rendezvous), options.workers)


if __name__ == "__main__":
    main()
