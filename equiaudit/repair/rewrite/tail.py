"""The part of a net that asks where things are: run as it is, in a frame that goes with the image.

A detector's head lays its maps out in rows, adds the places of cells, picks and suppresses. None of
that can be rewritten to follow a shift, and it need not be: what it reads is rolled so that one
point of the image, on the grids of all levels at once, comes to index 0 of every map. The tail then
sees the same bits for every shift, and what it says of places is moved by that point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.fx as fx

from equiaudit.errors import NothingToDo
from equiaudit.graphs.nodes import shape_of, short_name, tensor_args
from equiaudit.graphs.outputs import graph_outputs
from equiaudit.repair.rewrite.builder import Builder
from equiaudit.repair.rewrite.grid import FLAT, Grid
from equiaudit.repair.rewrite.plan import Analysis, Refuse, Step
from equiaudit.repair.rewrite.rules.registry import Call
from equiaudit.sampling.positions import Positions, Role, cells_of, moved_rows

__all__ = [
    "by_node",
    "check_outputs",
    "check_whole",
    "framed",
    "moved_output",
    "tail_step",
    "trunk_first",
]


def tail_step(call: Call) -> Step:
    """The node as it is, on maps that are rolled into the frame.

    Raises Refuse where one of them cannot be, or the node writes into it.
    """
    node = call.node
    grids = {n: call.grid(n) for n in tensor_args(node) if call.grid(n).present}
    others = [n for n in node.all_input_nodes if not isinstance(call.state(n), Grid | None)]
    if others:
        raise Refuse("it reads several maps at once, from places of its own")
    if grids and short_name(node).endswith("_"):
        raise Refuse("it writes into a map that is read elsewhere")
    for source, grid in grids.items():
        check_whole(source, grid)

    def emit(b: Builder, node: fx.Node) -> Any:
        rolled = {n: framed(b, n, grid) for n, grid in grids.items()}
        copied = b.graph.node_copy(node, lambda old: rolled.get(old, b.env[old]))
        if copied.target is torch.ops.aten.view.default:
            copied.target = torch.ops.aten.reshape.default
        return copied

    plan = call.plan("lays its map out at fixed places") if grids else None
    return Step(FLAT, emit, plan, collapse=bool(grids), tail=True)


def check_whole(source: fx.Node, grid: Grid) -> None:
    """Refuse where a map cannot be rolled into the frame."""
    shape = shape_of(source)
    whole = all(axis.fits and not axis.lead for axis in grid.present)
    if not whole or any(shape[dim] != grid.extents.get(dim) for dim in grid.dims):
        raise Refuse("it reads a map that is padded, cropped or mixed with other axes")


def framed(b: Builder, source: fx.Node, grid: Grid) -> fx.Node:
    """A map rolled so that the frame's point comes to index 0."""
    rolls = [
        None if axis is None else b.levels.to_frame(b, i, axis.stride)
        for i, axis in enumerate(grid.axes)
    ]
    return b.roll_dims(b.value(source), shape_of(source), grid, (rolls[0], rolls[1]))


def trunk_first(gm: fx.GraphModule, analysis: Analysis) -> list[fx.Node]:
    """The nodes in an order in which every level is chosen before the tail begins."""
    steps = analysis.steps
    late = {n for n in gm.graph.nodes if n.name in steps and steps[n.name].tail}
    late |= {n for n in gm.graph.nodes if n.op == "output"}
    nodes = list(gm.graph.nodes)
    return [*(n for n in nodes if n not in late), *(n for n in nodes if n in late)]


def check_outputs(
    gm: fx.GraphModule, analysis: Analysis, roles: Sequence[Role], names: Sequence[str]
) -> None:
    """NothingToDo, naming the output, where one cannot be what its role says."""
    for value, role, name in zip(graph_outputs(gm), roles, names, strict=True):
        in_tail = value.name in analysis.steps and analysis.steps[value.name].tail
        if isinstance(role, Positions) and not in_tail:
            raise NothingToDo(
                f"The output {name!r} ({value.name}) holds boxes that come from no place of a map.",
                tip="--method canonical moves them with the image.",
            )
        if role is not None and not isinstance(role, Positions) and in_tail:
            raise NothingToDo(
                f"The output {name!r} ({value.name}) is a map that is made from rows of positions.",
                tip="--method canonical puts it back in place.",
            )


def moved_output(b: Builder, value: fx.Node, role: Positions, size: tuple[int, int]) -> fx.Node:
    """Positions that the tail returns, moved from its frame to the image's."""
    shape = shape_of(value)
    rank = len(shape)
    y = b.call(role.rows, b.value(value))
    cells = b.constant(cells_of(role, size)) if role.strides else None
    width = shape[-2 if role.columns else -1]
    point = b.levels.frame(b)
    sides = b.constant(torch.tensor([size[1], size[0]]))
    moved = b.call(moved_rows, y, point, sides, role, rank, width, cells)
    result: fx.Node = b.call(role.back, moved)
    return result


def by_node(gm: fx.GraphModule, roles: Sequence[Role]) -> Mapping[fx.Node, Positions]:
    """The outputs that are positions."""
    pairs = zip(graph_outputs(gm), roles, strict=True)
    return {value: role for value, role in pairs if isinstance(role, Positions)}
