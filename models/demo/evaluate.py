#!/usr/bin/env python3
"""Asks the trained models about held-out scenes: a table of right answers, and the experts' load.

An answer is right when greedy decoding gives exactly the wanted text. That is the case if and only
if, with the wanted answer fed in, every one of its tokens and the end is the most likely one: so
one packed forward pass judges all questions of a scene.
"""

import argparse
import os
import random
from collections import defaultdict

import torch
from tqdm import tqdm

import data
import export
import scenes
from model import Config, DemoModel
from tokenizer import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
CHUNKS = 7
SCENES_AT_ONCE = 16


def held_out_branches(tokenizer, scene):
    """[(label, branch)]: one question of every kind and one dialogue of three turns."""
    rng = random.Random(f"held out {scene.seed}")
    out = []
    for kind in scenes.KINDS:
        question = scenes.ask(scene, rng, kind)
        if question:
            label = kind
            if kind == "open relation":
                label += " (two things)" if len(scene.things) == 2 else " (three and more)"
            out.append((label, data.branch(tokenizer, [(question.text, question.answer)])))
    turns = [(q.text, q.answer) for q in scenes.ask_any(scene, rng, 3)]
    return out + [("dialogue of three turns", data.branch(tokenizer, turns))]


@torch.no_grad()
def judge(model, tokenizer, count):
    """{label: [asked, right]} and, for a sparse model, the experts' load (see `add_load`)."""
    table, load = defaultdict(lambda: [0, 0]), {}
    before = torch.tensor(tokenizer.before_image())
    for first in tqdm(range(0, count, SCENES_AT_ONCE), mininterval=5):
        drawn = [scenes.make_scene(scenes.HELD_OUT + i)
                 for i in range(first, min(count, first + SCENES_AT_ONCE))]
        asked = [held_out_branches(tokenizer, scene) for scene in drawn]
        ids, targets, segment, position = data.pack([[b for _, b in a] for a in asked], CHUNKS)
        seen = model.see(torch.stack([torch.from_numpy(scenes.see(s)) for s in drawn]))
        wanted = (targets != data.IGNORE).flatten().nonzero()[:, 0]
        logits = model(before, seen, ids, segment, position, wanted)
        wrong = torch.zeros(targets.shape, dtype=torch.bool)
        wrong.view(-1)[wanted] = logits.argmax(-1) != targets.flatten()[wanted]
        for row, questions in enumerate(asked):
            mine = slice(row * CHUNKS, (row + 1) * CHUNKS)
            for n, (label, _) in enumerate(questions):
                here = segment[mine] == n
                assert here.any(), "a branch found no room"
                table[label][0] += 1
                table[label][1] += not bool(wrong[mine][here].any())
        add_load(load, model)
    return table, load


def add_load(load, model):
    """Adds to load[(layer, "picture" or "text")] the choices per expert of the last forward."""
    for layer, experts in zip(model.config.moe_layers, model.experts()):
        _, picture, text = experts.routed  # system prompt, pictures, questions and answers
        for name, (_, chosen) in (("picture", picture), ("text", text)):
            counts = torch.bincount(chosen.flatten(), minlength=model.config.experts)
            load[layer, name] = load.get((layer, name), 0) + counts
        experts.routed.clear()


def plot_load(load, path):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    layers = sorted({layer for layer, _ in load})
    figure, axes = plt.subplots(1, len(layers), figsize=(2.6 * len(layers), 2.4), sharey=True)
    for axis, layer in zip(axes, layers):
        for shift, name, colour in ((-0.2, "picture", "#3b6fb6"), (0.2, "text", "#e08a2e")):
            share = load[layer, name] / load[layer, name].sum()
            axis.bar([e + shift for e in range(len(share))], share, 0.4, label=name, color=colour)
        axis.axhline(1 / len(share), color="grey", linewidth=0.8, linestyle=":")
        axis.set_title(f"layer {layer}", fontsize=9)
        axis.set_xticks(range(len(share)), [f"expert {e}" for e in range(len(share))], fontsize=6)
    axes[0].set_ylabel("share of choices", fontsize=8)
    axes[0].legend(fontsize=7, frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", default=HERE, help="where checkpoint/ lies")
    parser.add_argument("--dense", help="state of the dense model (dense_model.pt of train.py)")
    parser.add_argument("--scenes", type=int, default=2500)
    parser.add_argument("--plot", help="PNG file for the experts' load")
    options = parser.parse_args()
    tokenizer = Tokenizer.load(f"{options.folder}/checkpoint")
    columns = {}
    if options.dense:
        dense = DemoModel(Config(vocab=tokenizer.size))
        dense.load_state_dict(torch.load(options.dense))
        columns["dense, after stage 2"], _ = judge(dense.eval(), tokenizer, options.scenes)
    columns["experts, after stage 3"], load = judge(export.load(options.folder), tokenizer,
                                                    options.scenes)
    print(f"| question | n | {' | '.join(columns)} |\n| --- | ---: |{' ---: |' * len(columns)}")
    for label in next(iter(columns.values())):
        rights = [f"{100 * table[label][1] / table[label][0]:.1f} %" for table in columns.values()]
        print(f"| {label} | {next(iter(columns.values()))[label][0]} | {' | '.join(rights)} |")
    for (layer, name), counts in sorted(load.items()):
        print(f"layer {layer} {name}:", " ".join(f"{c / counts.sum():.2f}" for c in counts))
    if options.plot:
        plot_load(load, options.plot)


if __name__ == "__main__":
    main()
