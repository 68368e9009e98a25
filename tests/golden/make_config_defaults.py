#!/usr/bin/env python3
"""Makes config_defaults.json: what the classes of the libraries mean where config.json or preprocessor_config.json names no value.

    for version in 4.37.2 4.57.1 5.24.0; do pip install --target DIR/$version transformers==$version pillow; done
    tests/golden/make_config_defaults.py DIR

For each model_type and version a flat table of keys, those of nested configurations behind their name. Families whose classes are their
authors' own have the version "authors"; their values were read in PKU-YuanGroup/MoE-LLaVA at 6cb5f66 (moellava/model/language_model/*/
configuration_*.py, llava_*_moe.py, multimodal_encoder and multimodal_projector) and haotian-liu/LLaVA at c121f04.
"""
import json
import pathlib
import subprocess
import sys

OUT = pathlib.Path(__file__).with_name("config_defaults.json")

# What no class of transformers holds, but modeling code means.
MODELING = {"qwen3_moe": {"head_dim": None}}

# Of getattr(config, key, default), and of the parameters of the MoE-LLaVA classes.
VISION = {"mm_vision_select_feature": "patch", "mm_use_im_start_end": False, "image_aspect_ratio": None, "s2": False,
          "tokenizer_model_max_length": None}
LLAVA = VISION | {"mm_projector_type": "linear", "mm_vision_tower": None, "unfreeze_mm_vision_tower": False}
MOE_LLAVA = VISION | {"image_projector_type": "linear", "mm_image_tower": None, "moe.moe_enable": True, "moe.top_k_experts": 2,
                      "moe.eval_capacity_factor": 1.0, "moe.min_capacity": 4, "moe.use_residual": False}
MINICPM = dict(vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32,
               num_key_value_heads=None, hidden_act="silu", max_position_embeddings=2048, rms_norm_eps=1e-6, eos_token_id=2,
               tie_word_embeddings=True, rope_theta=10000.0, rope_scaling=None, attention_bias=False, scale_emb=1, dim_model_base=1,
               scale_depth=1)
QWEN = dict(vocab_size=151936, hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, layer_norm_epsilon=1e-6,
            max_position_embeddings=8192, scale_attn_weights=True, kv_channels=128, rotary_pct=1.0, rotary_emb_base=10000,
            use_dynamic_ntk=True, use_logn_attn=True, intermediate_size=22016, no_bias=True, tie_word_embeddings=False,
            use_cache_quantization=False)
STABLELM = dict(vocab_size=50304, intermediate_size=6912, hidden_size=2560, num_hidden_layers=32, num_attention_heads=32,
                num_key_value_heads=32, hidden_act="silu", rope_pct=0.25, rope_theta=10000, max_position_embeddings=4096,
                norm_eps=1e-5, use_qkv_bias=True, tie_word_embeddings=False, eos_token_id=2)

# model_type: the class of transformers that it is in 4.37, and its authors' values.
AUTHORS = {
    "llava": ("llama", LLAVA), "llava_llama": ("llama", LLAVA), "moe_llava_llama": ("llama", MOE_LLAVA),
    "moe_llava_mistral": ("mistral", MOE_LLAVA), "moe_llava_phi": ("phi", MOE_LLAVA), "moe_llava_qwen1_5": ("qwen2", MOE_LLAVA),
    "moe_llava_qwen2": ("qwen2", MOE_LLAVA), "moe_llava_minicpm": (None, MINICPM | MOE_LLAVA), "moe_llava_qwen": (None, QWEN | MOE_LLAVA),
    "moe_llava_stablelm": (None, STABLELM | MOE_LLAVA)}
# The layout of transformers under LLaVA's model_type.
LIBRARY = {"llava_hf": "llava", "qwen3_moe": "qwen3_moe", "qwen3_vl_moe": "qwen3_vl_moe", "llama": "llama"}
TOWERS = {"clip_vision_model": "clip_vision_model", "siglip_vision_model": "siglip_vision_model"}
# Image processors; transformers 5 has several classes of each, and those with "Pil" need nothing else.
PROCESSORS = {"clip_processor": ("clip", "CLIPImageProcessor"), "siglip_processor": ("siglip", "SiglipImageProcessor"),
              "qwen2_vl_processor": ("qwen2_vl", "Qwen2VLImageProcessor")}

