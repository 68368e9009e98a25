"""Writes and reads the demonstration model in the published MoE-LLaVA (Phi-2) checkpoint layout."""

import json
import os

import torch
from safetensors.torch import load_file, save_file

from model import Config, DemoModel


def _write(path, value):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.write("\n")


def _moe(c):
    return {
        "capacity_factor": 1.5, "ep_size": 1, "eval_capacity_factor": 2.0, "min_capacity": 0,
        "moe_enable": True, "moe_layers_idx": c.moe_layers, "moe_mode": "sparse",
        "num_experts": [c.experts] * len(c.moe_layers), "router_aux_loss_coef": 0.01,
        "top_k_experts": 2, "train_modules": ["fc1", "fc2", "wg"], "use_residual": False}


def _config(c, end):
    return {
        "architectures": ["MoELLaVAPhiForCausalLM"], "model_type": "moe_llava_phi",
        "attention_dropout": 0.0, "bos_token_id": None, "eos_token_id": end, "embd_pdrop": 0.0,
        "freeze_mm_mlp_adapter": False, "hidden_act": "gelu_new", "hidden_size": c.hidden,
        "image_aspect_ratio": "pad", "image_projector_type": "mlp2x_gelu",
        "initializer_range": 0.02, "intermediate_size": c.ffn, "layer_norm_eps": 1e-5,
        "max_position_embeddings": 2048, "mm_hidden_size": c.tower_hidden,
        "mm_image_tower": "openai/clip-vit-large-patch14-336", "mm_use_im_patch_token": False,
        "mm_use_im_start_end": False, "mm_video_tower": None,
        "mm_vision_select_feature": "patch", "mm_vision_select_layer": -2, "moe": _moe(c),
        "num_attention_heads": c.heads, "num_hidden_layers": c.layers,
        "num_key_value_heads": c.heads,
        "partial_rotary_factor": c.rotary / (c.hidden // c.heads), "qk_layernorm": False,
        "resid_pdrop": 0.0, "rope_scaling": None, "rope_theta": c.rope_theta,
        "tie_word_embeddings": False, "tokenizer_padding_side": "right",
        "torch_dtype": "float16", "tune_mm_mlp_adapter": False, "use_cache": True,
        "use_mm_proj": True, "vocab_size": c.vocab}


def _tower_config(c):
    return {
        "architectures": ["CLIPVisionModel"], "attention_dropout": 0.0,
        "hidden_act": "quick_gelu", "hidden_size": c.tower_hidden, "image_size": c.image,
        "initializer_factor": 1.0, "initializer_range": 0.02, "intermediate_size": c.tower_ffn,
        "layer_norm_eps": 1e-5, "model_type": "clip_vision_model",
        "num_attention_heads": c.tower_heads, "num_channels": 3,
        "num_hidden_layers": c.tower_layers, "patch_size": c.patch,
        "projection_dim": c.tower_hidden, "torch_dtype": "float16"}


def _preprocessor(c):
    return {
        "crop_size": {"height": c.image, "width": c.image}, "do_center_crop": True,
        "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_processor_type": "CLIPImageProcessor",
        "image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3,
        "rescale_factor": 1 / 255, "size": {"shortest_edge": c.image}}


def export(model, tokenizer, folder):
    """Writes folder/checkpoint and folder/vision_tower; tensors as float16."""
    checkpoint, tower = f"{folder}/checkpoint", f"{folder}/vision_tower"
    os.makedirs(checkpoint, exist_ok=True)
    os.makedirs(tower, exist_ok=True)
    tensors = {n: t.detach().to(torch.float16).contiguous() for n, t in model.state_dict().items()}
    save_file(tensors, f"{checkpoint}/model.safetensors", metadata={"format": "pt"})
    os.chmod(f"{checkpoint}/model.safetensors", 0o644)
    _write(f"{checkpoint}/config.json", _config(model.config, tokenizer.end))
    _write(f"{checkpoint}/generation_config.json",
           {"_from_model_config": True, "eos_token_id": tokenizer.end})
    tokenizer.save(checkpoint)
    _write(f"{tower}/config.json", _tower_config(model.config))
    _write(f"{tower}/preprocessor_config.json", _preprocessor(model.config))


def load(folder):
    """The model that `export` wrote, in float32 with the weights as stored."""
    with open(f"{folder}/checkpoint/config.json", encoding="utf-8") as file:
        config = json.load(file)
    moe_layers = config["moe"]["moe_layers_idx"]
    model = DemoModel(Config(vocab=config["vocab_size"], moe_layers=moe_layers))
    tensors = load_file(f"{folder}/checkpoint/model.safetensors")
    model.load_state_dict({n: t.float() for n, t in tensors.items()})
    return model.eval()
