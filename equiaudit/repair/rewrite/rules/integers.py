"""Rounding to integers with a scale, and back: the graphs that torchao's pt2e quantised."""

from __future__ import annotations

from equiaudit.graphs.nodes import shape_of
from equiaudit.repair.rewrite.plan import Refuse, Step
from equiaudit.repair.rewrite.rules.passing import verbatim
from equiaudit.repair.rewrite.rules.registry import Call, rule


@rule(["quantize_per_tensor", "dequantize_per_tensor"])
def by_tensor(call: Call) -> Step:
    """Position by position: equal values are rounded equally, wherever they lie."""
    return verbatim(call, call.grid(call.args["input"]))


@rule(["quantize_per_channel", "dequantize_per_channel"])
def by_channel(call: Call) -> Step:
    """The same with a scale for each index of one dimension."""
    x, axis = call.args["input"], call.args["axis"]
    grid, ndim = call.grid(x), len(shape_of(x))
    if axis % ndim - ndim in grid.dims:
        raise Refuse("it has a scale for each position of the image")
    return verbatim(call, grid)


@rule(["choose_qparams", "choose_qparams_symmetric"])
def by_batch(call: Call) -> Step:
    """Not image by image."""
    raise Refuse(
        "its scale is that of the largest value in the whole batch, so that each image depends on"
        " those beside it",
        "quantise it statically, or use --method canonical",
    )