# Run with a version of the library on the path: prints {model_type: {key: value}}. What follows from other sizes is null.
PROBE = """
import json, sys
from transformers import CONFIG_MAPPING
SIZES = [{}, dict(hidden_size=48, num_attention_heads=3)]
def made(name, sizes):
    # Nested configurations that are there, but name nothing else.
    nested = {"llava": {"text_config": {"model_type": "llama", **sizes}, "vision_config": {"model_type": "clip_vision_model"}},
              "qwen3_vl_moe": {"text_config": dict(sizes), "vision_config": {}}}.get(name, sizes)
    return json.loads(json.dumps(CONFIG_MAPPING[name](**nested).to_dict(), default=str))
def without_derived(one, other):
    for key, value in one.items():
        if key in ("text_config", "vision_config"):
            without_derived(value, other[key])
        elif key not in SIZES[1] and value != other[key]:
            one[key] = None
    return one
def defaults(name):
    return without_derived(*(made(name, sizes) for sizes in SIZES))
known = [name for name in sys.argv[1:] if name in CONFIG_MAPPING]
print(json.dumps({name: defaults(name) for name in known}))
"""

# Run likewise with triples NAME FOLDER CLASS: those that the version has.
PROBE_PROCESSORS = """
import importlib, json, sys
def find(folder, name):
    for module, last in (("image_processing_pil_", name + "Pil"), ("image_processing_", name)):
        try:
            return getattr(importlib.import_module(f"transformers.models.{folder}.{module}{folder}"), last)
        except ImportError:
            pass
found = {}
for name, folder, last in zip(*[iter(sys.argv[1:])] * 3):
    if (of := find(folder, last)) is not None:
        found[name] = of().to_dict()
print(json.dumps(found, default=str))
"""

# Of the base class in transformers 4, where the modeling code asks text_config's.
NOT_ASKED = {"llava_hf": {"tie_word_embeddings"}}


def flat(config, prefix=""):
    table = {}
    for key, value in config.items():
        if key in ("text_config", "vision_config"):
            table |= flat(value, prefix + key + ".")
            continue
        table[prefix + key] = value
        if key == "rope_parameters" and isinstance(value, dict):
            # The old spelling without a base means the same.
            table[prefix + "rope_theta"] = value["rope_theta"]
            table |= {f"{prefix}{key}.{inner}": inner_value for inner, inner_value in value.items()}
    return table


def probe(directory, names, program=PROBE):
    done = subprocess.run([sys.executable, "-c", program, *names], env={"PYTHONPATH": str(directory), "PATH": "/usr/bin:/bin"}, check=True,
                          capture_output=True, text=True)
    return {name: flat(config) for name, config in json.loads(done.stdout.splitlines()[-1]).items()}


# What has no part in any answer is left out of the file.
def useful(table):
    dull = {"transformers_version", "_name_or_path", "id2label", "label2id", "model_type", "return_dict", "architectures"}
    return {key: value for key, value in sorted(table.items()) if key.rsplit(".", 1)[-1] not in dull}


def main():
    root = pathlib.Path(sys.argv[1])
    found = {}
    versions = sorted(path.name for path in root.iterdir())
    by_version = {version: probe(root / version, sorted({*LIBRARY.values(), *TOWERS.values(), "llama", "mistral", "phi", "qwen2"}))
                  for version in versions}
    for name, kind in (LIBRARY | TOWERS).items():
        found[name] = {version: useful(tables[kind] | MODELING.get(name, {})) for version, tables in by_version.items() if kind in tables}
        for version, table in found[name].items():
            if version.startswith("4."):
                found[name][version] = {key: value for key, value in table.items() if key not in NOT_ASKED.get(name, ())}
    for name, (kind, own) in AUTHORS.items():
        found[name] = {"authors": useful((by_version["4.37.2"][kind] if kind else {}) | own)}
    triples = [word for name, row in PROCESSORS.items() for word in (name, *row)]
    for version in versions:
        for name, table in probe(root / version, triples, PROBE_PROCESSORS).items():
            found.setdefault(name, {})[version] = useful(table)
    found["lora"] = {"peft": {"lora_alpha": 8}}
    found["llava_mole"] = {"authors": {"mole.routing": "top1"}}  # of the paper; the file is this project's
    OUT.write_text(json.dumps(found, indent=0, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
