#!/usr/bin/env python3
"""What others reach on this GPU, on the shapes and the very routing that gpu_ops_bench measured (bench/gpu/run.sh).

    peers.py --dense-ceiling                                            one line for ceilings.csv
    peers.py --ceilings FILE --routing DIR --csv FILE [--seconds N]     rows in the columns of gpu_ops_bench

Contenders: torch's grouped_mm with gather, activation and combine; a fused layer in Triton (triton_moe.py), tuned over a
few tiles; scaled_dot_product_attention over keys in one piece; dense products. Their layers begin at the router's logits,
gpu_ops_bench's compute those too. What is missing or fails is reported, and what has no time left is left out.
"""

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch

COLD_BYTES = 4 * 60e6  # as in bench/gpu/bench.h
SAMPLES = 30
TUNING_SAMPLES = 5
RUN_SECONDS = 2e-3
DEVICE = "cuda"
TOLERANCE = 2e-2  # between two contenders, each of which may round


@dataclass
class Shape:
    """Of a routing file."""

    name: str
    tokens: int
    routing: str
    experts: int
    hidden: int
    ffn: int
    chosen: int
    gated: bool
    biased: bool
    touched: int

    @property
    def expert_elements(self):
        return (3 if self.gated else 2) * self.hidden * self.ffn

    @property
    def work(self):
        """Bytes and floating-point operations, as gpu_ops_bench counts them."""
        bytes_moved = 2 * (self.touched * self.expert_elements + 2 * self.tokens * self.hidden)
        return bytes_moved, 2 * self.chosen * self.tokens * self.expert_elements


@dataclass
class Weights:
    up: torch.Tensor  # [E, ffn or 2 ffn, hidden]
    up_bias: torch.Tensor  # [E, ffn]
    down: torch.Tensor  # [E, hidden, ffn]
    down_bias: torch.Tensor  # [E, hidden]


def read_routing(path):
    """A file of gpu_ops_bench: its shape, experts [T, k] and weights [T, k]."""
    head, _, body = path.read_text().partition("rows\n")
    fields = dict(line.split() for line in head.splitlines())
    flags = {"gated", "biased"}
    texts = {"shape", "routing"}
    values = {k: v if k in texts else v == "1" if k in flags else int(v) for k, v in fields.items()}
    shape = Shape(name=values.pop("shape"), **values)
    rows = torch.tensor([[float(v) for v in line.split()] for line in body.splitlines()], dtype=torch.float32)
    return shape, rows[:, : shape.chosen].int().to(DEVICE), rows[:, shape.chosen :].contiguous().to(DEVICE)


class Table:
    """Rows in the columns of bench/gpu/measure.h, flushed one by one."""

    def __init__(self, path, ceilings):
        self.file = open(path, "a", encoding="utf-8")
        self.ceilings = ceilings

    def add(self, contender, section, what, shape, tokens, detail, seconds, work, check=""):
        bytes_moved, flops = work
        memory = bytes_moved / self.ceilings["copy_bytes_per_second"]
        compute = flops / self.ceilings["dense_flops_per_second"]
        floor = max(memory, compute)
        ranked = sorted(seconds)
        p10, median, p90 = (ranked[round(q * (len(ranked) - 1))] for q in (0.1, 0.5, 0.9))
        bound = "memory" if memory >= compute else "compute"
        line = (
            f"{contender},{section},{what},{shape},{tokens},{detail},graph,{len(ranked)},{p10 * 1e6:.3f},{median * 1e6:.3f},"
            f"{p90 * 1e6:.3f},{floor * 1e6:.3f},{bound},{100 * floor / median:.1f},{bytes_moved / median / 1e9:.1f},"
            f"{flops / median / 1e12:.2f},,{check}"
        )
        print(line, flush=True)
        self.file.write(line + "\n")
        self.file.flush()


