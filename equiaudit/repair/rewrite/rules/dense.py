"""Matrix products: over channels they stay, over positions they are refused."""

from __future__ import annotations

from equiaudit.graphs.nodes import tensor_args
from equiaudit.repair.rewrite.grid import Grid
from equiaudit.repair.rewrite.plan import Refuse, Step
from equiaudit.repair.rewrite.rules.passing import verbatim
from equiaudit.repair.rewrite.rules.registry import Call, rule


@rule(["linear"])
def linear(call: Call) -> Step:
    """Acts on the last dimension, which must not be an image axis."""
    grid: Grid = call.grid(call.args["input"])
    if -1 in grid.dims:
        raise Refuse("a linear layer with a weight per position of the image")
    return verbatim(call, grid)


@rule(["scaled_dot_product_attention", "matmul", "bmm", "mm", "einsum", "addmm", "baddbmm"])
def product(call: Call) -> Step:
    """Free of the image: stays."""
    if any(call.grid(n).present for n in tensor_args(call.node)):
        raise Refuse("attention or a matrix product over the positions of the image")
    return verbatim(call)
