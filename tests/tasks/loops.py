"""Images, nets of whole numbers, and shifts made one by one: what the tasks are held against.

The nets sum integers below 2^24, so that no order of summing shows in any digit.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import equiaudit
from equiaudit.api.merging import merge, scan_shard
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.setup import plan_of

SIDE, WINDOW = 26, 16
EDGE = (SIDE - WINDOW) // 2
KINDS = ("circular", "crop", "zero-pad")
OF_MODEL = {"size": (WINDOW, WINDOW), "mean": (0.0,) * 3, "std": (1.0,) * 3, "stride": (2, 2)}
HOW = OF_MODEL | {"max_shift": 4, "offsets": 3}


class Whole(nn.Module):
    """A net of whole numbers over every `step`-th pixel."""

    def __init__(self, step=2, broken=None):
        super().__init__()
        self.step, self.calls, self.broken = step, 0, broken
        self.register_buffer("weight", torch.tensor([[3.0, -1, 2], [-2, 5, 1], [1, 1, -4]]))

    def forward(self, x):
        self.calls += 1
        if self.calls == self.broken:
            raise RuntimeError("a fault of the machine")
        return self.answer((x * 255).round())

    def mixed(self, x):
        """(N, 3, ...) sums of the colours."""
        return torch.einsum("kc,nchw->nkhw", self.weight, x[:, :, :: self.step, :: self.step])


def write_images(folder, count=9, seed=0):
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        pixels = rng.integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def window(file, kind="circular", dy=0, dx=0):
    """(1, 3, H, W) in [0, 1] of one image moved by (dy, dx)."""
    whole = np.asarray(Image.open(file))
    inner = whole[EDGE:-EDGE, EDGE:-EDGE]
    if kind == "circular":
        found = np.roll(inner, (dy, dx), (0, 1))
    else:
        if kind == "zero-pad":
            black = np.zeros_like(whole)
            black[EDGE:-EDGE, EDGE:-EDGE] = inner
            whole = black
        found = whole[EDGE - dy : SIDE - EDGE - dy, EDGE - dx : SIDE - EDGE - dx]
    return torch.from_numpy(found.copy()).permute(2, 0, 1)[None].float() / 255


def outputs(net, file, kind, offsets):
    """The unshifted output (...) and the shifted ones (K, ...), as float64."""
    with torch.no_grad():
        clean = net(window(file))[0].double().numpy()
        shifted = [net(window(file, kind, *offset))[0].double().numpy() for offset in offsets]
    return clean, np.stack(shifted)


def offsets_of(net, task, kind, index):
    plan = _plan(type(net), task)
    series = next(series for series in plan.series if series.name == kind)
    return [tuple(offset) for offset in plan.offsets(series, index).tolist()]


@cache
def _plan(make, task):
    options = ScanOptions(shifts=KINDS, max_shift=4, offsets=3)
    return plan_of(equiaudit.load_model(make(), task=task, **OF_MODEL), options)


def scan(net, data, task, **settings):
    return equiaudit.scan(net.eval(), data, task=task, **(HOW | settings))


def check_shards(make, data, task, folder, **settings):
    """Two shards, merged, come to what one scan does; and so does one that was interrupted."""
    net = make()
    whole = scan(net, data, task, output=folder / "whole", **settings)
    for part in ("1/2", "2/2"):
        scan_shard(make(), data, part, output=folder / "parts", task=task, **HOW, **settings)
    merged = merge([folder / "parts"], output=folder / "merged")
    settings |= {"output": folder / "resumed"}
    with pytest.raises(equiaudit.RunError):
        scan(make(broken=net.calls - 1), data, task, **settings)
    resumed = scan(make(), data, task, **settings)
    assert resumed.timings.resumed
    for other in (merged, resumed):
        assert (other.shifts, other.boundary, other.notes) == (
            whole.shifts,
            whole.boundary,
            whole.notes,
        )
        assert other.fingerprint == whole.fingerprint
    rows = [(folder / name / "samples.csv").read_text() for name in ("whole", "merged", "resumed")]
    assert len(set(rows)) == 1
    return whole
