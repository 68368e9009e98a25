#!/usr/bin/env python3
"""Writes a checkpoint with random weights at a published model's full geometry, to measure loading, memory and speed.

    bench/make_checkpoint.py stablelm-1.6b-4e /tmp/stablelm-4e      (6.4 GB)
    bench/make_checkpoint.py phi2-2.7b-4e /tmp/phi2-4e              (11.2 GB)
    bench/make_checkpoint.py --bin qwen-1.8b-4e /tmp/qwen-4e        (as PyTorch's pytorch_model-*.bin; needs torch)
    bench/make_checkpoint.py llava-1.5-7b /tmp/llava-7b             (13.5 GB; its vision tower, 0.6 GB, in /tmp/llava-7b/vision_tower)
    bench/make_checkpoint.py qwen3-vl-30b-a3b-4-layers /tmp/qwen3-vl (8.6 GB: full width, 4 of its 48 layers)
    bench/make_checkpoint.py --headers-only openchat-7b-4e /tmp/openchat-4e

Needs numpy, but for --headers-only, which writes true headers before a hole of the right size, for tessera-server --check. Shards
with an index, safetensors unless --bin, bfloat16, the vision tower inside; the tokenizer is a made-up one of the right size. What it
says means nothing; how fast it says it does.
"""
import argparse
import base64
import json
import math
import pathlib
import struct
import sys

from published_models import CLIP, CLIP_CONFIG, CLIP_PROCESSOR, MODELS, config, preprocessor_config, tensors, tower_tensors
from published_qwen3_vl import FIRST_SPECIAL, SPECIAL_TOKENS

SHARD_BYTES = 4_900_000_000
BLOCK = 1 << 24  # random values drawn once and reused from changing offsets

def entry_bytes(name, shape):
    return math.prod(shape) * (4 if name.endswith("inv_freq") else 2)


def shards(entries):
    shard, size = [], 0
    for name, shape in entries:
        if shard and size + entry_bytes(name, shape) > SHARD_BYTES:
            yield shard
            shard, size = [], 0
        shard.append((name, shape))
        size += entry_bytes(name, shape)
    yield shard


def header_of(shard):
    """The bytes before the data, and the number of bytes of data."""
    header, offset = {}, 0
    for name, shape in shard:
        end = offset + entry_bytes(name, shape)
        header[name] = dict(dtype="F32" if name.endswith("inv_freq") else "BF16", shape=list(shape),
                            data_offsets=[offset, end])
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, offset


class RandomData:
    """Weights around zero, norms' weights one, in bfloat16."""

    def __init__(self):
        import numpy as np
        self.rng = np.random.default_rng(1)
        def bfloat16(values):
            return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        self.block = bfloat16(self.rng.standard_normal(BLOCK) * 0.02)
        self.ones = bfloat16(np.ones(1 << 20))

    def pieces(self, name, shape):
        """One tensor's elements as views of the block, in order."""
        left = entry_bytes(name, shape) // 2
        if "norm" in name and name.endswith(".weight"):
            yield self.ones[:left]
            return
        start = int(self.rng.integers(BLOCK))
        while left > 0:
            take = min(left, BLOCK - start)
            yield self.block[start:start + take]
            start, left = 0, left - take


def write_safetensors(path, shard, data, wrote):
    header, size = header_of(shard)
    with open(path, "wb") as file:
        file.write(header)
        if data is None:
            file.truncate(len(header) + size)
            return
        for entry in shard:
            for piece in data.pieces(*entry):
                file.write(piece.data)
            wrote(entry)


def write_torch(path, shard, data, wrote):
    import numpy as np
    import torch
    state = {}
    for name, shape in shard:
        halves = np.concatenate(list(data.pieces(name, shape))).view(np.int16)  # uint16 is new in PyTorch 2.3
        values = torch.from_numpy(halves)
        state[name] = values.view(torch.float32 if name.endswith("inv_freq") else torch.bfloat16).reshape(shape)
        wrote((name, shape))
    torch.save(state, path)


def write_weights(directory, entries, headers_only, as_bin):
    data = None if headers_only else RandomData()
    all_shards = list(shards(entries))
    total = sum(entry_bytes(*entry) for shard in all_shards for entry in shard)
    done = 0

    def wrote(entry):
        nonlocal done
        done += entry_bytes(*entry)
        print(f"\r{done / total:6.1%} of {total / 1e9:.1f} GB", end="", file=sys.stderr)

    stem, suffix = ("pytorch_model", "bin") if as_bin else ("model", "safetensors")
    weight_map = {}
    for index, shard in enumerate(all_shards):
        path = directory / f"{stem}-{index + 1:05d}-of-{len(all_shards):05d}.{suffix}"
        weight_map.update((name, path.name) for name, _ in shard)
        (write_torch if as_bin else write_safetensors)(path, shard, data, wrote)
    print(file=sys.stderr)
    (directory / f"{stem}.{suffix}.index.json").write_text(
        json.dumps(dict(metadata=dict(total_size=total), weight_map=weight_map)))


