#!/usr/bin/env python3
"""Makes the golden cases models/qwen3_moe and models/qwen3_vl_moe: small random models through transformers' own code.

    python3 -m venv VENV; VENV/bin/pip install transformers==4.57.6 torch torchvision pillow safetensors
    VENV/bin/python tests/golden/make_qwen3.py

Weights are drawn at random, rounded to bfloat16 and stored in the published layout; all that is expected comes from float32 on a CPU with
eager attention, but for logits_bf16. Pictures have the model's size after Pillow's resizing, so that no library resizes them again. The
tokenizer files are those in models/qwen3_vl_moe/model: Qwen2's kind with a small vocabulary.
"""
import json
import pathlib
import shutil

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoTokenizer, Qwen2VLImageProcessor, Qwen3MoeConfig, Qwen3MoeForCausalLM
from transformers import Qwen3VLMoeConfig, Qwen3VLMoeForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

MODELS = pathlib.Path(__file__).parent / "models"
VISION = MODELS / "qwen3_vl_moe"
NEW_TOKENS = 32
TEXT = dict(vocab_size=552, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
            head_dim=16, num_experts=8, num_experts_per_tok=3, moe_intermediate_size=24, max_position_embeddings=4096, rms_norm_eps=1e-6,
            bos_token_id=520, eos_token_id=522, decoder_sparse_step=1, norm_topk_prob=True)
TEXT_CONFIG = dict(TEXT, mlp_only_layers=[1], rope_theta=1000000.0)
VISION_CONFIG = dict(
    text_config=dict(TEXT, mlp_only_layers=[2], rope_theta=5000000.0,
                     rope_scaling=dict(rope_type="default", mrope_section=[4, 2, 2], mrope_interleaved=True)),
    vision_config=dict(depth=3, hidden_size=32, intermediate_size=40, num_heads=2, out_hidden_size=32, num_position_embeddings=25,
                       deepstack_visual_indexes=[0, 1], patch_size=16, temporal_patch_size=2, spatial_merge_size=2),
    image_token_id=532, video_token_id=533, vision_start_token_id=529, vision_end_token_id=530)
PROCESSOR = dict(size=dict(shortest_edge=4096, longest_edge=24576), patch_size=16, temporal_patch_size=2, merge_size=2,
                 image_mean=[0.5] * 3, image_std=[0.5] * 3, image_processor_type="Qwen2VLImageProcessorFast",
                 processor_class="Qwen3VLProcessor")
GENERATION = dict(do_sample=True, temperature=0.7, top_k=20, top_p=0.8, eos_token_id=[522, 520])


def parts(*items):
    return [{"image": item} if isinstance(item, int) else {"text": item} for item in items]


def user(*items):
    return dict(role="user", content=parts(*items))


REQUESTS = {
    "qwen3_moe": [
        ("question", [user("What is in the harbour?")]),
        ("two_turns", [dict(role="system", content=parts("You are brief.")), user("How many boats? 数え方"),
                       dict(role="assistant", content=parts("Two.")), user("Colours?")]),
    ],
    "qwen3_vl_moe": [
        ("one_image", [user(0, "What is in the picture?")]),
        ("two_images", [dict(role="system", content=parts("You are brief.")), user("First: ", 0, " second: ", 1, " Which is longer?")]),
        ("text_only", [user("Say it in English.")]),
    ],
}
IMAGES = {"one_image": [("bars.png", 90, 70)], "two_images": [("strip.png", 200, 21), ("tower.png", 30, 120)]}


def template(messages):
    prompt = ""
    for message in messages:
        text = "".join(part.get("text", "<|vision_start|><|image_pad|><|vision_end|>") for part in message["content"])
        prompt += f"<|im_start|>{message['role']}\n{text}<|im_end|>\n"
    return prompt + "<|im_start|>assistant\n"


