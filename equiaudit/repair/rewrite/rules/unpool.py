"""Max-unpooling with the indices of its pool."""

from __future__ import annotations

from typing import Any

import torch
import torch.fx as fx

from equiaudit.graphs.nodes import shape_of
from equiaudit.repair.rewrite.builder import Builder
from equiaudit.repair.rewrite.grid import Unpooling
from equiaudit.repair.rewrite.plan import Refuse, Step
from equiaudit.repair.rewrite.rules.registry import Call, rule


@rule(["max_unpool2d"])
def max_unpool(call: Call) -> Step:
    """Unpool on the aligned grid, where the indices were taken, then roll back."""
    args, x = call.args, call.args["self"]
    grid, pooled = call.map(x), call.state(args["indices"])
    if not isinstance(pooled, Unpooling) or pooled.coarse.strides != grid.strides:
        raise Refuse("its indices do not come from the max pool of this level")
    fine = pooled.fine.settled()
    if pooled.overlaps:
        raise Refuse("its pool's windows overlap, so one place may get several values")

    def emit(b: Builder, node: fx.Node) -> fx.Node:
        value, indices = b.settle(x, grid), b.value(args["indices"])
        if pooled.starts != (0, 0) or pooled.lengths != fine.sizes:
            indices = b.call(_on_circle, indices, pooled.starts, pooled.lengths[1], fine.sizes)
        y = b.aten(torch.ops.aten.max_unpool2d.default, value, indices, [*fine.sizes])
        return b.turn(y, shape_of(x)[1], fine, grid)

    return Step(fine, emit, call.plan("returns to a finer grid"))


def _on_circle(indices: Any, starts: tuple[int, int], width: int, size: tuple[int, int]) -> Any:
    """Flat indices of the padded map as flat indices of the circle."""
    row = torch.div(indices, width, rounding_mode="floor") + starts[0]
    col = torch.remainder(indices, width) + starts[1]
    return torch.remainder(row, size[0]) * size[1] + torch.remainder(col, size[1])
