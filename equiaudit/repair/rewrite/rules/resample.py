"""Upsampling, and space-to-depth both ways."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import reduce
from math import floor
from operator import add, mul
from typing import Any

import torch
import torch.fx as fx

from equiaudit.graphs.nodes import shape_of, short_name
from equiaudit.repair.rewrite.builder import Builder, Window
from equiaudit.repair.rewrite.grid import Axis, Grid
from equiaudit.repair.rewrite.plan import Refuse, Step
from equiaudit.repair.rewrite.rules.passing import verbatim
from equiaudit.repair.rewrite.rules.registry import Call, rule
from equiaudit.repair.rewrite.rules.views import RETURN
from equiaudit.repair.rewrite.rules.windows import descend, pair, sampled
from equiaudit.sampling.wrapping import wrap_axis

_REACH = {"nearest": 0, "bilinear": 1, "bicubic": 2}
_CUBIC = -0.75
"""The a of the bicubic kernel, as in torch and in ONNX's Resize."""


def raised(grid: Grid, ratios: tuple[int, int]) -> Grid:
    """The grid after upsampling by whole ratios."""
    h, w = grid.present
    return Grid(h.scaled(Fraction(1, ratios[0])), w.scaled(Fraction(1, ratios[1])))


@rule(
    ["upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d", "_upsample_nearest_exact2d"]
)
def interpolate(call: Call) -> Step:
    """Up by a whole ratio: on a circularly padded map, cropped, then rolled back to its grid.

    Down to every r-th pixel, it is a sampling like any other.
    """
    args = call.args
    source: fx.Node = args["input"] if "input" in args else args["self"]
    if args.get("align_corners"):
        raise Refuse("align_corners=True ties the corners of the map to the corners of the output")
    if not call.grid(source).present:
        return _spread(call, source)
    grid = call.map(source)
    if (taken := _every_nth(call, source, grid)) is not None:
        return _sampled(call, source, grid, taken)
    ratios = _ratios(call, grid, shape_of(source)[-2:])
    if ratios == (1, 1):
        return Step(grid, lambda b, node: b.value(source))
    out = raised(grid, ratios)
    reach = next((r for k, r in _REACH.items() if k in short_name(call.node)), 0)
    return Step(out, _interpolated(source, grid, out, ratios, reach), call.plan(RETURN))


def _ratios(call: Call, grid: Grid, extents: tuple[int, ...]) -> tuple[int, int]:
    """Whole ratios of output to map, on the circle or in the original."""
    scales = call.args.get("scale_factors")
    sizes = shape_of(call.node)[-2:]
    found = []
    for i, axis in enumerate(grid.present):
        exact = Fraction(sizes[i]) * axis.stride / axis.length
        guesses = [Fraction(scales[i])] if scales else [exact, Fraction(sizes[i], extents[i])]
        ratio = next((g for g in guesses if g.denominator == 1), None)
        if ratio is None:
            raise Refuse(f"it resizes {extents[i]} to {sizes[i]}, {_why(extents[i], sizes[i])}")
        found.append(int(ratio))
    return (found[0], found[1])


def _why(extent: int, size: int) -> str:
    if extent % size:
        return "which is not a whole ratio"
    return "between pixels, or on a map whose ends padding or cropping has moved"


def _every_nth(call: Call, x: fx.Node, grid: Grid) -> tuple[Window, Window] | None:
    """The pixels of x that a nearest resize to fewer takes, where they are evenly spaced.

    Asked of the operator itself, on a ramp: what a factor of 1/3 becomes in float32 is its own.
    """
    small, large = shape_of(call.node)[-2:], shape_of(x)[-2:]
    finer = any(a > b for a, b in zip(small, large, strict=True)) or small == large
    if "nearest" not in short_name(call.node) or finer:
        return None
    if large != grid.sizes or any(axis.lead for axis in grid.present):
        return None
    scales = call.args.get("scale_factors")
    rows, columns = torch.meshgrid(*(torch.arange(float(n)) for n in large), indexing="ij")
    found = call.node.target(torch.stack([rows, columns])[None], None if scales else small, scales)  # type: ignore[operator]
    windows = (_spaced(found[0, 0, :, 0], large[0]), _spaced(found[0, 1, 0], large[1]))
    return None if None in windows else windows  # type: ignore[return-value]


