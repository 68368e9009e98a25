"""Published models as data: every tensor's name and shape, config.json, and the totals that were published.

Sources: config.json and model.safetensors.index.json of the models' own pages (LanguageBind/MoE-LLaVA-*, liuhaotian/llava-v1.5-*,
llava-hf/llava-1.5-*); for LLaVA-MoD, which was not released, its code. A new model is a row of MODELS.
"""
from dataclasses import dataclass, field, replace

from published_qwen3_vl import PROCESSOR, QWEN3_VL, Qwen3Vl, qwen3_vl_config, qwen3_vl_tensors

CLIP = dict(name="openai/clip-vit-large-patch14-336", hidden=1024, ffn=4096, layers=24, rows=577, clip=True)
CLIP_CONFIG = dict(model_type="clip_vision_model", hidden_size=1024, intermediate_size=4096, num_hidden_layers=24,
                   num_attention_heads=16, patch_size=14, image_size=336, projection_dim=768, vocab_size=32000)
CLIP_PROCESSOR = dict(image_processor_type="CLIPImageProcessor", do_center_crop=True, do_convert_rgb=True, do_normalize=True,
                      do_rescale=True, do_resize=True, crop_size=dict(height=336, width=336), size=dict(shortest_edge=336),
                      resample=3, rescale_factor=1 / 255, image_mean=[0.48145466, 0.4578275, 0.40821073],
                      image_std=[0.26862954, 0.26130258, 0.27577711])
SIGLIP = dict(name="google/siglip-so400m-patch14-384", hidden=1152, ffn=4304, layers=27, rows=729, clip=False)


@dataclass(frozen=True)
class Layout:
    """Tensor names and biases of one backbone."""
    root: str = "model."
    embedding: str = "embed_tokens"
    layer: str = "layers.{}."
    norms: tuple = ("input_layernorm", "post_attention_layernorm")
    norm_bias: bool = False
    qkv: tuple = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    qkv_bias: bool = False
    out: str = "self_attn.o_proj"
    up: tuple = ("gate_proj", "up_proj")
    down: str = "down_proj"
    bias: bool = False  # of the output and feed-forward matrices
    final: str = "norm"
    head: str = "lm_head"
    tower: str = "model.image_tower.image_tower.vision_model."
    projector: tuple = ("model.mm_projector.image_spatial_proj.0", "model.mm_projector.image_spatial_proj.2")
    buffers: bool = False  # an old rotary buffer per layer, float32 [head_dim / 2]


LLAMA = Layout()
STABLELM = Layout(norm_bias=True, qkv_bias=True)
PHI = Layout(norms=("input_layernorm",), norm_bias=True, qkv_bias=True, bias=True, out="self_attn.dense",
             up=("fc1",), down="fc2", final="final_layernorm")
QWEN2 = Layout(qkv_bias=True)
QWEN = Layout(root="transformer.", embedding="wte", layer="h.{}.", norms=("ln_1", "ln_2"), qkv=("attn.c_attn",),
              qkv_bias=True, out="attn.c_proj", up=("w1", "w2"), down="c_proj", final="ln_f",
              tower="transformer.image_tower.image_tower.vision_model.",
              projector=("transformer.mm_projector.image_spatial_proj.0",
                         "transformer.mm_projector.image_spatial_proj.2"))
LLAVA = Layout(projector=("model.mm_projector.0", "model.mm_projector.2"), buffers=True)
LLAVA_HF = Layout(root="language_model.model.", head="language_model.lm_head", tower="vision_tower.vision_model.",
                  projector=("multi_modal_projector.linear_1", "multi_modal_projector.linear_2"))


@dataclass(frozen=True)
class Model:
    model_type: str
    layout: Layout
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocabulary: int
    tokens: int  # of the tokenizer
    eos: int
    published: tuple  # tensors, parameters in millions to four digits, 16-bit GB to two decimals
    config: dict = field(default_factory=dict)
    tower: dict | None = field(default_factory=lambda: CLIP)
    experts: int = 4  # in every other layer; 0: none
    tied: bool = False


PHI2 = Model("moe_llava_phi", PHI, 2560, 32, 32, 32, 80, 10240, 51200, 50257, 50256, (1055, 5610, 11.22),
             dict(layer_norm_eps=1e-5, partial_rotary_factor=0.4, rope_theta=10000.0, hidden_act="gelu_new",
                  max_position_embeddings=2048))
STABLELM2 = Model("moe_llava_stablelm", STABLELM, 2048, 24, 32, 32, 64, 5632, 100352, 100289, 100257, (855, 3200, 6.40),
                  dict(norm_eps=1e-5, rope_pct=0.25, rope_theta=10000, use_qkv_bias=True, hidden_act="silu",
                       max_position_embeddings=4096))
MOD_CONFIG = dict(rms_norm_eps=1e-6, rope_theta=1e6, hidden_act="silu", use_sliding_window=False, sliding_window=4096)
LLAMA_CONFIG = dict(rms_norm_eps=1e-5, rope_theta=10000.0, hidden_act="silu", max_position_embeddings=4096)

