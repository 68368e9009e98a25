#!/usr/bin/python3
"""What weights of 8 and 4 bits cost in answers: the demonstration model with its matrices rounded as --weights keeps them.

  bench/weight_formats.py [--scenes 250] [--bin build/release/bin]

Rounds the language model's matrices in a copy of the checkpoint by the rules of cuda/weight_format.h, serves it on the CPU in float32
and asks what tests/demo_quality asks. So it tells what rounding weights costs, and nothing about rows and caches of 8 bits.
Needs what tests/demo_quality needs.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "models" / "demo"
MATRICES = re.compile(r"model\.layers\.\d+\..*(_proj|dense|fc1|fc2)\.weight|lm_head\.weight")


def fp8(x):
    """The nearest E4M3 numbers (OCP OFP8), ties to even."""
    exponent = np.maximum(np.floor(np.log2(np.maximum(np.abs(x), 2.0**-20))), -6)
    step = 2.0 ** (exponent - 3)
    return np.clip(np.rint(x / step) * step, -448, 448)


def scaled(groups, most, rounded, scale_of=lambda scale: scale):
    """Groups along the last axis: each its scale times rounded numbers of at most `most`."""
    scale = scale_of(np.abs(groups).max(axis=-1, keepdims=True) / np.float32(most))
    safe = np.where(scale > 0, scale, 1)
    return np.where(scale > 0, rounded(groups / safe) * scale, 0).astype(np.float32)


def five_bits(scale):
    fraction, exponent = np.frexp(scale)
    return np.ldexp(np.rint(fraction * 32) / 32, exponent).astype(np.float32)


def round_matrix(name, matrix, weights):
    if weights == "int4" and name != "lm_head.weight":
        rows, columns = matrix.shape
        padded = np.pad(matrix, ((0, 0), (0, -columns % 64))).reshape(rows, -1, 64)
        return scaled(padded, 7, lambda x: np.clip(np.rint(x), -7, 7), five_bits).reshape(rows, -1)[:, :columns]
    if weights == "fp8":
        return scaled(matrix, 448, fp8)
    return scaled(matrix, 127, lambda x: np.clip(np.rint(x), -127, 127))


def read_tensors(path):
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    for name, info in json.loads(data[8 : 8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + size + offset for offset in info["data_offsets"])
        yield name, np.frombuffer(data[begin:end], {"F16": "<f2", "F32": "<f4"}[info["dtype"]]).reshape(info["shape"])


def write_tensors(path, tensors):
    header, pieces, place = {}, [], 0
    for name, tensor in tensors.items():
        piece = tensor.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": [place, place + len(piece)]}
        place += len(piece)
        pieces.append(piece)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(pieces))


def make_checkpoint(folder, weights):
    for file in (MODEL / "checkpoint").iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).symlink_to(file)
    tensors = {}
    for name, tensor in read_tensors(MODEL / "checkpoint" / "model.safetensors"):
        tensor = tensor.astype(np.float32)
        chosen = weights and MATRICES.fullmatch(name)
        tensors[name] = round_matrix(name, tensor, weights) if chosen else tensor
    write_tensors(folder / "model.safetensors", tensors)


def ask(folder, bin_folder, scenes):
    """(questions asked, answered exactly right, the kind that was answered worst)."""
    log = folder / "server.log"
    command = [bin_folder / "tessera-server", "--model", folder, "--vision-tower", MODEL / "vision_tower"]
    command += ["--device", "cpu", "--dtype", "float32", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]
    server = subprocess.Popen(command, stdout=log.open("w"), stderr=subprocess.STDOUT)
    try:
        while not (found := re.search(r"serving grpc on ([^ ,]*).*ready after", log.read_text(), re.DOTALL)):
            if server.poll() is not None:
                sys.exit(log.read_text())
            time.sleep(0.1)
        answers = subprocess.run(
            [ROOT / "tests" / "demo_quality", "--address", found[1], "--scenes", str(scenes)],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        server.terminate()
        server.wait()
    kinds = [(int(n), float(share), kind) for kind, n, share in re.findall(r"\| ([a-z].*?) \| (\d+) \| ([\d.]+) % \|", answers.stdout)]
    if not kinds:
        sys.exit(log.read_text() + answers.stdout + answers.stderr)
    right = sum(round(n * share / 100) for n, share, _ in kinds)
    worst = min(kinds, key=lambda kind: kind[1])
    return sum(n for n, _, _ in kinds), right, f"{worst[2]}, {worst[1]:.1f} %"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scenes", type=int, default=250)
    parser.add_argument("--bin", type=Path, default=ROOT / "build" / "release" / "bin")
    flags = parser.parse_args()
    print("| weights | questions | answered exactly right | worst kind |\n| --- | ---: | ---: | --- |", flush=True)
    for weights in (None, "int8", "fp8", "int4"):
        with tempfile.TemporaryDirectory() as folder:
            make_checkpoint(Path(folder), weights)
            asked, right, worst = ask(Path(folder), flags.bin, flags.scenes)
        print(f"| {weights or 'float16'} | {asked} | {100 * right / asked:.2f} % | {worst} |", flush=True)


if __name__ == "__main__":
    main()
