"""A mixture-of-experts layer in Triton, as a contender for bench/gpu/peers.py.

Written from the public idea of vLLM's fused_moe: token places are sorted by expert, each expert's are padded to whole
blocks, the first product gathers rows by place and the second writes to the place's own row, scaled by its routing weight;
a sum over the choices ends it. Activations are not copied.
"""

import itertools

import torch
import triton
import triton.language as tl


@triton.jit(do_not_specialize=["places"])
def up_kernel(
    x, weights, bias, mid, slots, block_experts, hidden, ffn, places, chosen,
    GATED: tl.constexpr, BIASED: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """mid[p] = act(x[p // chosen] W[e]ᵀ): weights [E, ffn or 2 ffn (gate, then up), hidden], mid [places, ffn]."""
    block = tl.program_id(1)
    expert = tl.load(block_experts + block).to(tl.int64)
    if expert < 0:
        return
    place = tl.load(slots + block * M + tl.arange(0, M))
    valid = place < places
    columns = tl.program_id(0) * N + tl.arange(0, N)
    inner = tl.arange(0, K)
    rows = x + (place // chosen).to(tl.int64)[:, None] * hidden + inner[None, :]
    if GATED:
        width = 2 * ffn
    else:
        width = ffn
    first = weights + (expert * width + columns[None, :]) * hidden + inner[:, None]
    second = first + ffn.to(tl.int64) * hidden
    in_range = columns[None, :] < ffn
    sums = tl.zeros((M, N), tl.float32)
    ups = tl.zeros((M, N), tl.float32)
    for _ in range(0, hidden, K):  # hidden is a multiple of K
        a = tl.load(rows, mask=valid[:, None], other=0.0)
        sums = tl.dot(a, tl.load(first, mask=in_range, other=0.0), sums)
        if GATED:
            ups = tl.dot(a, tl.load(second, mask=in_range, other=0.0), ups)
        rows += K
        first += K
        second += K
    if BIASED:
        sums += tl.load(bias + expert * ffn + columns, mask=columns < ffn, other=0.0).to(tl.float32)[None, :]
    if GATED:
        values = sums * tl.sigmoid(sums) * ups
    else:  # gelu, tanh approximation: 0.5 (1 + tanh u) = σ(2 u)
        u = 0.7978845608028654 * (sums + 0.044715 * sums * sums * sums)
        values = sums * tl.sigmoid(2 * u)
    target = mid + place.to(tl.int64)[:, None] * ffn + columns[None, :]
    tl.store(target, values.to(tl.bfloat16), mask=valid[:, None] & in_range)


@triton.jit(do_not_specialize=["places"])
def down_kernel(
    mid, weights, bias, scales, y, slots, block_experts, hidden, ffn, places,
    BIASED: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """y[p] = scales[p] · (mid[p] W[e]ᵀ): weights [E, hidden, ffn], y [places, hidden]."""
    block = tl.program_id(1)
    expert = tl.load(block_experts + block).to(tl.int64)
    if expert < 0:
        return
    place = tl.load(slots + block * M + tl.arange(0, M))
    valid = place < places
    columns = tl.program_id(0) * N + tl.arange(0, N)
    inner = tl.arange(0, K)
    rows = mid + place.to(tl.int64)[:, None] * ffn + inner[None, :]
    weight = weights + (expert * hidden + columns[None, :]) * ffn + inner[:, None]
    in_range = columns[None, :] < hidden
    sums = tl.zeros((M, N), tl.float32)
    for _ in range(0, ffn, K):  # ffn is a multiple of K
        a = tl.load(rows, mask=valid[:, None], other=0.0)
        sums = tl.dot(a, tl.load(weight, mask=in_range, other=0.0), sums)
        rows += K
        weight += K
    if BIASED:
        sums += tl.load(bias + expert * hidden + columns, mask=columns < hidden, other=0.0).to(tl.float32)[None, :]
    sums *= tl.load(scales + place, mask=valid, other=0.0)[:, None]
    target = y + place.to(tl.int64)[:, None] * hidden + columns[None, :]
    tl.store(target, sums.to(tl.bfloat16), mask=valid[:, None] & in_range)


def align(experts, count, block):
    """Places sorted by expert and padded to blocks, and each block's expert (-1: unused); sizes depend on shapes alone."""
    flat = experts.flatten()
    places = flat.numel()
    blocks = min(places, count) + places // block  # the most that there can be
    order = torch.argsort(flat, stable=True)
    sizes = torch.zeros(count, dtype=torch.int64, device=flat.device)
    sizes.scatter_add_(0, flat.long(), torch.ones_like(flat, dtype=torch.int64))
    padded = (sizes + block - 1) // block * block
    ends = torch.cumsum(padded, 0)
    by_expert = flat[order].long()
    within = torch.arange(places, device=flat.device) - (torch.cumsum(sizes, 0) - sizes)[by_expert]
    slots = torch.full((blocks * block,), places, dtype=torch.int32, device=flat.device)
    slots[(ends - padded)[by_expert] + within] = order.int()
    starts = torch.arange(blocks, device=flat.device) * block
    block_experts = torch.searchsorted(ends, starts, right=True).int()
    return slots, torch.where(block_experts < count, block_experts, -1).int()


def heights(rows_per_expert):
    """Rows of a block that are worth trying for so many rows of an expert."""
    if rows_per_expert <= 32:
        return (16,)
    return (16, 64) if rows_per_expert <= 128 else (64, 128)


def configurations(heights_to_try):
    """(M, N, K, warps, stages)."""
    for height, width in itertools.product(heights_to_try, [64, 128]):
        yield height, width, 64, 8 if height * width >= 128 * 128 else 4, 4


class TritonMoe:
    """The layer with one configuration; weights as in bench/gpu/peers.py."""

    def __init__(self, shape, configuration):
        self.shape = shape
        self.block, self.columns, self.depth, self.warps, self.stages = configuration

    def route(self, experts):
        return align(experts, self.shape.experts, self.block)

    def products(self, x, weights, blocks, scales):
        """[T · k, hidden], scaled by the routing weights, in order of token and choice."""
        shape = self.shape
        slots, block_experts = blocks
        places = scales.numel()
        mid = torch.empty(places, shape.ffn, dtype=x.dtype, device=x.device)
        y = torch.empty(places, shape.hidden, dtype=x.dtype, device=x.device)
        tile = {"M": self.block, "N": self.columns, "K": self.depth, "num_warps": self.warps, "num_stages": self.stages}
        grid = (triton.cdiv(shape.ffn, self.columns), block_experts.numel())
        up_kernel[grid](
            x, weights.up, weights.up_bias, mid, slots, block_experts, shape.hidden, shape.ffn, places, shape.chosen,
            GATED=shape.gated, BIASED=shape.biased, **tile,
        )  # fmt: skip
        grid = (triton.cdiv(shape.hidden, self.columns), block_experts.numel())
        down_kernel[grid](
            mid, weights.down, weights.down_bias, scales, y, slots, block_experts, shape.hidden, shape.ffn, places,
            BIASED=shape.biased, **tile,
        )  # fmt: skip
        return y

    def combine(self, y, tokens):
        return y.view(tokens, self.shape.chosen, -1).sum(1)
