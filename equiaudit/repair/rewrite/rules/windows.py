"""What convolutions and pools share: a window sliding over a circle, left-aligned as before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch.fx as fx

from equiaudit.graphs.nodes import shape_of
from equiaudit.repair.rewrite.builder import Builder, Window
from equiaudit.repair.rewrite.grid import Axis, Grid
from equiaudit.repair.rewrite.plan import Refuse
from equiaudit.repair.rewrite.rules.registry import Call


@dataclass(frozen=True)
class Slide:
    """A sliding window along one axis, as the original operation has it."""

    kernel: int
    stride: int
    before: int
    after: int
    dilation: int

    @property
    def span(self) -> int:
        """Elements from the first to the last tap, both included."""
        return self.dilation * (self.kernel - 1) + 1

    def uneven(self, extent: int) -> bool:
        """Whether an axis of `extent` is padded more on one side or not tiled by the windows."""
        left_over = (extent + self.before + self.after - self.span) % self.stride
        return left_over != 0 or self.before != self.after

    def window(self, axis: Axis, at_least: int = 0) -> Window:
        """What the operation reads off the circle to give size/stride outputs, or more."""
        count = max(axis.size // self.stride, at_least)
        return Window(-self.before - axis.lead, (count - 1) * self.stride + self.span)


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """An argument that may be given once for both axes."""
    if isinstance(value, int):
        return (value, value)
    return (value[0], value[0]) if len(value) == 1 else (value[0], value[1])


def slides(kernel: Any, stride: Any, padding: Any, dilation: Any) -> tuple[Slide, Slide]:
    """Both axes of a 2-D window; `padding` may be "same" or "valid"."""
    sizes, steps, gaps = pair(kernel), pair(stride), pair(dilation)
    pads = [_pads(padding, axis, sizes[axis], gaps[axis]) for axis in (0, 1)]
    return tuple(  # type: ignore[return-value]
        Slide(sizes[axis], steps[axis], *pads[axis], gaps[axis]) for axis in (0, 1)
    )


def _pads(padding: Any, axis: int, kernel: int, dilation: int) -> tuple[int, int]:
    if padding == "valid":
        return (0, 0)
    if padding == "same":
        total = dilation * (kernel - 1)
        return (total // 2, total - total // 2)
    return (pair(padding)[axis], pair(padding)[axis])


def sampled(grid: Grid, strides: tuple[int, int]) -> Grid:
    """The grid after sampling a map; refuses fractional grids that would need half origins."""
    for axis, stride in zip(grid.present, strides, strict=True):
        if stride > 1 and axis.stride < 1 < axis.stride * stride:
            raise Refuse("the map is finer than the input and is sampled to a coarser one")
    h, w = grid.present
    return Grid(h.scaled(strides[0]), w.scaled(strides[1]))


def window_facts(call: Call, x: fx.Node, both: tuple[Slide, Slide]) -> dict[str, Any]:
    """The window's part of an `OpPlan`, in the original's own numbers."""
    extents = shape_of(x)[-2:]
    h, w = both
    return {
        "stride": (h.stride, w.stride),
        "padding": (h.before, h.after, w.before, w.after),
        "dilation": (h.dilation, w.dilation),
        "uneven": any(s.uneven(n) for s, n in zip(both, extents, strict=True)),
    }


@dataclass(frozen=True)
class Reading:
    """What an operation reads of a map, and the stride that it then needs."""

    grid: Grid
    windows: tuple[Window, Window]
    rolls: tuple[fx.Node | None, fx.Node | None]
    strides: tuple[int, int]

    def of(self, b: Builder, x: fx.Node, channels: int) -> fx.Node:
        """The windows of x (B, `channels`, H, W), aligned and padded circularly, in one gather."""
        return b.window(x, channels, self.grid, self.windows, self.rolls)


def reading(
    b: Builder,
    x: fx.Node,
    grid: Grid,
    out: Grid,
    both: tuple[Slide, Slide],
    at_least: int = 0,
) -> Reading:
    """Where a sliding operation finds its windows, on the origin of the level below.

    A 1x1 window with a stride reads its own pixels only, and then runs with stride 1.
    `at_least` asks for more outputs per axis than the circle has; the caller crops.
    """
    h, w = grid.present
    windows = (both[0].window(h, at_least), both[1].window(w, at_least))
    strides = (both[0].stride, both[1].stride)
    rolls = descend(b, x, grid, out)
    if max(strides) > 1 and both[0].span == both[1].span == 1:
        counts = [max(n, at_least) for n in out.sizes]
        windows = (
            Window(windows[0].start, counts[0], strides[0]),
            Window(windows[1].start, counts[1], strides[1]),
        )
        strides = (1, 1)
    return Reading(grid, windows, rolls, strides)


def read(
    b: Builder, x: fx.Node, grid: Grid, out: Grid, both: tuple[Slide, Slide]
) -> tuple[fx.Node, tuple[int, int]]:
    """What the operation must run on, without padding, and the stride it then needs."""
    found = reading(b, x, grid, out, both)
    return found.of(b, b.value(x), shape_of(x)[1]), found.strides


def descend(b: Builder, x: fx.Node, grid: Grid, out: Grid) -> tuple[fx.Node | None, fx.Node | None]:
    """Choose the origin of the level below where it is not chosen; the rolls that align x."""
    if out.strides == grid.strides:
        return (None, None)
    source = statistic_source(x)
    b.levels.descend(b, b.value(source), shape_of(x)[1], grid, out)
    rolls = [
        b.levels.distance(b, axis, *strides)
        for axis, strides in enumerate(zip(grid.strides, out.strides, strict=True))
    ]
    return (rolls[0], rolls[1])


def statistic_source(x: fx.Node) -> fx.Node:
    """The tensor whose energies choose the origin: x, or what a channel norm was made from.

    After a LayerNorm over the channels every pixel has the same energy; before it they differ.
    """
    node = x
    while node.op == "call_function" and "permute" in str(node.target):
        node = node.args[0]  # type: ignore[assignment]
    if node.op == "call_function" and "aten.layer_norm" in str(node.target):
        inner: Any = node.args[0]
        while inner.op == "call_function" and "permute" in str(inner.target):
            inner = inner.args[0]
        if shape_of(inner) == shape_of(x) and not any(_in_place(user) for user in inner.users):
            return inner  # type: ignore[no-any-return]
    return x


def _in_place(node: fx.Node) -> bool:
    return str(node.target).split(".")[1:2] != [] and str(node.target).split(".")[1].endswith("_")