def timed(operation, copies, samples=SAMPLES):
    """Seconds of one operation(copy) per sample: a graph of many is replayed, the copies take turns."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for copy in range(copies):
            operation(copy)
        stream.synchronize()
        begin = time.perf_counter()
        operation(0)
        stream.synchronize()
        once = max(time.perf_counter() - begin, 1e-6)
    count = max(1, min(24, int(RUN_SECONDS / once)))
    count = (count + copies - 1) // copies * copies
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for i in range(count):
            operation(i % copies)
    events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(samples)]
    with torch.cuda.stream(stream):
        for _ in range(3):
            graph.replay()
        for begin_event, end_event in events:
            begin_event.record()
            graph.replay()
            end_event.record()
    torch.cuda.synchronize()
    return [begin_event.elapsed_time(end_event) * 1e-3 / count for begin_event, end_event in events]


def normal(*dims, sigma=1.0):
    return (torch.randn(*dims, device=DEVICE, dtype=torch.float32) * sigma).bfloat16()


def make_weights(shape):
    width = 2 * shape.ffn if shape.gated else shape.ffn
    return Weights(
        up=torch.cat([normal(1, width, shape.hidden, sigma=0.02) for _ in range(shape.experts)]),
        up_bias=normal(shape.experts, shape.ffn, sigma=0.02),
        down=torch.cat([normal(1, shape.hidden, shape.ffn, sigma=0.02) for _ in range(shape.experts)]),
        down_bias=normal(shape.experts, shape.hidden, sigma=0.02),
    )


class GroupedMm:
    """torch's grouped product of rows sorted by expert."""

    def __init__(self, shape):
        self.shape = shape
        functional = getattr(torch.nn.functional, "grouped_mm", None)
        self.multiply = functional or torch._grouped_mm

    def route(self, experts):
        flat = experts.flatten().long()
        order = torch.argsort(flat, stable=True)
        sizes = torch.zeros(self.shape.experts, dtype=torch.int64, device=flat.device)
        sizes.scatter_add_(0, flat, torch.ones_like(flat))
        return order, flat[order], torch.cumsum(sizes, 0).int()

    def products(self, x, weights, sorted_places, scales):
        order, by_expert, ends = sorted_places
        shape = self.shape
        y = self.multiply(x[order // shape.chosen], weights.up.transpose(1, 2), offs=ends)
        if shape.biased:
            y = y + weights.up_bias[by_expert]
        if shape.gated:
            gate, up = y.chunk(2, dim=-1)
            y = torch.nn.functional.silu(gate) * up
        else:
            y = torch.nn.functional.gelu(y, approximate="tanh")
        y = self.multiply(y, weights.down.transpose(1, 2), offs=ends)
        if shape.biased:
            y = y + weights.down_bias[by_expert]
        unsorted = torch.empty_like(y)
        unsorted[order] = y * scales.flatten()[order].to(y.dtype)[:, None]
        return unsorted

    def combine(self, y, tokens):
        return y.view(tokens, self.shape.chosen, -1).sum(1)


def layer_of(contender, x, logits, chosen):
    """From router logits to combined rows, with one copy of the weights."""

    def run(weights):
        scores, experts = torch.topk(logits, chosen, dim=-1)
        scales = torch.softmax(scores, dim=-1)
        y = contender.products(x, weights, contender.route(experts.int()), scales)
        return contender.combine(y, x.shape[0])

    return run


class Tuner:
    """The Triton layer with the fastest of some tiles, found once for each shape and range of rows per expert."""

    def __init__(self):
        self.best = {}

    def layer(self, shape, x, weights, experts, scales):
        from triton_moe import TritonMoe, heights

        tried = heights(shape.tokens * shape.chosen / shape.experts)
        if (shape.name, tried) not in self.best:
            self.best[shape.name, tried] = self.find(shape, tried, x, weights, experts, scales)
        return TritonMoe(shape, self.best[shape.name, tried])

    def find(self, shape, tried, x, weights, experts, scales):
        from triton_moe import TritonMoe, configurations

        times = {}
        for configuration in configurations(tried):
            contender = TritonMoe(shape, configuration)
            try:
                blocks = contender.route(experts)
                ranked = sorted(
                    timed(lambda c: contender.products(x, weights[c], blocks, scales), len(weights), TUNING_SAMPLES)
                )
                times[configuration] = ranked[TUNING_SAMPLES // 2]
            except Exception as error:  # a tile that this GPU cannot hold
                print(f"# triton {configuration}: {type(error).__name__}", flush=True)
        return min(times, key=times.get)


def moe_rows(table, path, weights, tuner, deadline):
    shape, experts, scales = read_routing(path)
    torch.manual_seed(shape.tokens)
    x = normal(shape.tokens, shape.hidden)
    # Logits whose best k are the file's choice with the file's weights.
    logits = torch.full((shape.tokens, shape.experts), -1e4, device=DEVICE)
    logits.scatter_(1, experts.long(), torch.log(scales.clamp_min(1e-9)))
    contenders = {
        "torch grouped_mm": lambda: GroupedMm(shape),
        "triton": lambda: tuner.layer(shape, x, weights, experts, scales),
    }
    expected = None
    for name, make in contenders.items():
        if time.monotonic() > deadline:
            return
        try:
            contender = make()
            layer = layer_of(contender, x, logits, shape.chosen)
            out = layer(weights[0]).float()
            check = ""
            if expected is not None:
                check = "ok" if (out - expected).norm() / expected.norm() < TOLERANCE else "WRONG"
            expected = out
            sorted_places = contender.route(experts)
            detail = f"{shape.routing} {shape.touched} touched"
            rows = {
                "layer": lambda c: layer(weights[c]),
                "experts": lambda c: contender.products(x, weights[c], sorted_places, scales),
            }
            for what, operation in rows.items():
                seconds = timed(operation, len(weights))
                table.add(name, "moe", what, shape.name, shape.tokens, detail, seconds, shape.work, check)
        except Exception as error:
            print(f"# {name}, {path.name}: {type(error).__name__}: {error}", flush=True)


def all_moe_rows(table, folder, deadline):
    paths = {}
    tuner = Tuner()
    for path in sorted(folder.glob("*.txt")):
        shape, _, _ = read_routing(path)
        paths.setdefault(shape.name, []).append((shape.routing, shape.tokens, path, shape))
    for number, files in enumerate(paths.values()):
        share = time.monotonic() + (deadline - time.monotonic()) / (len(paths) - number)
        shape = files[0][3]
        touched_bytes = 2 * shape.chosen * shape.expert_elements
        weights = [make_weights(shape) for _ in range(max(3, math.ceil(COLD_BYTES / touched_bytes)))]
        for _, _, path, _ in sorted(files, key=lambda file: (file[0] != "uniform", file[1])):
            if time.monotonic() < share:
                moe_rows(table, path, weights, tuner, share)
        del weights
        torch.cuda.empty_cache()


def attention_rows(table, deadline):
    """Decoding rows over keys that lie in one piece: no pages to follow."""
    shapes = [("phi2-32x80", 32, 32, 80, [(1, 1024), (1, 4096), (32, 2048), (128, 1024)])]
    shapes.append(("qwen3-32q-4kv-x128", 32, 4, 128, [(1, 1024), (1, 32768), (64, 1024), (128, 2048)]))
    for name, heads, kv_heads, dim, passes in shapes:
        for batch, context in passes:
            if time.monotonic() > deadline:
                return
            try:
                cache_bytes = 2 * 2 * batch * context * kv_heads * dim
                copies = max(3, math.ceil(COLD_BYTES / cache_bytes))
                caches = [[normal(batch, kv_heads, context, dim) for _ in range(2)] for _ in range(copies)]
                q = normal(batch, heads, 1, dim)

                def attend(c):
                    return torch.nn.functional.scaled_dot_product_attention(q, *caches[c], enable_gqa=heads != kv_heads)

                work = cache_bytes + 4 * batch * heads * dim, 4 * batch * heads * dim * context
                detail = f"batch {batch} context {context}"
                table.add("torch sdpa", "attention", "decode", name, batch, detail, timed(attend, copies), work)
            except Exception as error:
                print(f"# torch sdpa, {name} {batch} x {context}: {type(error).__name__}: {error}", flush=True)
            caches = None


def dense_rows(table, deadline):
    shapes = {"phi2-qkv": (2560, 7680), "phi2-up": (2560, 10240), "qwen3-qkv": (2048, 5120), "qwen3-out": (4096, 2048)}
    for name, (inputs, outputs) in shapes.items():
        copies = max(3, math.ceil(COLD_BYTES / (2 * inputs * outputs)))
        weights = [normal(outputs, inputs, sigma=0.02) for _ in range(copies)]
        for tokens in (1, 8, 32, 128, 640, 2048, 8192):
            if time.monotonic() > deadline:
                return
            x = normal(tokens, inputs)
            work = 2 * (inputs * outputs + tokens * (inputs + outputs)), 2 * tokens * inputs * outputs
            seconds = timed(lambda c: torch.nn.functional.linear(x, weights[c]), copies)
            table.add("torch", "dense", "linear", name, tokens, f"{inputs} to {outputs}", seconds, work)


def dense_ceiling():
    a, b = normal(8192, 8192), normal(8192, 8192)
    seconds = sorted(timed(lambda c: torch.nn.functional.linear(a, b), 1))
    return 2 * 8192**3 / seconds[len(seconds) // 2]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dense-ceiling", action="store_true")
    parser.add_argument("--ceilings", type=Path)
    parser.add_argument("--routing", type=Path)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--seconds", type=float, default=140)
    flags = parser.parse_args()
    if flags.dense_ceiling:
        print(f"dense_flops_per_second,{dense_ceiling():.6g}")
        return
    end = time.monotonic() + flags.seconds
    lines = flags.ceilings.read_text().splitlines()
    ceilings = {name: float(value) for name, value in (line.split(",") for line in lines)}
    table = Table(flags.csv, ceilings)
    print(f"# torch {torch.__version__}, {torch.cuda.get_device_name()}")
    print(f"# torch's dense product 8192³: {dense_ceiling() / 1e12:.1f} TFLOP/s", flush=True)
    attention_rows(table, end)
    dense_rows(table, end)
    all_moe_rows(table, flags.routing, end)


if __name__ == "__main__":
    main()