def draw(model, seed):
    """Weights that make routers and answers differ from token to token, as bfloat16 holds them."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if "norm" in name and name.endswith(".weight"):
            values = 1 + 0.1 * torch.randn(weight.shape, generator=generator)
        else:
            scale = 0.05 if name.endswith(".bias") else 1 / np.sqrt(weight.shape[-1])
            values = scale * torch.randn(weight.shape, generator=generator)
        weight.data = values.to(torch.bfloat16).to(torch.float32)
    return model.eval()


def make_images(directory, rng):
    directory.mkdir(parents=True, exist_ok=True)
    for images in IMAGES.values():
        for name, width, height in images:
            y, x = np.mgrid[0:height, 0:width]
            waves = [127 + 120 * np.sin(x / rng.uniform(3, 20) + y / rng.uniform(3, 20)) for _ in range(3)]
            Image.fromarray(np.stack(waves, -1).astype(np.uint8)).save(directory / name)


def pixels_of(names):
    """Patch rows and grids by the Pillow path."""
    processor = Qwen2VLImageProcessor(min_pixels=4096, max_pixels=24576, patch_size=16, merge_size=2, image_mean=[0.5] * 3,
                                      image_std=[0.5] * 3)
    rows, grids = [], []
    for name in names:
        image = Image.open(VISION / "images" / name).convert("RGB")
        height, width = smart_resize(image.height, image.width, factor=32, min_pixels=4096, max_pixels=24576)
        image = image.resize((width, height), Image.BICUBIC)
        done = processor(images=[image], do_resize=False, return_tensors="pt")
        rows.append(done["pixel_values"].float())
        grids.append(done["image_grid_thw"][0].tolist())
    return torch.cat(rows), grids


def run(model, ids, vision, vocabulary):
    """Logits, hidden states and router logits of the prompt, and the greedy answer."""
    inputs = dict(input_ids=ids, attention_mask=torch.ones_like(ids), **vision)
    routers, normed = [], []
    decoder = getattr(model.model, "language_model", model.model)
    hooks = [layer.mlp.gate.register_forward_hook(lambda module, args, output: routers.append(output.detach()))
             for layer in decoder.layers if hasattr(layer.mlp, "gate")]
    hooks.append(decoder.norm.register_forward_hook(lambda module, args, output: normed.append(output.detach())))
    with torch.no_grad():
        first = model(**inputs, output_hidden_states=True)
    for hook in hooks:
        hook.remove()
    routers = torch.stack([router.reshape(ids.shape[1], -1) for router in routers])
    tokens, logits = [], first.logits[0, -1, :vocabulary]
    margin = np.inf
    for _ in range(NEW_TOKENS):
        best = logits.topk(2).values
        margin = min(margin, float(best[0] - best[1]))
        tokens.append(int(logits.argmax()))
        if tokens[-1] in GENERATION["eos_token_id"]:
            break
        longer = torch.cat([ids, torch.tensor([tokens])], 1)
        with torch.no_grad():
            inputs.update(input_ids=longer, attention_mask=torch.ones_like(longer))
            logits = model(**inputs).logits[0, -1, :vocabulary]
    hidden = torch.stack([*first.hidden_states[:-1], normed[0]])[:, 0]
    return first.logits, hidden, routers, tokens, margin


def expect(case, model, low, tokenizer):
    """expected.json's requests and the tensors of a case."""
    requests, tensors, smallest = [], {}, np.inf
    for index, (name, messages) in enumerate(REQUESTS[case]):
        prompt = template(messages)
        images = [entry[0] for entry in IMAGES.get(name, [])]
        vision, grids, widened = {}, [], prompt
        if images:
            pixels, grids = pixels_of(images)
            vision = dict(pixel_values=pixels, image_grid_thw=torch.tensor(grids))
            pieces = prompt.split("<|image_pad|>")
            widened = pieces[0] + "".join("<|image_pad|>" * (h * w // 4) + rest for (_, h, w), rest in zip(grids, pieces[1:]))
            tensors[f"{name}/pixels"] = pixels
            features, deep = model.model.visual(pixels, grid_thw=torch.tensor(grids))
            tensors[f"{name}/image_features"] = features
            tensors.update({f"{name}/deepstack_{i}": level for i, level in enumerate(deep)})
        ids = tokenizer(widened, return_tensors="pt").input_ids
        logits, hidden, routers, tokens, margin = run(model, ids, vision, len(tokenizer))
        smallest = min(smallest, margin)
        vision_low = {key: value.to(torch.bfloat16) if key == "pixel_values" else value for key, value in vision.items()}
        with torch.no_grad():
            rounded = low(input_ids=ids, attention_mask=torch.ones_like(ids), **vision_low).logits[0, -1]
        tensors[f"{name}/logits"] = logits[0, -1]
        tensors[f"{name}/logits_bf16"] = rounded.float()
        if case == "qwen3_vl_moe":
            positions, _ = model.model.get_rope_index(ids, vision.get("image_grid_thw"), attention_mask=torch.ones_like(ids))
            tensors[f"{name}/positions"] = positions[:, 0].float()
        if index == 0:
            tensors[f"{name}/hidden"] = hidden
            tensors[f"{name}/router_logits"] = routers
        text = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        requests.append(dict(
            name=name, template="chatml", messages=messages, prompt=prompt, images=images, image_mode="native", image_grid_thw=grids,
            input_ids=ids[0].tolist(), max_new_tokens=NEW_TOKENS, tokens=tokens,
            finish="stop" if tokens[-1] in GENERATION["eos_token_id"] else "length", text=text, text_exact=text))
    return requests, {key: value.detach().contiguous().clone() for key, value in tensors.items()}, smallest


def make_case(case, kind, config, seed):
    directory = MODELS / case
    (directory / "model").mkdir(parents=True, exist_ok=True)
    if directory != VISION:
        for name in ("vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"):
            shutil.copyfile(VISION / "model" / name, directory / "model" / name)
    tokenizer = AutoTokenizer.from_pretrained(VISION / "model")
    model = draw(kind._from_config(config, attn_implementation="eager"), seed)
    low = kind._from_config(config, attn_implementation="eager").to(torch.bfloat16)
    low.load_state_dict(model.state_dict())
    requests, tensors, margin = expect(case, model, low.eval(), tokenizer)
    print(f"{case}: smallest token margin {margin:.4f}, answers of {[len(request['tokens']) for request in requests]}")

    state = {name: value.to(torch.bfloat16).contiguous() for name, value in model.state_dict().items()}
    save_file(state, directory / "model" / "model.safetensors", metadata=dict(format="pt"))
    saved = dict(config.to_dict(), architectures=[kind.__name__], dtype="bfloat16")
    (directory / "model" / "config.json").write_text(json.dumps(saved, indent=1) + "\n")
    (directory / "model" / "generation_config.json").write_text(json.dumps(GENERATION, indent=1) + "\n")
    save_file(tensors, directory / "expected.safetensors")
    note = "made by tests/golden/make_qwen3.py with transformers 4.57.6 in float32; hidden states: embeddings, then after each layer, the last after the final norm"
    (directory / "expected.json").write_text(json.dumps(dict(
        case=case, note=note, family=case, template="chatml", image_placeholder=532, vocabulary=len(tokenizer), eos_token_id=522,
        smallest_token_margin=margin, requests=requests), indent=1, ensure_ascii=False) + "\n")


def main():
    torch.set_num_threads(2)
    make_images(VISION / "images", np.random.default_rng(7))
    (VISION / "model" / "preprocessor_config.json").write_text(json.dumps(PROCESSOR, indent=1) + "\n")
    make_case("qwen3_moe", Qwen3MoeForCausalLM, Qwen3MoeConfig(**TEXT_CONFIG), seed=11)
    make_case("qwen3_vl_moe", Qwen3VLMoeForConditionalGeneration, Qwen3VLMoeConfig(**VISION_CONFIG), seed=13)


if __name__ == "__main__":
    main()
