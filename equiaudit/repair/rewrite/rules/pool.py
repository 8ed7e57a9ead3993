"""Max and average pools with a window; pools over the whole map are in `mean`."""

from __future__ import annotations

from typing import Any

import torch
import torch.fx as fx

from equiaudit.graphs.nodes import shape_of, short_name
from equiaudit.repair.rewrite.builder import Builder
from equiaudit.repair.rewrite.grid import Grid, Unpooling
from equiaudit.repair.rewrite.plan import Step
from equiaudit.repair.rewrite.rules.mean import pool_whole_map
from equiaudit.repair.rewrite.rules.passing import verbatim
from equiaudit.repair.rewrite.rules.registry import Call, rule
from equiaudit.repair.rewrite.rules.windows import Slide, read, sampled, slides, window_facts
from equiaudit.repair.rewrite.separable import MOST_TAPS, mark_pool, separable_max_pool


@rule(["max_pool2d", "avg_pool2d", "max_pool2d_with_indices"])
def pool(call: Call) -> Step:
    """The pool on a circle: padded with the map itself, `ceil_mode` dropped.

    `count_include_pad` no longer matters, as every window is full of the map's own values.
    """
    args, x = call.args, call.args["self"]
    if not call.grid(x).present:
        return verbatim(call)
    grid = call.map(x)
    both = slides(
        args["kernel_size"],
        args["stride"] or args["kernel_size"],
        args["padding"],
        args.get("dilation", 1),
    )
    if _covers(both, shape_of(x)[-2:]):
        return pool_whole_map(call, x, grid, mean=short_name(call.node) == "avg_pool2d")
    out = sampled(grid, (both[0].stride, both[1].stride))
    plan = call.plan(_effect(both), **window_facts(call, x, both))
    if short_name(call.node) == "max_pool2d_with_indices":
        rows, cols = (s.window(axis) for s, axis in zip(both, grid.present, strict=True))
        overlaps = any(s.span > s.stride for s in both)
        starts, lengths = (rows.start, cols.start), (rows.count, cols.count)
        indices = Unpooling(grid, out, starts, lengths, overlaps)
        return Step((out, indices), _emit(args, grid, out, both, call), plan)
    return Step(out, _emit(args, grid, out, both, call), plan)


def _effect(both: tuple[Slide, Slide]) -> str:
    strided = max(both[0].stride, both[1].stride) > 1
    return "pools on a fixed grid" if strided else "pads at the border"


def _covers(both: tuple[Slide, Slide], extents: tuple[int, ...]) -> bool:
    return all(s.span == n and s.before == 0 for s, n in zip(both, extents, strict=True))


def _emit(
    args: dict[str, Any], grid: Grid, out: Grid, both: tuple[Slide, Slide], call: Call
) -> Any:
    kernel = [both[0].kernel, both[1].kernel]
    gaps = [both[0].dilation, both[1].dilation]

    def emit(b: Builder, node: fx.Node) -> Any:
        x, strides = read(b, args["self"], grid, out, both)
        if "divisor_override" in args:
            divisor = args["divisor_override"]
            tail = ([0, 0], False, True, divisor)
            return b.aten(torch.ops.aten.avg_pool2d.default, x, kernel, [*strides], *tail)
        plain = short_name(call.node) == "max_pool2d" and not b.channels_last
        if plain and max(kernel) <= MOST_TAPS:
            last = b.call(separable_max_pool, x, kernel, strides, gaps, out.sizes)
            mark_pool(last, kernel, strides, gaps)
            return last
        return b.aten(node.target, x, kernel, [*strides], [0, 0], gaps, False)

    return emit