def _spaced(taken: torch.Tensor, length: int) -> Window | None:
    indices = [int(i) for i in taken]
    step = length // len(indices)
    window = Window(indices[0], len(indices), step)
    return window if step * len(indices) == length and indices == [*_places(window)] else None


def _places(window: Window) -> range:
    return range(window.start, window.start + window.step * window.count, window.step)


def _sampled(call: Call, x: fx.Node, grid: Grid, windows: tuple[Window, Window]) -> Step:
    steps = (windows[0].step, windows[1].step)
    out = sampled(grid, steps)

    def emit(b: Builder, node: fx.Node) -> fx.Node:
        return b.window(b.value(x), shape_of(x)[1], grid, windows, descend(b, x, grid, out))

    return Step(out, emit, call.plan("samples a fixed grid", stride=steps))


def _interpolated(x: fx.Node, grid: Grid, out: Grid, ratios: tuple[int, int], reach: int) -> Any:
    """`reach` is how many neighbours beyond its own cell an output may need.

    The operator finds its weights from the place in float32, so those of one third differ from
    place to place; a half, a quarter and so on are exact. Other ratios are written as sums.
    """

    def in_phases(b: Builder, node: fx.Node) -> fx.Node:
        y, cubic = b.value(x), "bicubic" in short_name(node)
        for axis, ratio in zip(grid.present, ratios, strict=True):
            y = b.call(_upsampled, y, axis, ratio, cubic)
        return b.turn(y, shape_of(x)[1], out, grid)

    if reach and any(ratio & (ratio - 1) for ratio in ratios):
        return in_phases

    def emit(b: Builder, node: fx.Node) -> fx.Node:
        channels = shape_of(x)[1]
        h, w = grid.present
        windows = tuple(Window(-reach - a.lead, a.size + 2 * reach) for a in (h, w))
        padded = b.window(b.value(x), channels, grid, (windows[0], windows[1]))
        sizes = [window.count * ratio for window, ratio in zip(windows, ratios, strict=True)]
        tail = (None,) if reach == 0 else (False, None)
        y = b.aten(node.target, padded, sizes, *tail)
        crop = tuple(Window(reach * r, n) for r, n in zip(ratios, out.sizes, strict=True))
        y = b.crop(y, (crop[0], crop[1]), (sizes[0], sizes[1]))
        return b.turn(y, channels, out, grid)

    return emit


def _upsampled(x: Any, axis: Axis, ratio: int, cubic: bool) -> Any:
    """x, a circle along `axis`, finer by `ratio`: output ratio*i + p is a weighted sum of the
    neighbours of i, with weights that depend on the phase p alone. Its lead comes first, as in
    the original."""
    dim, size = axis.dim, axis.size
    if ratio == 1:
        return wrap_axis(x, dim, size, -axis.lead, size - axis.lead) if axis.lead else x
    phases = []
    for phase in range(ratio):
        place = Fraction(2 * phase + 1, 2 * ratio) - Fraction(1, 2)
        first = floor(place) - cubic
        start = first - axis.lead
        taps = [wrap_axis(x, dim, size, start + k, start + k + size) for k in range(2 + 2 * cubic)]
        weights = [_weight(float(abs(place - first - k)), cubic) for k in range(len(taps))]
        phases.append(reduce(add, map(mul, taps, weights)))
    return torch.stack(phases, dim).flatten(dim - 1, dim)


def _weight(distance: float, cubic: bool) -> float:
    """Of a neighbour this far away: linear, or Keys' cubic kernel with a = -0.75."""
    d, a = distance, _CUBIC
    if not cubic:
        return 1 - d
    if d <= 1:
        return ((a + 2) * d - (a + 3)) * d * d + 1
    return a * (((d - 5) * d + 8) * d - 4)


