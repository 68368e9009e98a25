"""Muon for hidden matrices, AdamW for everything else, one cosine schedule over both.

Muon (Jordan et al. 2024) replaces a matrix's momentum by its nearest semi-orthogonal matrix, found
with five Newton-Schulz steps; here in bfloat16 and for all matrices of one shape at once.
"""

import math

import torch


def orthogonal(stack):
    """Nearest semi-orthogonal matrices of a stack [n, rows, columns], approximately."""
    tall = stack.shape[1] > stack.shape[2]
    x = stack.transpose(1, 2) if tall else stack
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).bfloat16()
    for _ in range(5):
        gram = torch.bmm(x, x.transpose(1, 2))
        turn = torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        x = torch.baddbmm(x, turn, x, beta=3.4445)
    return (x.transpose(1, 2) if tall else x).float()


class Optimiser:
    """Steps `parameters` (name, tensor): those `is_hidden` accepts by Muon, others by AdamW."""

    def __init__(self, parameters, is_hidden, steps, muon_rate, adam_rate, warm=100, floor=0.02):
        parameters = list(parameters)
        self.all = [p for _, p in parameters]
        shapes = {}
        for name, p in parameters:
            if p.dim() == 2 and is_hidden(name):
                shapes.setdefault(p.shape, []).append(p)
        self.groups = list(shapes.values())
        self.momentum = [torch.zeros(len(g), *g[0].shape) for g in self.groups]
        hidden = {id(p) for g in self.groups for p in g}
        rest = [p for p in self.all if id(p) not in hidden]
        self.adam = torch.optim.AdamW(
            [{"params": [p for p in rest if p.dim() > 1], "weight_decay": 0.05},
             {"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0}],
            lr=adam_rate, betas=(0.9, 0.98))
        self.steps, self.muon_rate, self.adam_rate = steps, muon_rate, adam_rate
        self.warm, self.floor, self.at = min(warm, steps // 10 + 1), floor, 0

    def share(self):
        """The share of the peak rate at this step: linear warm-up, then a cosine to the floor."""
        if self.at < self.warm:
            return (self.at + 1) / self.warm
        along = (self.at - self.warm) / max(1, self.steps - self.warm)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * along))

    @torch.no_grad()
    def step(self):
        """One update from the gradients, which it clips to norm 1 and clears; their norm before."""
        norm = torch.nn.utils.clip_grad_norm_(self.all, 1.0)
        for group in self.adam.param_groups:
            group["lr"] = self.adam_rate * self.share()
        self.adam.step()
        rate = self.muon_rate * self.share()
        for group, momentum in zip(self.groups, self.momentum):
            grads = torch.stack([p.grad if p.grad is not None else torch.zeros_like(p)
                                 for p in group])
            momentum.lerp_(grads, 0.05)
            update = orthogonal(grads.lerp(momentum, 0.95))
            scale = rate * max(1, group[0].shape[0] / group[0].shape[1]) ** 0.5
            for p, u in zip(group, update):
                p.mul_(1 - 0.05 * rate).sub_(u, alpha=scale)
        for p in self.all:
            p.grad = None
        self.at += 1
        return float(norm)

    def state(self):
        return {"at": self.at, "adam": self.adam.state_dict(), "momentum": self.momentum}

    def load(self, state):
        self.at, self.momentum = state["at"], state["momentum"]
        self.adam.load_state_dict(state["adam"])
