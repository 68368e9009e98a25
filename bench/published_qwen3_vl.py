"""Qwen3-VL-MoE as published: every tensor's name and shape, config.json, and the totals.

Sources: config.json, preprocessor_config.json and model.safetensors.index.json of Qwen/Qwen3-VL-30B-A3B-Instruct and
Qwen/Qwen3-VL-235B-A22B-Instruct.
"""
from dataclasses import dataclass

SPECIAL_TOKENS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>",
    "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]
FIRST_SPECIAL = 151643
TAPS = [8, 16, 24]
VISION = dict(hidden_size=1152, intermediate_size=4304, num_heads=16, depth=27, patch_size=16, temporal_patch_size=2,
              spatial_merge_size=2, in_channels=3, num_position_embeddings=2304, deepstack_visual_indexes=TAPS,
              hidden_act="gelu_pytorch_tanh", model_type="qwen3_vl_moe")


@dataclass(frozen=True)
class Qwen3Vl:
    hidden: int
    layers: int
    heads: int
    ffn: int  # of an expert
    published: tuple | None  # tensors, parameters in millions to four digits, 16-bit GB to two decimals; None: not published
    kv_heads: int = 4
    head_dim: int = 128
    experts: int = 128
    chosen: int = 8
    vocabulary: int = 151936
    tokens: int = FIRST_SPECIAL + len(SPECIAL_TOKENS)
    tied: bool = False
    model_type: str = "qwen3_vl_moe"
    tower: dict | None = None  # of CLIP's kind


QWEN3_VL = {
    "qwen3-vl-30b-a3b": Qwen3Vl(2048, 48, 32, 768, (882, 31070, 62.14)),
    "qwen3-vl-235b-a22b": Qwen3Vl(4096, 94, 64, 1536, (1388, 235700, 471.34)),
    "qwen3-vl-30b-a3b-4-layers": Qwen3Vl(2048, 4, 32, 768, None),
}


def linear(name, out, inner):
    yield name + ".weight", (out, inner)
    yield name + ".bias", (out,)


def norm(name, width):
    yield name + ".weight", (width,)
    yield name + ".bias", (width,)


def merger(name, width, out):
    yield from norm(name + "norm", width)
    yield from linear(name + "linear_fc1", 4608, 4608)
    yield from linear(name + "linear_fc2", out, 4608)


def tower_tensors(out):
    hidden, ffn = VISION["hidden_size"], VISION["intermediate_size"]
    yield "model.visual.patch_embed.proj.weight", (hidden, 3, 2, 16, 16)
    yield "model.visual.patch_embed.proj.bias", (hidden,)
    yield "model.visual.pos_embed.weight", (VISION["num_position_embeddings"], hidden)
    for i in range(VISION["depth"]):
        block = f"model.visual.blocks.{i}."
        yield from norm(block + "norm1", hidden)
        yield from norm(block + "norm2", hidden)
        yield from linear(block + "attn.qkv", 3 * hidden, hidden)
        yield from linear(block + "attn.proj", hidden, hidden)
        yield from linear(block + "mlp.linear_fc1", ffn, hidden)
        yield from linear(block + "mlp.linear_fc2", hidden, ffn)
    yield from merger("model.visual.merger.", hidden, out)
    for i in range(len(TAPS)):
        yield from merger(f"model.visual.deepstack_merger_list.{i}.", 4 * hidden, out)


def qwen3_vl_tensors(m):
    yield "lm_head.weight", (m.vocabulary, m.hidden)
    yield "model.language_model.embed_tokens.weight", (m.vocabulary, m.hidden)
    yield "model.language_model.norm.weight", (m.hidden,)
    query, kv = m.heads * m.head_dim, m.kv_heads * m.head_dim
    for i in range(m.layers):
        layer = f"model.language_model.layers.{i}."
        yield layer + "input_layernorm.weight", (m.hidden,)
        yield layer + "post_attention_layernorm.weight", (m.hidden,)
        for name, out, inner in (("q_proj", query, m.hidden), ("k_proj", kv, m.hidden), ("v_proj", kv, m.hidden),
                                 ("o_proj", m.hidden, query)):
            yield f"{layer}self_attn.{name}.weight", (out, inner)
        yield layer + "self_attn.q_norm.weight", (m.head_dim,)
        yield layer + "self_attn.k_norm.weight", (m.head_dim,)
        yield layer + "mlp.gate.weight", (m.experts, m.hidden)
        yield layer + "mlp.experts.gate_up_proj", (m.experts, m.hidden, 2 * m.ffn)
        yield layer + "mlp.experts.down_proj", (m.experts, m.ffn, m.hidden)
    yield from tower_tensors(m.hidden)


def qwen3_vl_config(m):
    text = dict(
        model_type="qwen3_vl_moe_text", hidden_size=m.hidden, num_hidden_layers=m.layers, num_attention_heads=m.heads,
        num_key_value_heads=m.kv_heads, head_dim=m.head_dim, num_experts=m.experts, num_experts_per_tok=m.chosen,
        moe_intermediate_size=m.ffn, intermediate_size=3 * m.hidden, decoder_sparse_step=1, mlp_only_layers=[], norm_topk_prob=True,
        rms_norm_eps=1e-6, hidden_act="silu", rope_theta=5000000, attention_bias=False, vocab_size=m.vocabulary,
        rope_scaling=dict(rope_type="default", mrope_section=[24, 20, 20], mrope_interleaved=True), max_position_embeddings=262144,
        bos_token_id=151643, eos_token_id=151645)
    return dict(
        model_type="qwen3_vl_moe", architectures=["Qwen3VLMoeForConditionalGeneration"], dtype="bfloat16", tie_word_embeddings=False,
        image_token_id=151655, video_token_id=151656, vision_start_token_id=151652, vision_end_token_id=151653, eos_token_id=151645,
        text_config=text, vision_config=dict(VISION, out_hidden_size=m.hidden))


PROCESSOR = dict(size=dict(shortest_edge=65536, longest_edge=16777216), patch_size=16, temporal_patch_size=2, merge_size=2,
                 image_mean=[0.5] * 3, image_std=[0.5] * 3, processor_class="Qwen3VLProcessor",
                 image_processor_type="Qwen2VLImageProcessorFast")
