"""Convolutions of any stride, dilation and grouping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.fx as fx

from equiaudit.graphs.nodes import shape_of
from equiaudit.repair.rewrite.builder import Builder
from equiaudit.repair.rewrite.grid import Grid
from equiaudit.repair.rewrite.plan import Refuse, Step
from equiaudit.repair.rewrite.rules.passing import verbatim
from equiaudit.repair.rewrite.rules.registry import Call, rule
from equiaudit.repair.rewrite.rules.windows import (
    Reading,
    Slide,
    reading,
    sampled,
    slides,
    window_facts,
)

# A convolution may run as a matrix product with a column per position. With 5 to 11 columns the
# last ones come from other code with other roundings; 16 are treated alike.
_TINY_SIDE = 4
_NARROW = 4
_VECTOR = 64
# With channels last in memory, convolutions to 10 channels or fewer round by position too (seen on
# an AMD EPYC with AVX-512); with channels first they do not.
_FEW = 16

# A copy of more than 32 MB comes from fresh pages, which cost more than the copy itself. So a
# depthwise convolution aligns a large map in blocks of at most 2 MiB a sample.
_BLOCK = 2**19
_LANES = 16


@rule(["conv2d"])
def conv2d(call: Call) -> Step:
    """Circular padding in place of zeros; with a stride, on an aligned input.

    Index (s*i - pad + d*j) mod n, as before: left p, right d*(k-1) - p.
    """
    args, x = call.args, call.args["input"]
    grid = call.grid(x)
    if not grid.present:
        return verbatim(call)
    kernel = shape_of(args["weight"])[2:]
    both = slides(kernel, args["stride"], args["padding"], args["dilation"])
    if not grid.is_map:
        return _along_one_axis(call, grid, both)
    call.map(x)
    out = sampled(grid, (both[0].stride, both[1].stride))
    return Step(out, _emit(args, grid, out, both), _plan(call, x, both))


def _plan(call: Call, x: fx.Node, both: tuple[Slide, Slide]) -> Any:
    facts = window_facts(call, x, both)
    if max(facts["stride"]) > 1:
        return call.plan("samples a fixed grid", **facts)
    return call.plan("pads with zeros at the border", **facts) if any(facts["padding"]) else None


def _along_one_axis(call: Call, grid: Grid, both: tuple[Slide, Slide]) -> Step:
    """A pointwise convolution of a map that varies along one axis, or lies in one line."""
    if -3 in grid.dims:
        raise Refuse("a convolution with a weight per position of the image")
    if any(s.span > 1 or s.stride > 1 or s.before for s in both):
        raise Refuse("a window over a map that has one image axis only")
    return verbatim(call, grid)


def _emit(args: dict[str, Any], grid: Grid, out: Grid, both: tuple[Slide, Slide]) -> Any:
    channels, outputs = shape_of(args["input"])[1], shape_of(args["weight"])[0]

    def emit(b: Builder, node: fx.Node) -> fx.Node:
        at_least = _TINY_SIDE if _is_tiny(out) else 0
        few = outputs < _FEW
        conv = _Conv(b, reading(b, args["input"], grid, out, both, at_least), both, few)
        x = b.value(args["input"])
        weight, bias = b.mapped(args["weight"]), b.mapped(args["bias"])
        block = conv.block() if args["groups"] == channels else channels
        if args["groups"] == 1 and _is_narrow_product(outputs, out, both):
            y = _repeated(conv, x, weight, bias, channels, outputs)
        elif block < channels:
            y = _in_blocks(conv, x, weight, bias, channels, block, outputs // channels)
        else:
            y = conv(x, weight, bias, channels, args["groups"])
        return _cropped(b, y, out.sizes) if at_least else y

    return emit


def _channels_first(windows: Any, weight: Any) -> tuple[Any, Any]:
    """Both in that order in memory, without a copy where they are."""
    return windows.contiguous(), weight.contiguous()


@dataclass(frozen=True)
class _Conv:
    """A convolution of what `reading` finds, without padding."""

    b: Builder
    reading: Reading
    both: tuple[Slide, Slide]
    few: bool
    """Whether it has so few outputs that their order in memory matters."""

    def __call__(
        self, x: fx.Node, weight: fx.Node, bias: fx.Node | None, channels: int, groups: int
    ) -> fx.Node:
        windows = self.reading.of(self.b, x, channels)
        if self.few:
            windows, weight = self.b.call(_channels_first, windows, weight)
        strides, gaps = [*self.reading.strides], [s.dilation for s in self.both]
        target = torch.ops.aten.conv2d.default
        return self.b.aten(target, windows, weight, bias, strides, [0, 0], gaps, groups)

    def block(self) -> int:
        """Channels whose aligned windows are worth making at once."""
        rows, columns = self.reading.windows
        aligned = self.reading.rolls != (None, None)
        fitting = _BLOCK // (rows.count * columns.count) // _LANES * _LANES
        return max(_LANES, fitting) if aligned else 2**30


def _in_blocks(
    conv: _Conv,
    x: fx.Node,
    weight: fx.Node,
    bias: fx.Node | None,
    channels: int,
    block: int,
    several: int,
) -> fx.Node:
    """A depthwise convolution, `block` channels at a time, each with `several` outputs."""
    narrow, parts = torch.narrow, []
    for first in range(0, channels, block):
        count = min(block, channels - first)
        own = (0, first * several, count * several)
        kernel = conv.b.call(narrow, weight, *own)
        shift = None if bias is None else conv.b.call(narrow, bias, *own)
        piece = conv.b.call(narrow, x, 1, first, count)
        parts.append(conv(piece, kernel, shift, count, count))
    joined: fx.Node = conv.b.call(torch.cat, parts, 1)
    return joined


def _is_narrow_product(outputs: int, out: Grid, both: tuple[Slide, Slide]) -> bool:
    """Whether it is to fewer channels than four, with elements left over after the last vector.

    CPUs treat those differently, by a bit: 1x1 to one channel, and others to two or three where
    the elements are no multiple of four. To four channels all are treated alike.
    """
    if outputs >= _NARROW:
        return False
    left = _VECTOR if both[0].kernel == both[1].kernel == 1 else _NARROW
    return out.sizes[0] * out.sizes[1] % left != 0


def _repeated(
    conv: _Conv,
    x: fx.Node,
    weight: fx.Node,
    bias: fx.Node | None,
    channels: int,
    outputs: int,
) -> fx.Node:
    """The channels computed often enough to be four, and taken once."""
    b, times = conv.b, -(-_NARROW // outputs)
    several = b.call(torch.cat, [weight] * times, 0)
    shift = None if bias is None else b.call(torch.cat, [bias] * times, 0)
    return b.dense(b.call(torch.narrow, conv(x, several, shift, channels, 1), 1, 0, outputs))


def _is_tiny(out: Grid) -> bool:
    """Whether a map has so few elements that the CPU's matrix product treats some differently."""
    elements = out.sizes[0] * out.sizes[1]
    return elements < _TINY_SIDE**2 and elements % 4 != 0


def _cropped(b: Builder, y: fx.Node, sizes: tuple[int, int]) -> fx.Node:
    for dim, size in zip((2, 3), sizes, strict=True):
        if size < _TINY_SIDE:
            y = b.call(torch.narrow, y, dim, 0, size)
    return b.dense(y)