MODELS = {
    "phi2-2.7b-4e": PHI2,
    "phi2-2.7b-4e-384": replace(PHI2, tower=SIGLIP, published=(1112, 5735, 11.47)),
    "stablelm-1.6b-4e": STABLELM2,
    "stablelm-1.6b-4e-384": replace(STABLELM2, tower=SIGLIP, published=(912, 3325, 6.65)),
    "qwen-1.8b-4e": Model(
        "moe_llava_qwen", QWEN, 2048, 24, 16, 16, 128, 5504, 151936, 151851, 151643, (710, 3364, 6.73),
        # config.json's width is that of both up matrices together.
        dict(intermediate_size=11008, kv_channels=128, layer_norm_epsilon=1e-6, no_bias=True, rotary_pct=1.0,
             rotary_emb_base=10000, seq_length=8192, max_position_embeddings=8192, use_dynamic_ntk=True,
             use_logn_attn=True)),
    "openchat-7b-4e": Model(
        "moe_llava_mistral", LLAMA, 4096, 32, 32, 8, 128, 14336, 32002, 32002, 32000, (846, 16020, 32.04),
        dict(rms_norm_eps=1e-5, rope_theta=10000.0, hidden_act="silu", sliding_window=4096,
             max_position_embeddings=8192)),
    "minicpm-2b-4e": Model(
        "moe_llava_minicpm", LLAMA, 2304, 40, 36, 36, 64, 5760, 122753, 122753, 2, (957, 5425, 10.85),
        dict(rms_norm_eps=1e-5, rope_theta=10000.0, hidden_act="silu", scale_emb=12, dim_model_base=256,
             scale_depth=1.4, max_position_embeddings=4096), tied=True),
    "mod-qwen1.5-0.5b-4e": Model(
        "moe_llava_qwen1_5", QWEN2, 1024, 24, 16, 16, 64, 2816, 151936, 151647, 151643, (805, 1081, 2.16),
        dict(MOD_CONFIG, max_position_embeddings=32768), tied=True),
    "mod-qwen1.5-1.8b-4e": Model(
        "moe_llava_qwen1_5", QWEN2, 2048, 24, 16, 16, 128, 5504, 151936, 151647, 151643, (806, 3364, 6.73),
        dict(MOD_CONFIG, max_position_embeddings=32768)),
    "mod-qwen2-0.5b-4e": Model(
        "moe_llava_qwen2", QWEN2, 896, 24, 14, 2, 64, 4864, 151936, 151647, 151643, (805, 1270, 2.54),
        dict(MOD_CONFIG, max_position_embeddings=131072), tied=True),
    "mod-qwen2-1.5b-4e": Model(
        "moe_llava_qwen2", QWEN2, 1536, 28, 12, 2, 128, 8960, 151936, 151647, 151643, (873, 3585, 7.17),
        dict(MOD_CONFIG, max_position_embeddings=131072), tied=True),
    "llava-1.5-7b": Model(
        "llava", LLAVA, 4096, 32, 32, 32, 128, 11008, 32000, 32000, 2, (327, 6759, 13.52), LLAMA_CONFIG, tower=None,
        experts=0),
    "llava-1.5-13b": Model(
        "llava", LLAVA, 5120, 40, 40, 40, 128, 13824, 32000, 32000, 2, (407, 13050, 26.09), LLAMA_CONFIG, tower=None,
        experts=0),
    "llava-1.5-7b-hf": Model(
        "llava", LLAVA_HF, 4096, 32, 32, 32, 128, 11008, 32064, 32002, 2, (686, 7063, 14.13), LLAMA_CONFIG, experts=0),
    "llava-1.5-13b-hf": Model(
        "llava", LLAVA_HF, 5120, 40, 40, 40, 128, 13824, 32064, 32002, 2, (758, 13350, 26.70), LLAMA_CONFIG, experts=0),
} | QWEN3_VL


def linear(name, out, inner, bias):
    yield name + ".weight", (out, inner)
    if bias:
        yield name + ".bias", (out,)


def norm(name, width, bias):
    yield name + ".weight", (width,)
    if bias:
        yield name + ".bias", (width,)


def tower_tensors(prefix, tower):
    hidden, ffn, clip = tower["hidden"], tower["ffn"], tower["clip"]
    if clip:
        yield prefix + "embeddings.class_embedding", (hidden,)
        yield from norm(prefix + "pre_layrnorm", hidden, True)
    else:
        yield prefix + "embeddings.patch_embedding.bias", (hidden,)
        yield prefix + "head.probe", (1, 1, hidden)
        yield prefix + "head.attention.in_proj_weight", (3 * hidden, hidden)
        yield prefix + "head.attention.in_proj_bias", (3 * hidden,)
        yield from linear(prefix + "head.attention.out_proj", hidden, hidden, True)
        yield from norm(prefix + "head.layernorm", hidden, True)
        yield from linear(prefix + "head.mlp.fc1", ffn, hidden, True)
        yield from linear(prefix + "head.mlp.fc2", hidden, ffn, True)
    yield prefix + "embeddings.patch_embedding.weight", (hidden, 3, 14, 14)
    yield prefix + "embeddings.position_embedding.weight", (tower["rows"], hidden)
    for i in range(tower["layers"]):
        layer = f"{prefix}encoder.layers.{i}."
        yield from norm(layer + "layer_norm1", hidden, True)
        yield from norm(layer + "layer_norm2", hidden, True)
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from linear(f"{layer}self_attn.{part}", hidden, hidden, True)
        yield from linear(layer + "mlp.fc1", ffn, hidden, True)
        yield from linear(layer + "mlp.fc2", hidden, ffn, True)
    yield from norm(prefix + "post_layernorm", hidden, True)


