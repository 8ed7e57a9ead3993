"""Rewriting strided operations: the same one at stride 1, a filter if any, then a choice."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch.fx as fx
from torch import nn

from equiaudit.graphs.nodes import bind, shape_of, short_name
from equiaudit.repair.options import Window
from equiaudit.repair.rewrite.builder import Builder
from equiaudit.repair.rewrite.grid import Grid
from equiaudit.repair.rewrite.plan import Analysis, Step
from equiaudit.repair.rewrite.rewrite import Globs, rewrite_with
from equiaudit.repair.rewrite.rules import RULES, Call
from equiaudit.repair.rewrite.rules.windows import descend
from equiaudit.repair.rewrite.scored import Sample, ScoredLevels, ratios
from equiaudit.repair.rewrite.spec import MAX_SHIFT, Spec
from equiaudit.sampling.polyphase import Selector
from equiaudit.sampling.windowing import window_width

POINTWISE = frozenset({"batch_norm", "relu", "relu6", "hardtanh", "leaky_relu", "hardswish"})
_SLIDING = frozenset({"conv2d", "max_pool2d", "avg_pool2d"})


def resampled(
    gm: fx.GraphModule,
    analysis: Analysis,
    spec: Spec,
    *,
    window: Window = None,
    only: Globs = None,
    skip: Globs = None,
) -> fx.GraphModule:
    """`gm` with every strided operation run at stride 1 and sampled by choice.

    As published, the choice follows the batch norm and the activation behind the operation.
    Every level chooses once, for all branches. What the method adds are modules of the result,
    called as such: `select_*` per level, `filter_*` per operation. "mass" without a filter keeps
    the strides.
    """
    radii = padding_radii(gm, analysis) if window == "auto" else {}

    def make(channels: int, stride: tuple[int, int], coarse: Grid) -> Selector:
        return spec.selector(channels, stride, _width(window, radii, coarse))

    levels = ScoredLevels(make)
    if spec == Spec("mass"):
        return rewrite_with(gm, analysis, levels, only=only, skip=skip)
    writer = _Writer(analysis, levels, spec)
    return rewrite_with(gm, analysis, levels, only=only, skip=skip, write=writer.write)


def _width(window: Window, radii: dict[int, int], coarse: Grid) -> int:
    if window != "auto":
        return window or 0
    stride = max(int(s) for s in coarse.strides)
    return window_width(MAX_SHIFT, radii.get(stride, 0), stride, min(coarse.sizes))


def padding_radii(gm: fx.GraphModule, analysis: Analysis) -> dict[int, int]:
    """How far the padding reaches into the maps of each stride, px of the input.

    The largest sum of paddings along any path from the image to the first map of that stride.
    """
    plans = {op.node: op for op in analysis.ops}
    reach: dict[fx.Node, int] = {}
    found: dict[int, int] = {}
    for node in gm.graph.nodes:
        here = max((reach.get(source, 0) for source in node.all_input_nodes), default=0)
        plan = plans.get(node.name)
        grids = (analysis.grids.get(source.name) for source in node.all_input_nodes)
        scale = max((int(max(g.strides)) for g in grids if g is not None), default=1)
        reach[node] = here + (max(plan.padding) * scale if plan is not None else 0)
        grid = analysis.grids.get(node.name)
        if grid is not None and grid.present:
            found.setdefault(int(max(grid.strides)), reach[node])
    return found


def chain(node: fx.Node) -> tuple[fx.Node, ...]:
    """The pointwise operations behind `node` that nothing else reads, in order."""
    found: list[fx.Node] = []
    last = node
    while len(last.users) == 1:
        (user,) = last.users
        if user.op != "call_function" or short_name(user) not in POINTWISE:
            break
        if not _follows(last, user):
            break
        found.append(user)
        last = user
    return tuple(found)


def _follows(first: fx.Node, second: fx.Node) -> bool:
    """Whether nothing but parameters is read between two nodes."""
    between = first.next
    while between is not second and between.op in ("get_attr", "call_module"):
        between = between.next
    return between is second


class _AtStrideOne(Call):
    """The same call without its stride."""

    @cached_property
    def args(self) -> dict[str, Any]:
        """Arguments by schema name."""
        return {**bind(self.node), "stride": [1, 1]}


@dataclass(frozen=True)
class _Job:
    """A map at stride 1 that is to be sampled."""

    name: str
    channels: int
    fine: Grid
    coarse: Grid


class _Writer:
    """Writes steps; keeps the maps that are not sampled before their chain ends."""

    def __init__(self, analysis: Analysis, levels: ScoredLevels, spec: Spec) -> None:
        self.grids = analysis.grids
        self.levels = levels
        self.spec = spec
        self.open: dict[fx.Node, _Job] = {}

    def write(self, b: Builder, node: fx.Node, step: Step) -> Any:
        """One node: at stride 1 where it samples, and sampled at the end of its chain."""
        job = self._job(node, step)
        if job is None:
            value = step.emit(b, node)
        else:
            value = self._dense(b, node)
            self.open[(node, *chain(node))[-1]] = job
        job = self.open.pop(node, None)
        return value if job is None else self._sampled(b, value, job)

    def _job(self, node: fx.Node, step: Step) -> _Job | None:
        """What is to be sampled here; None for what is written as planned."""
        out = step.out
        kind = short_name(node)
        if not isinstance(out, Grid) or not out.is_map or step.op is None:
            return None
        source: Any = node.args[0]
        fine = self.grids[source.name].settled()
        samples = kind in _SLIDING or (kind == "slice" and not bind(node)["start"])
        down = all(c >= f >= 1 for f, c in zip(fine.strides, out.strides, strict=True))
        if not samples or not down or fine.strides == out.strides:
            return None
        return _Job(node.name, shape_of(node)[1], fine, out)

    def _dense(self, b: Builder, node: fx.Node) -> Any:
        """The operation at stride 1, on the circle; what only samples, or only blurs, is gone."""
        source: Any = node.args[0]
        grid = self.grids[source.name]
        if self.spec.choose == "mass":
            descend(b, source, grid, self.grids[node.name])
        blurs = self.spec.filter == "lpf" and short_name(node) == "avg_pool2d"
        if short_name(node) == "slice" or blurs:
            return b.settle(source, grid)
        call = _AtStrideOne(node, _states(self.grids, node))
        return RULES[short_name(node)](call).emit(b, node)

    def _sampled(self, b: Builder, x: fx.Node, job: _Job) -> fx.Node:
        if self.spec.filter is not None:
            x = _called(b, f"filter_{job.name}", self.spec.smoother(job.channels), x)
        fine, coarse = job.fine, job.coarse
        self.levels.descend(b, x, job.channels, fine, coarse)
        rows, columns = (
            self.levels.distance(b, axis, f, c)
            for axis, (f, c) in enumerate(zip(fine.strides, coarse.strides, strict=True))
        )
        weights = self.levels.weights(b, fine, coarse)
        stride = ratios(fine, coarse)
        return _called(b, f"sample_{job.name}", Sample(stride), x, rows, columns, weights)


def _states(grids: Any, node: fx.Node) -> dict[fx.Node, Any]:
    return {source: grids.get(source.name) for source in node.all_input_nodes}


def _called(b: Builder, name: str, module: nn.Module, *args: Any) -> fx.Node:
    b.root.add_module(name, module)
    return b.graph.call_module(name, args)
