"""Convolutions of any stride, dilation and grouping."""

from __future__ import annotations

from typing import Any

import torch
import torch.fx as fx

from equiaudit.repair.builder import Builder
from equiaudit.repair.graph import shape_of
from equiaudit.repair.grid import Grid
from equiaudit.repair.plan import Refuse, Step
from equiaudit.repair.rules.passing import verbatim
from equiaudit.repair.rules.registry import Call, rule
from equiaudit.repair.rules.windows import Slide, read, sampled, slides, window_facts


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
    """A pointwise convolution of a map that varies along one axis only."""
    if any(s.span > 1 or s.stride > 1 or s.before for s in both):
        raise Refuse("a window over a map that has one image axis only")
    return verbatim(call, grid)


def _emit(args: dict[str, Any], grid: Grid, out: Grid, both: tuple[Slide, Slide]) -> Any:
    def emit(b: Builder, node: fx.Node) -> fx.Node:
        x, strides = read(b, args["input"], grid, out, both)
        weight, bias = b.mapped(args["weight"]), b.mapped(args["bias"])
        gaps = [both[0].dilation, both[1].dilation]
        target = torch.ops.aten.conv2d.default
        return b.aten(target, x, weight, bias, [*strides], [0, 0], gaps, args["groups"])

    return emit
