#!/usr/bin/env python3
"""tessera-server --check on the headers of published models at their full size (files of holes, which take no disk):

    tests/published_models_test.py build/release/bin/tessera-server

Every row of bench/published_models.py must have the published number of tensors, parameters and bytes; every one of SERVED must be
found servable, with each tensor known.
"""
import math
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench"))
from published_models import MODELS, QWEN3_VL, tensors  # noqa: E402

PUBLISHED = [name for name, model in MODELS.items() if model.published]
# Those with their vision tower inside; the others' lies apart.
SERVED = [name for name in PUBLISHED if MODELS[name].tower or name in QWEN3_VL]
# Parameters that a token uses, in billions to four digits.
QWEN3_VL_ACTIVE = {"qwen3-vl-30b-a3b": 3.353, "qwen3-vl-235b-a22b": 22.19}

# Of four experts a token takes two.
NOT_CHOSEN = (".deepspeed_experts.2.", ".deepspeed_experts.3.")


def not_computed(tower):
    """The last layer and what follows it are in the files, but not used."""
    return f".encoder.layers.{tower['layers'] - 1}.", ".post_layernorm.", ".vision_model.head."


def four_digits(value):
    return float(f"{value:.4g}")


def parameters(name, left_out):
    return sum(math.prod(shape) for tensor, shape in tensors(MODELS[name])
               if not any(part in tensor for part in left_out))


def active(name, unused):
    """Parameters of the language model that a token uses."""
    if name in QWEN3_VL:
        model = MODELS[name]
        experts = model.layers * 3 * model.hidden * model.ffn
        return parameters(name, ("model.visual.",)) - (model.experts - model.chosen) * experts
    return parameters(name, unused + NOT_CHOSEN + (".vision_model.", "mm_projector", "multi_modal_projector"))


def check_totals(name):
    entries = [math.prod(shape) for _, shape in tensors(MODELS[name])]
    count, millions, gigabytes = MODELS[name].published
    assert len(entries) == count, f"{len(entries)} tensors"
    assert four_digits(sum(entries) / 1e6) == millions, f"{sum(entries) / 1e6} M parameters"
    assert f"{2 * sum(entries) / 1e9:.2f}" == f"{gigabytes:.2f}", f"{2 * sum(entries) / 1e9} GB"


def check(server, directory):
    """The exit status and the lines that tessera-server --check prints, keys that come more than once as lists."""
    done = subprocess.run([server, "--model", directory, "--check"], capture_output=True, text=True, timeout=60)
    lines = {}
    for line in done.stdout.splitlines():
        key, value = line.split(": ", 1)
        lines.setdefault(key, []).append(value)
    return done.returncode, lines


def check_served(name, server, directory):
    subprocess.run([sys.executable, ROOT / "bench/make_checkpoint.py", "--headers-only", name, directory], check=True,
                   capture_output=True)
    status, lines = check(server, directory)
    model = MODELS[name]
    kv_bytes = 2 * model.layers * model.kv_heads * model.head_dim * 2
    assert status == 0 and lines["servable"] == ["yes"], lines.get("fault", lines)
    assert "warning" not in lines, lines["warning"]  # every key is understood
    number = {key: int(values[0]) for key, values in lines.items() if values[0].isdigit()}
    count, millions, gigabytes = model.published
    assert lines["architecture"] == [model.model_type], lines["architecture"]
    assert number["tensors"] == count, number["tensors"]
    assert four_digits(number["tensor_parameters"] / 1e6) == millions, number["tensor_parameters"]
    assert f"{number['tensor_bytes'] / 1e9:.2f}" == f"{gigabytes:.2f}", number["tensor_bytes"]
    assert number["unused_tensors"] == 0, lines.get("unused_tensor")
    unused = not_computed(model.tower) if model.tower else ()
    assert number["parameters"] == parameters(name, unused), number["parameters"]
    assert number["active_parameters"] == active(name, unused), number["active_parameters"]
    if name in QWEN3_VL:
        assert four_digits(number["active_parameters"] / 1e9) == QWEN3_VL_ACTIVE[name], number["active_parameters"]
    assert number["kv_bytes_per_token_float16"] == kv_bytes, number["kv_bytes_per_token_float16"]
    assert number["kv_bytes_per_token_float32"] == 2 * kv_bytes, number["kv_bytes_per_token_float32"]
    scales = 2 * model.layers * model.kv_heads * 4
    assert number["kv_bytes_per_token_fp8"] == kv_bytes / 2 + scales, number["kv_bytes_per_token_fp8"]
    assert number["weight_bytes_bfloat16"] == number["weight_bytes_float16"], number
    matrices = number["parameters"] + (model.vocabulary * model.hidden if model.tied else 0)  # kept twice, as two layouts
    for dtype, width in (("float16", 2), ("float32", 4)):
        needed = number[f"weight_bytes_{dtype}"]
        assert width * matrices <= needed <= 1.05 * width * matrices, (needed, matrices)


def main():
    server = sys.argv[1]
    failed = 0
    for name in PUBLISHED:
        try:
            check_totals(name)
            if name in SERVED:
                with tempfile.TemporaryDirectory() as directory:
                    check_served(name, server, directory)
            print(f"ok   {name}{'' if name in SERVED else ' (totals only)'}")
        except AssertionError as error:
            failed += 1
            print(f"FAIL {name}: {error}")
    print(f"{len(PUBLISHED) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
