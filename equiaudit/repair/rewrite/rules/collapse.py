"""A map that is flattened into one vector: a level whose stride is the whole map."""

from __future__ import annotations

import torch
import torch.fx as fx

from equiaudit.graphs.nodes import shape_of, short_name
from equiaudit.repair.rewrite.builder import Builder, Window
from equiaudit.repair.rewrite.grid import FLAT, Grid
from equiaudit.repair.rewrite.plan import Step
from equiaudit.repair.rewrite.rules.registry import Call

LISTED = "it names places of a map that was laid out in one line, which would have to move with it"
_ALIKE = frozenset(
    """
    view reshape flatten _unsafe_view contiguous clone permute transpose squeeze unsqueeze to
    sigmoid softmax log_softmax relu clamp abs neg mul add sub div exp log select slice
    """.split()  # noqa: SIM905
)


def collapsed(call: Call, x: fx.Node, grid: Grid, effect: str) -> Step:
    """Roll the map to its canonical position, then do what the model did.

    What follows knows absolute places, so its input must be the same for every shift: index 0
    goes to the grid point nearest to the seam of the image. On a photograph that is where the
    map began before. A circle that is larger than the original map is cropped to it there. The
    map is (B, C, H, W) or (B, H, W, C).
    """

    shape, last = shape_of(x), not grid.is_map

    def emit(b: Builder, node: fx.Node) -> fx.Node:
        extents = [shape[axis.dim] for axis in grid.present]
        windows = tuple(
            Window(-axis.lead, n) for axis, n in zip(grid.present, extents, strict=True)
        )
        rolls = b.levels.collapse(b, grid)
        value = _permuted(b, b.value(x), [0, 3, 1, 2]) if last else b.value(x)
        channels = shape[-1 if last else 1]
        value = b.window(value, channels, grid, (windows[0], windows[1]), (rolls[0], rolls[1]))
        return _copy_on(b, node, x, _permuted(b, value, [0, 2, 3, 1]) if last else value)

    return Step(FLAT, emit, call.plan(effect), collapse=True)


def _permuted(b: Builder, x: fx.Node, order: list[int]) -> fx.Node:
    return b.aten(torch.ops.aten.permute.default, x, order)


def is_laid_out(call: Call, x: fx.Node) -> bool:
    """Whether the elements of a value without image axes are those of a map, one by one.

    An index into it is a place of the image then, in the frame of the collapse.
    """
    waiting, seen = [x], {x}
    while waiting:
        node = waiting.pop()
        rows, columns = call.grid(node).sizes
        if rows * columns > 1:
            return True
        if node.op != "call_function" or short_name(node) not in _ALIKE:
            continue
        fresh = [source for source in node.all_input_nodes if source not in seen]
        seen.update(fresh)
        waiting += fresh
    return False


def _copy_on(b: Builder, node: fx.Node, x: fx.Node, value: fx.Node) -> fx.Node:
    """The node, on another value; a view becomes a reshape."""
    copied = b.graph.node_copy(node, lambda old: value if old is x else b.env[old])
    if copied.target is torch.ops.aten.view.default:
        copied.target = torch.ops.aten.reshape.default
    return copied
