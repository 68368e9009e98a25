"""Writes the PyTorch archives of this folder: python3 make.py (PyTorch 1.6 or newer)."""

import collections

import torch

base = torch.arange(24, dtype=torch.float32).reshape(4, 6)

# Windows into one storage, every way of laying out elements, and every element type with a storage class.
torch.save(
    {
        "whole": base,
        "row": base[2],
        "column": base[:, 1],
        "transposed": base.t(),
        "every_other": base[::2, 1::2],
        "one_column": base[:, 3:4],
        "permuted": torch.arange(24, dtype=torch.bfloat16).reshape(2, 3, 4).permute(2, 0, 1),
        "halves": (torch.arange(6, dtype=torch.float16).reshape(2, 3) / 4).t(),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
    },
    "windows.bin",
)
torch.save(
    {
        str(dtype).removeprefix("torch."): torch.ones(3, dtype=dtype)
        for dtype in (
            torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.int32,
            torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.complex128,
        )
    },
    "types.bin",
)

# As Module.state_dict(): an OrderedDict with attributes; tied weights are one storage.
model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2), torch.nn.Linear(2, 2))
with torch.no_grad():
    for i, parameter in enumerate(model.parameters()):
        parameter.copy_(torch.arange(parameter.numel()).reshape(parameter.shape) + 10 * i)
model[2].weight = model[0].weight
torch.save(model.state_dict(), "state_dict.bin")

# A training checkpoint: parameters, plain values beside and below.
torch.save(
    {
        "epoch": 3,
        "loss": 0.5,
        "done": True,
        "note": None,
        "steps": -(2**40),
        "history": [{"lr": 1e-4}, (1, 2, 3, 4), [torch.tensor([7.0])]],
        "state_dict": collections.OrderedDict(weight=torch.nn.Parameter(torch.tensor([[1.0, 2.0]]))),
        "optimizer": {"state": {0: {"exp_avg": torch.tensor([3.0])}}},
    },
    "training.pt",
)
torch.save({"a": base[:2, :2]}, "protocol4.pt", pickle_protocol=4)

# Refused.
torch.save({"a": base}, "legacy.bin", _use_new_zipfile_serialization=False)
torch.save({"a": base, "device": torch.device("cpu")}, "device.bin")
torch.save({"a": base.to_sparse()}, "sparse.bin")
torch.save({"a": torch.ones(1).expand(1000)}, "expanded.bin")
torch.save(model, "module.pt")
torch.jit.script(torch.nn.Linear(2, 2)).save("script.pt")