def ffn_tensors(prefix, m):
    for name in m.layout.up:
        yield from linear(prefix + name, m.ffn, m.hidden, m.layout.bias)
    yield from linear(prefix + m.layout.down, m.hidden, m.ffn, m.layout.bias)


def layer_tensors(prefix, m, routed):
    layout = m.layout
    query, kv = m.heads * m.head_dim, m.kv_heads * m.head_dim
    for name in layout.norms:
        yield from norm(prefix + name, m.hidden, layout.norm_bias)
    widths = (query, kv, kv) if len(layout.qkv) == 3 else (query + 2 * kv,)
    for name, width in zip(layout.qkv, widths):
        yield from linear(prefix + name, width, m.hidden, layout.qkv_bias)
    yield from linear(prefix + layout.out, m.hidden, query, layout.bias)
    if layout.buffers:
        yield prefix + "self_attn.rotary_emb.inv_freq", (m.head_dim // 2,)
    if not routed:
        yield from ffn_tensors(prefix + "mlp.", m)
        return
    yield prefix + "mlp.deepspeed_moe.gate.wg.weight", (m.experts, m.hidden)
    for expert in range(m.experts):
        yield from ffn_tensors(f"{prefix}mlp.deepspeed_moe.experts.deepspeed_experts.{expert}.", m)


def tensors(m):
    """(name, shape) of every tensor, in the order of the layers."""
    if isinstance(m, Qwen3Vl):
        yield from qwen3_vl_tensors(m)
        return
    layout = m.layout
    yield f"{layout.root}{layout.embedding}.weight", (m.vocabulary, m.hidden)
    for i in range(m.layers):
        yield from layer_tensors(layout.root + layout.layer.format(i), m, m.experts > 0 and i % 2 == 0)
    yield from norm(layout.root + layout.final, m.hidden, layout.norm_bias)
    if not m.tied:
        yield layout.head + ".weight", (m.vocabulary, m.hidden)
    if m.tower:
        yield from tower_tensors(layout.tower, m.tower)
    vision = (m.tower or CLIP)["hidden"]
    yield from linear(layout.projector[0], m.hidden, vision, True)
    yield from linear(layout.projector[1], m.hidden, m.hidden, True)


def preprocessor_config(m):
    """preprocessor_config.json of a model that brings one; else None."""
    if isinstance(m, Qwen3Vl):
        return PROCESSOR
    return CLIP_PROCESSOR if m.layout is LLAVA_HF else None


def config(m):
    if isinstance(m, Qwen3Vl):
        return qwen3_vl_config(m)
    language = dict(
        hidden_size=m.hidden, num_hidden_layers=m.layers, num_attention_heads=m.heads, num_key_value_heads=m.kv_heads,
        intermediate_size=m.ffn, vocab_size=m.vocabulary, tie_word_embeddings=m.tied, eos_token_id=m.eos)
    language.update(m.config)
    if m.layout is LLAVA_HF:
        return dict(model_type="llava", architectures=["LlavaForConditionalGeneration"], image_token_index=32000,
                    pad_token_id=32001, projector_hidden_act="gelu", vision_feature_layer=-2,
                    vision_feature_select_strategy="default", eos_token_id=m.eos,
                    text_config=dict(language, model_type="llama"),
                    vision_config=CLIP_CONFIG)
    vision = (m.tower or CLIP)
    language.update(model_type=m.model_type, torch_dtype="bfloat16", image_aspect_ratio="pad",
                    mm_hidden_size=vision["hidden"], mm_vision_select_layer=-2, mm_vision_select_feature="patch",
                    mm_use_im_start_end=False)
    if m.layout is LLAVA:
        language.update(architectures=["LlavaLlamaForCausalLM"], mm_vision_tower=vision["name"],
                        mm_projector_type="mlp2x_gelu")
        return language
    language.update(mm_image_tower=vision["name"], image_projector_type="mlp2x_gelu")
    if m.experts:
        routed = list(range(0, m.layers, 2))
        language["moe"] = dict(moe_enable=True, moe_mode="sparse", moe_layers_idx=routed,
                               num_experts=[m.experts] * len(routed), top_k_experts=2, eval_capacity_factor=2.0,
                               min_capacity=0, use_residual=False)
    return language
