#!/usr/bin/env python3
"""Draws the example pictures and records what the trained model says about them.

Writes images/ with questions.json (question and right answer of each picture) and oracle.json: for
every question the prompt's ids, the ids that greedy decoding gives in float32 with the weights as
stored, and by how much each beat the second best logit. Fails when an answer is not the right one.
"""

import argparse
import json
import os
import random
import sys

import torch
from PIL import Image

import export
import scenes
from tokenizer import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
SIDE = 224

# (held-out scene, kinds of question)
EXAMPLES = [
    (534, ["description", "presence adversarial", "open relation"]),
    (517, ["count all", "size"]),
    (507, ["where", "colour"]),
    (525, ["count colour", "presence yes"]),
    (511, ["relation", "open relation", "description"]),
    (536, ["count all", "presence adversarial"]),
]


@torch.no_grad()
def answer(model, tokenizer, picture, question, most=80):
    """(prompt ids, answer ids with the end, margins) of greedy decoding, picture in `pad` mode."""
    seen = model.see(torch.from_numpy(scenes.preprocess(picture))[None])[0]
    prompt = tokenizer.prompt([(question, None)])
    said, margins = [], []
    while len(said) < most and tokenizer.end not in said:
        best = model.logits(prompt + said, seen)[-1].topk(2)
        said.append(int(best.indices[0]))
        margins.append(round(float(best.values[0] - best.values[1]), 3))
    return prompt, said, margins


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", default=HERE, help="where checkpoint/ lies and images/ go")
    folder = parser.parse_args().folder
    model, tokenizer = export.load(folder), Tokenizer.load(f"{folder}/checkpoint")
    os.makedirs(f"{folder}/images", exist_ok=True)
    questions, oracle, wrong = [], [], 0
    for number, (seed, kinds) in enumerate(EXAMPLES, 1):
        scene = scenes.make_scene(scenes.HELD_OUT + seed, SIDE)
        name = f"scene{number}.{'jpg' if scene.jpeg else 'png'}"
        with open(f"{folder}/images/{name}", "wb") as file:
            file.write(scenes.encode(scene)[0])
        picture = Image.open(f"{folder}/images/{name}").convert("RGB")
        for kind in kinds:
            asked = scenes.ask(scene, random.Random(f"example {seed} {kind}"), kind)
            prompt, said, margins = answer(model, tokenizer, picture, asked.text)
            given = tokenizer.decode(said)
            wrong += given != asked.answer
            print(f"{name}: {asked.text} {given}"
                  + ("" if given == asked.answer else f"  (wanted: {asked.answer})"))
            questions.append({"image": name, "question": asked.text, "answer": asked.answer})
            oracle.append({"image": name, "question": asked.text, "prompt_token_ids": prompt,
                           "token_ids": said, "text": given, "margins": margins})
    for name, value in (("images/questions.json", questions), ("oracle.json", oracle)):
        with open(f"{folder}/{name}", "w", encoding="utf-8") as file:
            file.write("[\n" + ",\n".join(json.dumps(v) for v in value) + "\n]\n")
    if wrong:
        sys.exit(f"{wrong} answers are wrong")


if __name__ == "__main__":
    main()
