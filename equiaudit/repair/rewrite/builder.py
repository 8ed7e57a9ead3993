"""Writing the new graph: values, constants, and the origins chosen at run time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
import torch.fx as fx
from torch import Tensor
from torch.fx.node import map_aggregate
from torch.fx.proxy import GraphAppendingTracer

from equiaudit.repair.rewrite.grid import Axis, Grid
from equiaudit.repair.rewrite.levels import Levels
from equiaudit.repair.rewrite.twins import TWINS
from equiaudit.sampling.wrapping import circular_pad, gather_window, wrap_axis


@dataclass(frozen=True)
class Window:
    """What an operation reads along one axis: circle indices start, start + step, ... (`count`)."""

    start: int
    count: int
    step: int = 1

    @property
    def stop(self) -> int:
        """One past the last index of a window of step 1."""
        return self.start + self.count

    def indices(self) -> Tensor:
        """The indices, int64 (count,), not yet taken modulo the circle."""
        return torch.arange(self.start, self.start + self.step * self.count, self.step)


class Builder:
    """Copies nodes of the old graph into a new one, and writes plain torch code between them.

    A helper runs on proxies: each torch function that it calls becomes a node.
    """

    def __init__(
        self,
        root: torch.nn.Module,
        *,
        channels_last: bool,
        levels: Levels,
        narrow: bool = False,
    ) -> None:
        self.root = root
        self.narrow = narrow
        self.graph = fx.Graph()
        self.tracer = GraphAppendingTracer(self.graph)
        self.env: dict[fx.Node, Any] = {}
        self.channels_last = channels_last
        self.levels = levels
        self._constants: dict[tuple[int, ...], str] = {}

    def value(self, node: fx.Node) -> fx.Node:
        """The new node that stands for an old one."""
        found: fx.Node = self.env[node]
        return found

    def mapped(self, argument: Any) -> Any:
        """An argument with the old nodes in it replaced."""
        return fx.node.map_arg(argument, lambda node: self.env[node])

    def copy(self, node: fx.Node) -> fx.Node:
        """The old node as it is."""
        return self.graph.node_copy(node, lambda old: self.env[old])

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a helper on new nodes; what it computes is appended to the graph.

        Where the graph is to be `narrow`, its twin in 32 bits if there is one.
        """
        function = TWINS.get(function, function) if self.narrow else function

        def proxy(value: Any) -> Any:
            return fx.Proxy(value, self.tracer) if isinstance(value, fx.Node) else value

        result = function(*map_aggregate(args, proxy), **map_aggregate(kwargs, proxy))
        return map_aggregate(result, lambda r: r.node if isinstance(r, fx.Proxy) else r)

    def aten(self, target: Any, *args: Any) -> fx.Node:
        """A call of one operator."""
        return self.graph.call_function(target, args)

    def constant(self, values: Tensor) -> fx.Node:
        """A buffer of whole numbers, shared between equal ones."""
        key = (*values.shape, *values.flatten().tolist())
        if key not in self._constants:
            name = f"_index_{len(self._constants)}"
            self.root.register_buffer(name, values, persistent=True)
            self._constants[key] = name
        return self.graph.get_attr(self._constants[key])

    def window(
        self,
        x: fx.Node,
        channels: int,
        grid: Grid,
        windows: tuple[Window, Window],
        rolls: tuple[fx.Node | None, fx.Node | None] = (None, None),
    ) -> fx.Node:
        """Read `windows` of x on `grid`, rolled per sample by `rolls` (each (B,) or None)."""
        if rolls == (None, None):
            return self._static_window(x, grid, windows)
        anchor = next(roll for roll in rolls if roll is not None)
        index = [
            self.call(_circle_index, self.constant(window.indices()), roll, size, anchor)
            for window, roll, size in zip(windows, rolls, grid.sizes, strict=True)
        ]
        out = (windows[0].count, windows[1].count)
        shape = (channels, *grid.sizes)
        result: fx.Node = self.call(
            gather_window, x, *index, shape, out, channels_last=self.channels_last
        )
        return result

    def _static_window(self, x: fx.Node, grid: Grid, windows: tuple[Window, Window]) -> fx.Node:
        rows, cols = windows
        height, width = grid.sizes
        pads = (-cols.start, cols.stop - width, -rows.start, rows.stop - height)
        if rows.step == cols.step == 1:
            padded: fx.Node = self.call(
                circular_pad, x, pads, grid.sizes, channels_last=self.channels_last
            )
            return padded
        return self._strided(self._strided(x, 2, height, rows), 3, width, cols)

    def _strided(self, x: fx.Node, dim: int, size: int, window: Window) -> fx.Node:
        stop = window.start + window.step * (window.count - 1) + 1
        if (window.start, stop) != (0, size):
            x = self.call(wrap_axis, x, dim, size, window.start, stop)
        return self.aten(torch.ops.aten.slice.Tensor, x, dim, 0, 2**62, window.step)

    def crop(
        self, x: fx.Node, windows: tuple[Window, Window], sizes: tuple[int, int] | None = None
    ) -> fx.Node:
        """`windows` of x (B, C, H, W), which lie inside; none is cut that is all of `sizes`."""
        whole = (None, None) if sizes is None else sizes
        for dim, window, size in zip((2, 3), windows, whole, strict=True):
            if (window.start, window.count) != (0, size):
                x = self.call(torch.narrow, x, dim, window.start, window.count)
        return x

    def settle(self, node: fx.Node, grid: Grid) -> fx.Node:
        """The value with its lead rolled away, so that array and circle index agree."""
        x = self.value(node)
        for axis in grid.present:
            if axis.lead:
                x = self.call(wrap_axis, x, axis.dim, axis.size, axis.lead, axis.lead + axis.size)
        return x

    def roll_image(
        self, x: fx.Node, channels: int, size: tuple[int, int], to_front: Sequence[fx.Node]
    ) -> fx.Node:
        """Roll the image so that position `to_front` comes to index 0."""
        grid = Grid(Axis(-2, Fraction(1), size[0]), Axis(-1, Fraction(1), size[1]))
        full = (Window(0, size[0]), Window(0, size[1]))
        return self.window(x, channels, grid, full, (to_front[0], to_front[1]))

    def roll_dims(
        self,
        x: fx.Node,
        shape: tuple[int, ...],
        grid: Grid,
        rolls: tuple[fx.Node | None, fx.Node | None],
    ) -> fx.Node:
        """Roll x per sample along its image axes, wherever they lie: content moves forward."""
        if rolls == (None, None):
            return x
        sizes = grid.circled(shape)
        if grid.in_line:
            return self._roll_line(x, sizes, grid, rolls)
        for where, roll in zip(grid.axes, rolls, strict=True):
            if where is not None and roll is not None:
                base = self.constant(torch.arange(where.size))
                x = self.call(_rolled, x, base, roll, where.dim, where.size, sizes)
        return x

    def _roll_line(
        self,
        x: fx.Node,
        sizes: list[int],
        grid: Grid,
        rolls: tuple[fx.Node | None, fx.Node | None],
    ) -> fx.Node:
        """Tokens, rolled as the map that they are."""
        h, w = grid.present
        at = len(sizes) + h.dim
        apart = [-1, *sizes[1:at], h.size, w.size, *sizes[at + 1 :]]
        where = Grid(h.at(h.dim - 1), w)
        reshape = torch.ops.aten.reshape.default
        y = self.roll_dims(self.aten(reshape, x, apart), (*apart,), where, rolls)
        return self.aten(reshape, y, [-1, *sizes[1:]])

    def turn(self, x: fx.Node, channels: int, grid: Grid, coarse: Grid) -> fx.Node:
        """Roll x, which came up from `coarse` to `grid`, back onto the offset of `grid`."""
        rolls = tuple(
            self.back(axis, fine, old)
            for axis, (fine, old) in enumerate(zip(grid.axes, coarse.axes, strict=True))
        )
        full = tuple(Window(0, size) for size in grid.sizes)
        if rolls == (None, None):
            return self.dense(x)
        return self.window(x, channels, grid, (full[0], full[1]), (rolls[0], rolls[1]))

    def forth(self, x: fx.Node, shape: tuple[int, ...], grid: Grid, coarse: Grid) -> fx.Node:
        """The same wherever the image axes of x, of `shape` in the original, lie in it."""
        rolls = [
            None
            if fine is None or old is None or fine.stride == old.stride
            else self.levels.distance(self, axis, fine.stride, old.stride)
            for axis, (fine, old) in enumerate(zip(grid.axes, coarse.axes, strict=True))
        ]
        return self.roll_dims(x, shape, grid, (rolls[0], rolls[1]))

    def dense(self, x: fx.Node) -> fx.Node:
        """x in memory of its own where it is a crop.

        Over a crop, vector loops go row by row, and the end of each row through other code.
        """
        return self.call(torch.clone, x) if x.target is torch.narrow else x  # type: ignore[no-any-return]

    def back(self, axis: int, fine: Axis | None, coarse: Axis | None) -> fx.Node | None:
        """How far index 0 of the fine grid lies before that of the coarse one: (B,) <= 0."""
        if fine is None or coarse is None or fine.stride == coarse.stride:
            return None
        down = self.levels.distance(self, axis, fine.stride, coarse.stride)
        return None if down is None else self.call(torch.neg, down)


def _circle_index(base: Any, roll: Any, size: int, anchor: Any) -> Any:
    """(B, L) indices on a circle of `size`: base (L,) plus each sample's roll (B,), if any."""
    shift = torch.zeros_like(anchor) if roll is None else roll
    return torch.remainder(base.unsqueeze(0) + shift.unsqueeze(1), size)


def _rolled(x: Any, base: Any, roll: Any, dim: int, size: int, shape: list[int]) -> Any:
    """torch.roll of each sample by its own amount along one dimension (negative)."""
    index = torch.remainder(base.unsqueeze(0) - roll.unsqueeze(1), size)
    view = [1] * len(shape)
    view[0], view[dim] = -1, size
    spread = [-1 if d in (0, len(shape) + dim) else n for d, n in enumerate(shape)]
    return torch.gather(x, dim, index.reshape(view).expand(spread))