def byte_alphabet():
    """GPT-2's printable character for each byte."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, extra = {}, 0
    for byte in range(256):
        table[byte] = chr(byte) if byte in kept else chr(256 + extra)
        extra += byte not in kept
    return table


def write_ranks(directory, model):
    """All single bytes, then pairs of printable ones and longer made-up pieces up to 100256 ranks."""
    pieces = [bytes([byte]) for byte in range(256)]
    pieces += [bytes([a, b]) for a in range(32, 127) for b in range(32, 127)]
    letters = range(97, 123)
    pieces += [bytes([a, b, c]) for a in letters for b in letters for c in letters]
    pieces += [bytes([32, a, b, c]) for a in letters for b in letters for c in letters]
    pieces += [bytes([a, b, c, d]) for a in letters for b in letters for c in letters for d in letters]
    lines = [base64.b64encode(piece).decode() + f" {rank}" for rank, piece in enumerate(pieces[:100256])]
    (directory / "arcade100k.tiktoken").write_text("\n".join(lines) + "\n")
    (directory / "tokenizer_config.json").write_text(json.dumps(dict(tokenizer_class="Arcade100kTokenizer")))


def vocabulary_and_merges(tokens):
    alphabet = byte_alphabet()
    letters = [alphabet[b] for b in range(97, 123)]
    merges, vocabulary = [], {alphabet[b]: b for b in range(256)}
    for a in letters:
        for b in letters:
            merges.append((a, b))
    for merge in list(merges):
        merges.append((alphabet[32], "".join(merge)))
        for c in letters:
            merges.append(("".join(merge), c))
    for merge in merges:
        vocabulary.setdefault("".join(merge), len(vocabulary))
    for fill in range(len(vocabulary), tokens):
        vocabulary[f"fill{fill}"] = fill
    return vocabulary, merges


def write_vocabulary(directory, model):
    vocabulary, merges = vocabulary_and_merges(model.tokens - 1)
    vocabulary["<|endoftext|>"] = model.tokens - 1
    (directory / "vocab.json").write_text(json.dumps(vocabulary))
    (directory / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    (directory / "special_tokens_map.json").write_text(json.dumps(dict(eos_token="<|endoftext|>")))
    (directory / "tokenizer_config.json").write_text(json.dumps(dict(tokenizer_class="CodeGenTokenizer")))


def write_tokenizer_json(directory, model):
    vocabulary, merges = vocabulary_and_merges(model.tokens)
    byte_level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True)
    (directory / "tokenizer.json").write_text(json.dumps(dict(
        version="1.0", added_tokens=[], normalizer=None, pre_tokenizer=byte_level, post_processor=None,
        decoder=byte_level, model=dict(type="BPE", vocab=vocabulary, merges=[f"{a} {b}" for a, b in merges]))))
    (directory / "tokenizer_config.json").write_text(json.dumps(dict(tokenizer_class="PreTrainedTokenizerFast")))


def write_tower(directory, headers_only):
    """CLIP as its own authors publish it, for models that lie apart from it."""
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(dict(model_type="clip", vision_config=CLIP_CONFIG)))
    (directory / "preprocessor_config.json").write_text(json.dumps(CLIP_PROCESSOR))
    write_weights(directory, tower_tensors("vision_model.", CLIP), headers_only, as_bin=False)


def write_qwen3_tokenizer(directory, model):
    write_tokenizer_json(directory, model)
    path = directory / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["vocab"] = {piece: id for piece, id in tokenizer["model"]["vocab"].items() if id < FIRST_SPECIAL}
    tokenizer["added_tokens"] = [
        dict(id=FIRST_SPECIAL + i, content=text, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
        for i, text in enumerate(SPECIAL_TOKENS)]
    path.write_text(json.dumps(tokenizer))


# Of the published kind where speed may depend on it.
TOKENIZERS = {"qwen3_vl_moe": write_qwen3_tokenizer,
              "moe_llava_stablelm": write_ranks, "moe_llava_phi": write_vocabulary}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--headers-only", action="store_true")
    kind.add_argument("--bin", action="store_true")
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("directory", type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    model = MODELS[arguments.model]
    (arguments.directory / "config.json").write_text(json.dumps(config(model), indent=1))
    if processor := preprocessor_config(model):
        (arguments.directory / "preprocessor_config.json").write_text(json.dumps(processor, indent=1))
    TOKENIZERS.get(model.model_type, write_tokenizer_json)(arguments.directory, model)
    write_weights(arguments.directory, tensors(model), arguments.headers_only, arguments.bin)
    if model.model_type == "llava" and model.tower is None:
        write_tower(arguments.directory / "vision_tower", arguments.headers_only)


if __name__ == "__main__":
    main()