def _spread(call: Call, x: fx.Node) -> Step:
    """A single element resized to a map: the same value everywhere, on the grid of that size."""
    if shape_of(x)[-2:] != (1, 1):
        return verbatim(call)
    image = call.image
    sizes = shape_of(call.node)[-2:]
    axes = (
        replace(axis, stride=Fraction(axis.length, n))
        for axis, n in zip(image.present, sizes, strict=True)
    )
    out = Grid(*axes)
    channels = shape_of(x)[1]

    def emit(b: Builder, node: fx.Node) -> fx.Node:
        spread = b.aten(torch.ops.aten.expand.default, b.value(x), [-1, channels, *out.sizes])
        return b.aten(torch.ops.aten.clone.default, spread)

    return Step(out, emit)


@rule(["conv_transpose2d"])
def conv_transpose(call: Call) -> Step:
    """out[s*i - p + d*j] += w[j] x[i] on a circle: pad x circularly, run without padding, crop."""
    args, x = call.args, call.args["input"]
    grid = call.map(x)
    strides, pads, gaps = (pair(args[k]) for k in ("stride", "padding", "dilation"))
    kernel = shape_of(args["weight"])[2:]
    out = raised(grid, strides)
    spans = tuple(d * (k - 1) for d, k in zip(gaps, kernel, strict=True))
    before = tuple(max(0, -((p - e) // s)) for p, e, s in zip(pads, spans, strides, strict=True))
    after = tuple(-(-p // s) for p, s in zip(pads, strides, strict=True))
    channels = shape_of(call.node)[1]

    def emit(b: Builder, node: fx.Node) -> fx.Node:
        windows = tuple(
            Window(-lo - axis.lead, axis.size + lo + hi)
            for axis, lo, hi in zip(grid.present, before, after, strict=True)
        )
        padded = b.window(b.value(x), shape_of(x)[1], grid, (windows[0], windows[1]))
        weight, bias = b.mapped(args["weight"]), b.mapped(args["bias"])
        tail = ([0, 0], [0, 0], args["groups"], [*gaps])
        y = b.aten(node.target, padded, weight, bias, [*strides], *tail)
        crop = tuple(
            Window(lo * s + p, n)
            for lo, s, p, n in zip(before, strides, pads, out.sizes, strict=True)
        )
        return b.turn(b.crop(y, (crop[0], crop[1])), channels, out, grid)

    plan = call.plan(RETURN, stride=strides, padding=(pads[0], pads[0], pads[1], pads[1]))
    return Step(out, emit, plan)


@rule(["pixel_shuffle"])
def pixel_shuffle(call: Call) -> Step:
    """Depth to space: rolled back to the finer grid."""
    x, ratio = call.args["self"], call.args["upscale_factor"]
    grid = call.map(x)
    out = raised(grid, (ratio, ratio))

    def emit(b: Builder, node: fx.Node) -> fx.Node:
        y = b.aten(node.target, b.settle(x, grid), ratio)
        return b.turn(y, shape_of(node)[1], out, grid)

    return Step(out, emit, call.plan(RETURN))


@rule(["pixel_unshuffle"])
def pixel_unshuffle(call: Call) -> Step:
    """Space to depth: a strided operation."""
    x, ratio = call.args["self"], call.args["downscale_factor"]
    grid = call.map(x)
    out = sampled(grid, (ratio, ratio))

    def emit(b: Builder, node: fx.Node) -> fx.Node:
        windows = tuple(Window(-axis.lead, axis.size) for axis in grid.present)
        rolls = descend(b, x, grid, out)
        aligned = b.window(b.value(x), shape_of(x)[1], grid, (windows[0], windows[1]), rolls)
        return b.aten(node.target, aligned, ratio)

    return Step(out, emit, call.plan("samples a fixed grid", stride=(ratio, ratio)))
