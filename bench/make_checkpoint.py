#!/usr/bin/env python3
"""Writes a checkpoint with random weights at a published model's full geometry, to measure loading, memory and speed.

    bench/make_checkpoint.py stablelm-1.6b-4e /tmp/stablelm-4e      (6.4 GB)
    bench/make_checkpoint.py phi2-2.7b-4e /tmp/phi2-4e              (11.2 GB)

Needs numpy. The layout is MoE-LLaVA's: sharded safetensors with an index, bfloat16, the CLIP-L/14-336 tower inside; the tokenizer is a
made-up one of the right kind and size. What it says means nothing; how fast it says it does.
"""
import argparse
import base64
import json
import pathlib
import struct
import sys

import numpy as np

SHARD_BYTES = 4_900_000_000
BLOCK = 1 << 24  # random values drawn once and reused from changing offsets

GEOMETRIES = {
    "stablelm-1.6b-4e": dict(
        model_type="moe_llava_stablelm", hidden=2048, layers=24, heads=32, ffn=5632, vocabulary=100352,
        norms=("input_layernorm", "post_attention_layernorm"), out="self_attn.o_proj", final="model.norm",
        gated=True, qkv_bias=True, other_bias=False,
        config=dict(norm_eps=1e-5, rope_pct=0.25, rope_theta=10000, use_qkv_bias=True, hidden_act="silu",
                    max_position_embeddings=4096, eos_token_id=100257)),
    "phi2-2.7b-4e": dict(
        model_type="moe_llava_phi", hidden=2560, layers=32, heads=32, ffn=10240, vocabulary=51200,
        norms=("input_layernorm",), out="self_attn.dense", final="model.final_layernorm",
        gated=False, qkv_bias=True, other_bias=True,
        config=dict(layer_norm_eps=1e-5, partial_rotary_factor=0.4, rope_theta=10000.0, hidden_act="gelu_new",
                    max_position_embeddings=2048, eos_token_id=50256)),
}


def linear(name, out, inner, bias):
    yield name + ".weight", (out, inner)
    if bias:
        yield name + ".bias", (out,)


def norm(name, width):
    yield name + ".weight", (width,)
    yield name + ".bias", (width,)


def clip_tensors(prefix, hidden=1024, ffn=4096, layers=24, patch=14, rows=577):
    yield prefix + "embeddings.class_embedding", (hidden,)
    yield prefix + "embeddings.patch_embedding.weight", (hidden, 3, patch, patch)
    yield prefix + "embeddings.position_embedding.weight", (rows, hidden)
    yield from norm(prefix + "pre_layrnorm", hidden)
    for i in range(layers):
        layer = f"{prefix}encoder.layers.{i}."
        yield from norm(layer + "layer_norm1", hidden)
        yield from norm(layer + "layer_norm2", hidden)
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from linear(f"{layer}self_attn.{part}", hidden, hidden, True)
        yield from linear(layer + "mlp.fc1", ffn, hidden, True)
        yield from linear(layer + "mlp.fc2", hidden, ffn, True)
    yield from norm(prefix + "post_layernorm", hidden)


def ffn_tensors(prefix, g):
    if g["gated"]:
        yield from linear(prefix + "gate_proj", g["ffn"], g["hidden"], False)
        yield from linear(prefix + "up_proj", g["ffn"], g["hidden"], False)
        yield from linear(prefix + "down_proj", g["hidden"], g["ffn"], False)
    else:
        yield from linear(prefix + "fc1", g["ffn"], g["hidden"], True)
        yield from linear(prefix + "fc2", g["hidden"], g["ffn"], True)


def tensors(g):
    hidden = g["hidden"]
    yield "model.embed_tokens.weight", (g["vocabulary"], hidden)
    for i in range(g["layers"]):
        layer = f"model.layers.{i}."
        for name in g["norms"]:
            yield from norm(layer + name, hidden)
        for part in ("q_proj", "k_proj", "v_proj"):
            yield from linear(f"{layer}self_attn.{part}", hidden, hidden, g["qkv_bias"])
        yield from linear(layer + g["out"], hidden, hidden, g["other_bias"])
        if i % 2 == 0:
            yield layer + "mlp.deepspeed_moe.gate.wg.weight", (4, hidden)
            for expert in range(4):
                yield from ffn_tensors(f"{layer}mlp.deepspeed_moe.experts.deepspeed_experts.{expert}.", g)
        else:
            yield from ffn_tensors(layer + "mlp.", g)
    yield from norm(g["final"], hidden)
    yield "lm_head.weight", (g["vocabulary"], hidden)
    yield from clip_tensors("model.image_tower.image_tower.vision_model.")
    yield from linear("model.mm_projector.image_spatial_proj.0", hidden, 1024, True)
    yield from linear("model.mm_projector.image_spatial_proj.2", hidden, hidden, True)


