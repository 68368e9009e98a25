"""The demonstration model in PyTorch: MoE-LLaVA on Phi-2's layout, small.

The module tree is named so that `state_dict()` is the published checkpoint layout. What it
computes is what a server computes: CLIP tower up to the last but one layer without its class row,
two-layer projector with exact GELU, parallel blocks with one LayerNorm, rotary positions on the
first part of each head, experts chosen top-2 by a float32 softmax and renormalised.
Sources: CLIP (Radford et al. 2021), LLaVA-1.5 (Liu et al. 2023), MoE-LLaVA (Lin et al. 2024).
"""

from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional as F


@dataclass
class Config:
    vocab: int
    hidden: int = 128
    heads: int = 4
    layers: int = 6
    ffn: int = 512
    rotary: int = 16              # of hidden / heads
    rope_theta: float = 10000.0
    experts: int = 4
    moe_layers: list = field(default_factory=list)
    tower_hidden: int = 128
    tower_heads: int = 4
    tower_layers: int = 6         # the last one is in the checkpoint and unused: select layer -2
    tower_ffn: int = 512
    image: int = 112
    patch: int = 14


def attend(q, k, v, mask=None):
    """Attention [n, heads, t, d] over k, v [n, heads, s, d]; mask: added to the scores.

    Written out because PyTorch's fused attention is several times slower backwards on a CPU.
    """
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores + mask.to(scores.dtype)
    with torch.autocast("cpu", enabled=False):
        return scores.softmax(-1) @ v


# ---------------------------------------------------------------------------- vision tower


class TowerAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            setattr(self, name, nn.Linear(width, width))

    def forward(self, x):
        q, k, v = (p(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for p in (self.q_proj, self.k_proj, self.v_proj))
        return self.out_proj(attend(q, k, v).transpose(1, 2).flatten(2))


class TowerMLP(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x):
        x = self.fc1(x)
        return self.fc2(x * torch.sigmoid(1.702 * x))


class TowerLayer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.self_attn = TowerAttention(c.tower_hidden, c.tower_heads)
        self.layer_norm1 = nn.LayerNorm(c.tower_hidden)
        self.mlp = TowerMLP(c.tower_hidden, c.tower_ffn)
        self.layer_norm2 = nn.LayerNorm(c.tower_hidden)

    def forward(self, x):
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class TowerEmbeddings(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.class_embedding = nn.Parameter(0.02 * torch.randn(c.tower_hidden))
        self.patch_embedding = nn.Conv2d(3, c.tower_hidden, c.patch, c.patch, bias=False)
        self.position_embedding = nn.Embedding((c.image // c.patch) ** 2 + 1, c.tower_hidden)
        nn.init.normal_(self.position_embedding.weight, std=0.02)

    def forward(self, pixels):
        conv = self.patch_embedding  # patches do not overlap: a matrix product
        side = conv.kernel_size[0]
        cut = pixels.unfold(2, side, side).unfold(3, side, side).permute(0, 2, 3, 1, 4, 5)
        patches = F.linear(cut.flatten(3).flatten(1, 2), conv.weight.flatten(1))
        first = self.class_embedding.expand(len(pixels), 1, -1)
        return torch.cat([first, patches], 1) + self.position_embedding.weight


class Tower(nn.Module):
    """Pixels [n, 3, 112, 112], normalised, to hidden state -2 [n, 65, tower_hidden]."""

    def __init__(self, c):
        super().__init__()
        self.embeddings = TowerEmbeddings(c)
        self.pre_layrnorm = nn.LayerNorm(c.tower_hidden)  # CLIP's own spelling
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList(TowerLayer(c) for _ in range(c.tower_layers))
        self.post_layernorm = nn.LayerNorm(c.tower_hidden)

    def forward(self, pixels):
        x = self.pre_layrnorm(self.embeddings(pixels))
        for layer in self.encoder.layers[:-1]:
            x = layer(x)
        return x


MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])


def normalise(pictures):
    """uint8 [n, h, w, 3] to CLIP's float32 [n, 3, h, w]."""
    return ((pictures.float() / 255 - MEAN) / STD).permute(0, 3, 1, 2).contiguous()


# ---------------------------------------------------------------------------- language model


def rotary_tables(c, positions):
    """cos and sin, float32 [..., rotary], of positions [...]."""
    rate = c.rope_theta ** (-torch.arange(0, c.rotary, 2).float() / c.rotary)
    angle = positions[..., None].float() * rate
    angle = torch.cat([angle, angle], -1)
    return angle.cos(), angle.sin()


def rotate(x, cos, sin):
    """Rotates the first part of every head, pairs (i, i + rotary / 2). x [n, heads, t, d]."""
    turned, rest = x.split([cos.shape[-1], x.shape[-1] - cos.shape[-1]], -1)
    a, b = turned.chunk(2, -1)
    turned = turned * cos + torch.cat([-b, a], -1) * sin
    return torch.cat([turned.to(x.dtype), rest], -1)


def share(past, rows):
    """Keys or values of few rows, each repeated for its rows / few successors."""
    few = len(past)
    return past[:, None].expand(-1, rows // few, -1, -1, -1).reshape(rows, *past.shape[1:])


def causal(t, past=0):
    """The additive mask [1, 1, t, past + t] of t rows after `past` ones."""
    return torch.full((t, past + t), float("-inf")).triu(past + 1)[None, None]


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads = c.heads
        for name in ("q_proj", "k_proj", "v_proj", "dense"):
            setattr(self, name, nn.Linear(c.hidden, c.hidden))

    def forward(self, x, rope, mask, past):
        """mask [n or 1, 1, t, past + t] is added to the scores; past: earlier (keys, values), or
        None. Returns (output, (keys, values))."""
        q, k, v = (p(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for p in (self.q_proj, self.k_proj, self.v_proj))
        q, k = rotate(q, *rope), rotate(k, *rope)
        if past is not None:
            k = torch.cat([share(past[0], len(k)), k], 2)
            v = torch.cat([share(past[1], len(v)), v], 2)
        return self.dense(attend(q, k, v, mask).transpose(1, 2).flatten(2)), (k, v)


class FeedForward(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(c.hidden, c.ffn), nn.Linear(c.ffn, c.hidden)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Experts(nn.Module):
    """Top-2 of several feed-forwards, weights renormalised over the two; nothing is dropped.

    Every forward appends to `routed` its tokens' chances [t, experts] and choices [t, 2].
    """

    def __init__(self, c):
        super().__init__()
        self.routed = []
        self.deepspeed_moe = nn.Module()
        self.deepspeed_moe.gate = nn.Module()
        self.deepspeed_moe.gate.wg = nn.Linear(c.hidden, c.experts, bias=False)
        self.deepspeed_moe.experts = nn.Module()
        self.deepspeed_moe.experts.deepspeed_experts = nn.ModuleList(
            FeedForward(c) for _ in range(c.experts))

    def forward(self, x, counted=None):
        """counted: bool like x's rows, which of them enter the balance (the others are padding)."""
        flat = x.reshape(-1, x.shape[-1])
        with torch.autocast("cpu", enabled=False):
            chances = self.deepspeed_moe.gate.wg(flat.float()).softmax(-1)
        top, chosen = chances.topk(2, -1)
        weights = top / top.sum(-1, keepdim=True)
        out = torch.zeros_like(flat)
        for e, expert in enumerate(self.deepspeed_moe.experts.deepspeed_experts):
            row, slot = (chosen == e).nonzero(as_tuple=True)
            part = expert(flat[row]) * weights[row, slot, None]
            out = out.index_add(0, row, part.to(out.dtype))
        keep = slice(None) if counted is None else counted.flatten()
        self.routed.append((chances[keep], chosen[keep]))
        return out.view_as(x)

    def balance(self):
        """Load-balancing loss of what was routed since the last call (GShard's: experts times the
        sum of mean chance times share of first choices; 1 is perfect balance)."""
        chances = torch.cat([c for c, _ in self.routed])
        first = F.one_hot(torch.cat([c[:, 0] for _, c in self.routed]), chances.shape[-1])
        self.routed = []
        return chances.shape[-1] * (chances.mean(0) * first.float().mean(0)).sum()


class Layer(nn.Module):
    """Phi-2's parallel block: x + attention(norm x) + feed-forward(norm x)."""

    def __init__(self, c, sparse):
        super().__init__()
        self.self_attn = Attention(c)
        self.mlp = Experts(c) if sparse else FeedForward(c)
        self.input_layernorm = nn.LayerNorm(c.hidden)

    def forward(self, x, rope, mask, past=None, counted=None, only=None):
        """`only`: indices into the flattened rows, the rows to go on with (in the last layer all
        others end here). Returns (rows, (keys, values))."""
        y = self.input_layernorm(x)
        if torch.is_autocast_enabled("cpu"):
            y = y.to(torch.bfloat16)
        attended, kept = self.self_attn(y, rope, mask, past)
        if only is not None:
            x, y, attended = (t.flatten(0, 1)[only] for t in (x, y, attended))
        fed = self.mlp(y, counted) if isinstance(self.mlp, Experts) else self.mlp(y)
        return attended + fed + x, kept


class DemoModel(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = c = config
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(c.vocab, c.hidden)
        self.model.layers = nn.ModuleList(Layer(c, i in c.moe_layers) for i in range(c.layers))
        self.model.final_layernorm = nn.LayerNorm(c.hidden)
        self.model.image_tower = nn.Module()
        self.model.image_tower.image_tower = nn.Module()
        self.model.image_tower.image_tower.vision_model = Tower(c)
        self.model.mm_projector = nn.Module()
        self.model.mm_projector.image_spatial_proj = nn.Sequential(
            nn.Linear(c.tower_hidden, c.hidden), nn.GELU(), nn.Linear(c.hidden, c.hidden))
        self.lm_head = nn.Linear(c.hidden, c.vocab, bias=False)
        for layer in self.model.layers:
            for name, weight in layer.named_parameters():
                if name.endswith("weight") and weight.dim() == 2:
                    nn.init.normal_(weight, std=0.4 / weight.shape[1] ** 0.5)
        nn.init.normal_(self.model.embed_tokens.weight, std=0.5)
        nn.init.normal_(self.lm_head.weight, std=0.02)

    @property
    def tower(self):
        return self.model.image_tower.image_tower.vision_model

    @property
    def projector(self):
        return self.model.mm_projector.image_spatial_proj

    def see(self, pictures):
        """Tower features [n, 64, tower_hidden] of uint8 pictures [n, 112, 112, 3]."""
        return self.tower(normalise(pictures))[:, 1:]

    def experts(self):
        return [layer.mlp for layer in self.model.layers if isinstance(layer.mlp, Experts)]

    def forward(self, before, features, ids, segment, position, wanted):
        """Logits [wanted, vocab] of packed branches (data.py).

        before: ids of the system prompt, once for all; features [n, 64, tower_hidden]; the rest
        [chunks, t], where each picture in turn owns chunks / n chunks; wanted: indices into them.
        """
        embed, c = self.model.embed_tokens, self.config
        seen, first = features.shape[1], len(before)
        mine = (segment[:, None, :] == segment[:, :, None]).tril()[:, None]
        mine = torch.zeros(mine.shape).masked_fill(~mine, float("-inf"))
        masks = (causal(first), causal(seen, first), F.pad(mine, (first + seen, 0)))
        ropes = (rotary_tables(c, torch.arange(first)),
                 rotary_tables(c, first + torch.arange(seen)),
                 [t[:, None] for t in rotary_tables(c, first + seen + position)])
        prefix, image, x = embed(before)[None], self.projector(features), embed(ids)
        *layers, last = self.model.layers
        for layer in layers:
            prefix, past = layer(prefix, ropes[0], masks[0])
            image, past = layer(image, ropes[1], masks[1], past)
            x, _ = layer(x, ropes[2], masks[2], past, counted=segment != -1)
        _, past = last(prefix, ropes[0], masks[0], only=wanted[:0])
        _, past = last(image, ropes[1], masks[1], past, only=wanted[:0])
        x, _ = last(x, ropes[2], masks[2], past, only=wanted)
        return self.lm_head(self.model.final_layernorm(x))

    def logits(self, ids, features):
        """Logits [t, vocab] of one prompt: ids with -200 for the picture, features [64, width]."""
        cut = ids.index(-200) if -200 in ids else len(ids)
        embed = self.model.embed_tokens
        rows = [embed(torch.tensor(ids[:cut], dtype=torch.long))]
        if cut < len(ids):
            rows += [self.projector(features), embed(torch.tensor(ids[cut + 1:], dtype=torch.long))]
        x = torch.cat(rows)[None]
        rope = rotary_tables(self.config, torch.arange(x.shape[1]))
        for layer in self.model.layers:
            x, _ = layer(x, rope, causal(x.shape[1]))
        return self.lm_head(self.model.final_layernorm(x))[0]


def copy_experts(dense, moe_layers):
    """A sparse model from a dense one: each chosen layer's feed-forward becomes every expert's."""
    config = Config(**{**vars(dense.config), "moe_layers": moe_layers})
    sparse = DemoModel(config)
    weights = dense.state_dict()
    for name in sparse.state_dict():
        if ".deepspeed_experts." in name:
            layer, rest = name.split(".deepspeed_moe.experts.deepspeed_experts.")
            weights[name] = weights[f"{layer}.{rest.split('.', 1)[1]}"]
        elif name.endswith("gate.wg.weight"):
            weights[name] = sparse.state_dict()[name]
    sparse.load_state_dict({n: weights[n].clone() for n in sparse.state_dict()})
    return sparse
