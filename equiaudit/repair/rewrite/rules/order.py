"""What sorts: over channels position by position; over positions it names places."""

from __future__ import annotations

from equiaudit.graphs.nodes import shape_of
from equiaudit.repair.rewrite.plan import Refuse, Step
from equiaudit.repair.rewrite.rules.collapse import LISTED, is_laid_out
from equiaudit.repair.rewrite.rules.passing import settled_copy, verbatim
from equiaudit.repair.rewrite.rules.registry import Call, rule


@rule(["sort", "topk"])
def ordered(call: Call) -> Step:
    """Values and indices along a dimension, which must not hold positions.

    Without the image's positions, as the classes of a pooled vector, it stays as it is.
    """
    x = call.args["self"]
    grid, ndim = call.grid(x), len(shape_of(x))
    if not grid.present and is_laid_out(call, x):
        raise Refuse(LISTED)
    if not grid.present:
        return verbatim(call, (grid, grid))
    if (call.args["dim"] % ndim) - ndim in grid.dims:
        raise Refuse("it sorts positions, and their indices would have to move with the image")
    out = grid.settled()
    return Step((out, out), settled_copy({x: grid}))