def bfloat16(values):
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def shards(entries):
    shard, size = [], 0
    for name, shape in entries:
        count = int(np.prod(shape))
        if shard and size + 2 * count > SHARD_BYTES:
            yield shard
            shard, size = [], 0
        shard.append((name, shape, count))
        size += 2 * count
    yield shard


def write_weights(directory, g, rng):
    block = bfloat16(rng.standard_normal(BLOCK) * 0.02)
    ones = bfloat16(np.ones(1 << 20))
    all_shards = list(shards(tensors(g)))
    total = sum(2 * count for shard in all_shards for _, _, count in shard)
    done, weight_map = 0, {}
    for index, shard in enumerate(all_shards):
        file_name = f"model-{index + 1:05d}-of-{len(all_shards):05d}.safetensors"
        header, offset = {}, 0
        for name, shape, count in shard:
            header[name] = dict(dtype="BF16", shape=list(shape), data_offsets=[offset, offset + 2 * count])
            offset += 2 * count
            weight_map[name] = file_name
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with open(directory / file_name, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for name, shape, count in shard:
                if "norm" in name and name.endswith(".weight"):
                    file.write(ones[:count].tobytes())
                    continue
                start, left = int(rng.integers(BLOCK)), count
                while left > 0:
                    take = min(left, BLOCK - start)
                    file.write(block[start:start + take].data)
                    start, left = 0, left - take
                done += 2 * count
                print(f"\r{done / total:6.1%} of {total / 1e9:.1f} GB", end="", file=sys.stderr)
    print(file=sys.stderr)
    (directory / "model.safetensors.index.json").write_text(
        json.dumps(dict(metadata=dict(total_size=total), weight_map=weight_map)))


def byte_alphabet():
    """GPT-2's printable character for each byte."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, extra = {}, 0
    for byte in range(256):
        table[byte] = chr(byte) if byte in kept else chr(256 + extra)
        extra += byte not in kept
    return table


def write_tokenizer(directory, g):
    if g["model_type"] == "moe_llava_stablelm":
        # All single bytes, then pairs of printable ones and longer made-up pieces up to 100256 ranks.
        pieces = [bytes([byte]) for byte in range(256)]
        pieces += [bytes([a, b]) for a in range(32, 127) for b in range(32, 127)]
        letters = range(97, 123)
        pieces += [bytes([a, b, c]) for a in letters for b in letters for c in letters]
        pieces += [bytes([32, a, b, c]) for a in letters for b in letters for c in letters]
        pieces += [bytes([a, b, c, d]) for a in letters for b in letters for c in letters for d in letters]
        lines = [base64.b64encode(piece).decode() + f" {rank}" for rank, piece in enumerate(pieces[:100256])]
        (directory / "arcade100k.tiktoken").write_text("\n".join(lines) + "\n")
        (directory / "tokenizer_config.json").write_text(json.dumps(dict(tokenizer_class="Arcade100kTokenizer")))
        return
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
    for merge in merges[:50000]:
        vocabulary.setdefault("".join(merge), len(vocabulary))
    for fill in range(len(vocabulary), 50256):
        vocabulary[f"fill{fill}"] = fill
    vocabulary["<|endoftext|>"] = 50256
    (directory / "vocab.json").write_text(json.dumps(vocabulary))
    (directory / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges[:50000]))
    (directory / "special_tokens_map.json").write_text(json.dumps(dict(eos_token="<|endoftext|>")))
    (directory / "tokenizer_config.json").write_text(json.dumps(dict(tokenizer_class="CodeGenTokenizer")))


def write_config(directory, g):
    routed = list(range(0, g["layers"], 2))
    config = dict(
        model_type=g["model_type"], hidden_size=g["hidden"], num_hidden_layers=g["layers"],
        num_attention_heads=g["heads"], num_key_value_heads=g["heads"], intermediate_size=g["ffn"],
        vocab_size=g["vocabulary"], tie_word_embeddings=False, torch_dtype="bfloat16",
        image_aspect_ratio="pad", image_projector_type="mlp2x_gelu", mm_hidden_size=1024,
        mm_image_tower="openai/clip-vit-large-patch14-336", mm_vision_select_layer=-2,
        mm_vision_select_feature="patch", mm_use_im_start_end=False,
        moe=dict(moe_enable=True, moe_mode="sparse", moe_layers_idx=routed, num_experts=[4] * len(routed),
                 top_k_experts=2, eval_capacity_factor=2.0, min_capacity=0, use_residual=False),
        **g["config"])
    (directory / "config.json").write_text(json.dumps(config, indent=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("geometry", choices=GEOMETRIES)
    parser.add_argument("directory", type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    geometry = GEOMETRIES[arguments.geometry]
    write_config(arguments.directory, geometry)
    write_tokenizer(arguments.directory, geometry)
    write_weights(arguments.directory, geometry, np.random.default_rng(1))


if __name__ == "__main__":
    main()
