"""Small nets drawn from a seed, over the operations that the rewriter knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Size = tuple[int, int]
Layer = Callable[[Tensor], Tensor]
_MODES = ("zeros", "circular", "reflect", "replicate")


class Step(nn.Module):
    """A function of tensors with its parameters, named after what it does."""

    def __init__(self, name: str, function: Layer, *parts: nn.Module) -> None:
        super().__init__()
        self.name, self.function, self.parts = name, function, nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@dataclass
class Draw:
    """The random choices of one net; `size` is that of the map so far."""

    rng: np.random.Generator
    channels: int
    size: Size
    said: list[str] = field(default_factory=list)

    def one(self, *choices: object) -> object:
        return choices[self.rng.integers(len(choices))]

    def whole(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)


def _strides(draw: Draw) -> Size:
    rows = int(draw.rng.choice([1, 2, 2, 2, 3, 4]))
    return (rows, rows) if draw.chance(0.85) else (rows, int(draw.rng.choice([1, 2, 4])))


def conv(draw: Draw) -> Step:
    kernel, dilation = (draw.whole(1, 5), draw.whole(1, 5)), draw.whole(1, 2)
    if draw.chance(0.7):
        kernel = (3, 3)
    stride = _strides(draw) if draw.chance(0.5) else (1, 1)
    groups = int(draw.one(1, 1, 2 - draw.channels % 2, draw.channels))
    out = draw.channels if groups > 1 else 2 * draw.whole(2, 4)
    padding = tuple(dilation * (k - 1) // 2 for k in kernel)
    if draw.chance(0.2):
        padding = (draw.whole(0, 2), draw.whole(0, 2))
    mode = str(draw.one("zeros", "zeros", *_MODES))
    if mode == "circular" and any(p > n for p, n in zip(padding, draw.size, strict=True)):
        mode = "zeros"
    layer = nn.Conv2d(
        draw.channels, out, kernel, stride, padding, dilation, groups,
        bias=draw.chance(0.5), padding_mode=mode,
    )  # fmt: skip
    draw.channels = out
    return Step(f"{layer}", layer, layer)


def norm(draw: Draw) -> Step:
    kind = draw.one("batch", "batch", "group", "instance", "layer")
    if kind == "group" and draw.channels % 2:
        kind = "batch"
    if kind == "layer":
        layer: nn.Module = nn.LayerNorm(draw.channels)
        return Step("layer norm", lambda x: layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), layer)
    if kind == "group":
        layer = nn.GroupNorm(2, draw.channels)
    elif kind == "instance":
        layer = nn.InstanceNorm2d(draw.channels, affine=True)
    else:
        layer = nn.BatchNorm2d(draw.channels)
        layer.running_mean.copy_(torch.randn(draw.channels) * 0.2)
        layer.running_var.copy_(torch.rand(draw.channels) + 0.5)
    return Step(f"{layer}", layer, layer)


def activation(draw: Draw) -> Step:
    kinds = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.Sigmoid, nn.LeakyReLU, nn.PReLU)
    layer = draw.one(*kinds)()  # type: ignore[operator]
    return Step(f"{layer}", layer, layer)


def pool(draw: Draw) -> Step:
    kernel = draw.whole(2, 3)
    stride = draw.whole(1, 3)
    padding = draw.whole(0, kernel // 2)
    ceil = draw.chance(0.3)
    if draw.chance(0.5):
        dilation = draw.whole(1, 2) if draw.chance(0.3) else 1
        layer: nn.Module = nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil)
    else:
        layer = nn.AvgPool2d(kernel, stride, padding, ceil, draw.chance(0.5))
    return Step(f"{layer}", layer, layer)


def up(draw: Draw) -> Step:
    factor = draw.whole(2, 3)
    kind = draw.one("nearest", "bilinear", "bicubic", "transposed", "shuffle")
    if kind == "nearest" and factor == 3:
        return Step("repeat x3", lambda x: _copies(x, 3))
    if kind == "shuffle" and draw.channels % 4 == 0:
        draw.channels //= 4
        return Step("pixel shuffle", lambda x: F.pixel_shuffle(x, 2))
    if kind == "transposed":
        kernel = factor + draw.whole(0, 2)
        padding = draw.whole(0, (kernel - 1) // 2)
        more = max(0, factor - kernel + 2 * padding)
        out = 2 * draw.whole(2, 3)
        layer = nn.ConvTranspose2d(
            draw.channels, out, kernel, factor, padding, min(more, factor - 1)
        )
        draw.channels = out
        return Step(f"{layer}", layer, layer)
    mode = str(kind) if kind in ("bilinear", "bicubic") else "nearest"
    return Step(f"{mode} x{factor}", lambda x: F.interpolate(x, scale_factor=factor, mode=mode))


def _copies(x: Tensor, factor: int) -> Tensor:
    """Rows by a repeat and a view, columns by the operator for it."""
    n, c, h, w = x.shape
    rows = x.unsqueeze(3).repeat(1, 1, 1, factor, 1).reshape(n, c, h * factor, w)
    return rows.repeat_interleave(factor, 3)


def down(draw: Draw) -> Step:
    kind = draw.one("slice", "unshuffle", "nearest")
    if kind == "slice":
        step, first = draw.whole(2, 3), draw.whole(0, 1)
        return Step(f"x[{first}::{step}]", lambda x: x[:, :, first::step, first::step])
    if kind == "unshuffle" and draw.channels <= 8 and not any(n % 2 for n in draw.size):
        draw.channels *= 4
        return Step("pixel unshuffle", lambda x: F.pixel_unshuffle(x, 2))
    return Step("nearest /2", lambda x: F.interpolate(x, scale_factor=0.5))


def pad(draw: Draw) -> Step:
    sides = [draw.whole(0, 2) for _ in range(4)]
    mode = str(draw.one("constant", "circular", "reflect", "replicate"))
    return Step(f"pad {sides} {mode}", lambda x: F.pad(x, sides, mode=mode))


def residual(draw: Draw) -> Step:
    """Two ways of one stride, added or joined: 3x3 and 1x1."""
    stride, channels = _strides(draw) if draw.chance(0.5) else (1, 1), draw.channels
    wide = nn.Conv2d(channels, channels, 3, stride, 1, groups=int(draw.one(1, channels)))
    narrow = nn.Conv2d(channels, channels, 1, stride)
    if draw.chance(0.3):
        draw.channels *= 2
        return Step(f"joined {stride}", lambda x: torch.cat([wide(x), narrow(x)], 1), wide, narrow)
    return Step(f"residual {stride}", lambda x: torch.relu(wide(x)) + narrow(x), wide, narrow)


def squeeze(draw: Draw) -> Step:
    """Squeeze and excitation, over the mean or the maximum of the map."""
    gate = nn.Conv2d(draw.channels, draw.channels, 1)
    if draw.chance(0.3):
        return Step("gate of maxima", lambda x: x * gate(x.amax((2, 3), True)).sigmoid(), gate)
    return Step("gate of means", lambda x: x * gate(x.mean((2, 3), True)).sigmoid(), gate)


_LAYERS = (conv, conv, conv, norm, activation, activation, pool, residual, squeeze, pad, down, up)


class GeneratedNet(nn.Module):
    """Layers one after the other, an inner skip perhaps, and a head."""

    def __init__(self, layers: list[Step], head: Step) -> None:
        super().__init__()
        self.layers, self.head = nn.ModuleList(layers), head

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.head(x)

    def __str__(self) -> str:
        return "; ".join(step.name for step in (*self.layers, self.head))


def _head(draw: Draw) -> Step:
    kind = draw.one("mean", "pool", "max", "map", "map")
    if kind == "map":
        layer: nn.Module = nn.Conv2d(draw.channels, 2, 1)
        return Step("1x1", layer, layer)
    layer = nn.Linear(draw.channels, 3)
    if kind == "pool":
        pooled = nn.AdaptiveAvgPool2d(1)
        return Step("pooled", lambda x: layer(torch.flatten(pooled(x), 1)), pooled, layer)
    if kind == "max":
        return Step("maxima", lambda x: layer(x.amax((2, 3))), layer)
    return Step("means", lambda x: layer(x.mean((2, 3))), layer)


@torch.no_grad()
def generated(seed: int, most: int = 7) -> tuple[GeneratedNet, Size]:
    """The net of a seed in eval mode, and the size of its input: at most 7 layers, H != W.

    A layer that the map is too small for is left out. Weights are random, and as large as they
    must be for the output to depend on the image.
    """
    rng = np.random.default_rng(seed)
    size = (24 * int(rng.integers(1, 3)), 24 * int(rng.integers(1, 4)))
    if size[0] == size[1]:
        size = (size[0], size[1] + 24)
    if rng.random() < 0.1:
        size = (size[0] + int(rng.integers(1, 8)), size[1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        draw = Draw(rng, 3, size)
        x, layers = torch.randn(2, 3, *size), []
        for _ in range(draw.whole(2, most)):
            before = draw.channels
            layer = draw.one(*_LAYERS)(draw)  # type: ignore[operator]
            try:
                y = layer.eval()(x)
            except (RuntimeError, ValueError):
                draw.channels = before
                continue
            if min(y.shape[2:]) < 2 or y.numel() > 200_000:
                draw.channels = before
                continue
            x, draw.size = y / (y.std() + 1e-6), (y.shape[2], y.shape[3])
            layers.append(layer)
        return GeneratedNet(layers, _head(draw)).eval(), size
