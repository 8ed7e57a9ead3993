"""Which operation breaks equivariance, on given images: what enters where, and what arrives.

After Gruver et al. 2023 ("The Lie derivative for measuring learned equivariance"), who follow the
error of infinitesimal shifts through a net; here shifts are whole pixels of each map, so that an
operation that samples by S is asked for another of its S phases, and one that pads for another
place of the border. Per operation and image:

- enters: its input is rolled by whole pixels of its output (the border), and by half a pixel more
  where it samples (another phase); its output is rolled back by the whole pixels that fit best; the
  change, over the norm of its output;
- reaches: the rest of the net is run on that changed output instead, all else being as it was;
- at depth: the same of the map when the image itself is rolled, so all errors so far together;
- only, up to: the output when the image is rolled, after `fix` of this operation alone, and of all
  up to this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch
import torch.fx as fx
from torch import Tensor

from equiaudit.errors import NothingToDo
from equiaudit.graphs.nodes import tensor_args
from equiaudit.repair.rewrite.analyse import Analysis, OpPlan
from equiaudit.repair.rewrite.grid import Axis, Grid
from equiaudit.repair.rewrite.rewrite import rewrite
from equiaudit.results.repair import Located, Place

Shift = tuple[int, int]
Env = dict[fx.Node, Any]


def locate(gm: fx.GraphModule, analysis: Analysis, images: Mapping[str, Tensor]) -> Located:
    """Measure every operation of `analysis` on `images`, (C, H, W) each as the graph takes them.

    NothingToDo where no operation matters, or no image is there.
    """
    nodes = {node.name: node for node in gm.graph.nodes}
    ops = [op for op in analysis.ops if op.node in nodes]
    if not ops or not images:
        raise NothingToDo("There is no operation to locate, or no image to do it on.")
    with torch.inference_mode():
        # One pixel, half a stride, one stride: other phases, and the border alone.
        half = max(1, analysis.total_stride[0] // 2), max(1, analysis.total_stride[1] // 2)
        rolled = tuple(dict.fromkeys([(1, 1), half, analysis.total_stride]))
        unmodified = _output_change(gm, analysis, images, rolled)
        errors = {op.node: _Errors() for op in ops}
        for image in images.values():  # one at a time: all values of a net are held
            _measure(_Image(gm, analysis, image[None]), nodes, errors, rolled)
        places = [_place(i, ops, errors[op.node]) for i, op in enumerate(ops)]
        fixed, reason = _fixed(gm, analysis, images, rolled)
        places = [place.model_copy(update=fixed.get(place.node, {})) for place in places]
    return Located(
        images=tuple(images),
        shifts=rolled,
        unmodified=unmodified,
        places=tuple(sorted(places, key=lambda p: -(p.reaches or 0.0))),
        reason=reason,
    )


@dataclass(frozen=True)
class _Errors:
    """Of one operation, over images and shifts; nothing of what gives or takes indices."""

    whole: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)
    reached: list[float] = field(default_factory=list)
    deep: list[float] = field(default_factory=list)


class _Image:
    """One image through the graph: every value, and what follows from changing one."""

    def __init__(self, gm: fx.GraphModule, analysis: Analysis, x: Tensor) -> None:
        self.gm, self.analysis, self._x = gm, analysis, x
        self._order = {node: i for i, node in enumerate(gm.graph.nodes)}
        self.env = _values(gm, x)
        self.output = _main(self.env)

    def entering(self, node: fx.Node) -> Iterator[tuple[float, Tensor]]:
        """The error of `node` alone, and its changed output: whole pixels, then between them."""
        target = self.analysis.grids.get(node.name)
        source = self._source(node)
        if source is None or self._indexes(node):
            return
        base = self._applied(node, (0, 0))
        for shift, backs in _moves(source, target):
            changed = self._applied(node, shift)
            yield _best(base, changed, target, backs)

    def arriving(self, node: fx.Node, value: Tensor) -> float:
        """How far the output goes when `node` gives `value`."""
        at = self._order[node]
        env = {n: v for n, v in self.env.items() if self._order[n] < at} | {node: value}
        again = fx.Interpreter(self.gm, garbage_collect_values=False)
        again.run(self._x, initial_env=env)
        return _change(self.output, _main(again.env))

    def at_depth(self, nodes: Iterable[fx.Node], shift: Shift) -> Iterator[tuple[str, float]]:
        """The error of the value of each when the image is rolled, by name."""
        rolled = _values(self.gm, self._x.roll(shift, (-2, -1)))
        for node in (n for n in nodes if not self._indexes(n)):
            grid = self.analysis.grids.get(node.name)
            before, after = self.env[node], rolled[node]
            if before.is_floating_point():
                yield node.name, _best(before, after, grid, _backs(shift, grid))[0]

    def _indexes(self, node: fx.Node) -> bool:
        """Whether it gives or takes places of pixels, which do not roll as a map does."""
        read = (self.env[arg] for arg in tensor_args(node))
        return isinstance(self.env[node], tuple) or any(
            isinstance(value, Tensor) and value.dtype == torch.int64 for value in read
        )

    def _source(self, node: fx.Node) -> Grid | None:
        """The grid of what it reads of the image."""
        grids = (self.analysis.grids.get(arg.name) for arg in tensor_args(node))
        return next((grid for grid in grids if grid and grid.present), None)

    def _applied(self, node: fx.Node, shift: Shift) -> Tensor:
        """`node` on its inputs, each rolled by `shift` pixels of its map as a circle."""

        def rolled(arg: fx.Node) -> Any:
            value, grid = self.env[arg], self.analysis.grids.get(arg.name)
            if not isinstance(value, Tensor) or grid is None or not grid.present:
                return value
            return _moved(value, grid, (-shift[0], -shift[1]))[0]

        args: Any = fx.map_arg(node.args, rolled)
        kwargs: Any = fx.map_arg(node.kwargs, rolled)
        target: Any = node.target
        found: Tensor = target(*args, **kwargs)
        return found


def _values(gm: fx.GraphModule, x: Tensor) -> Env:
    run = fx.Interpreter(gm, garbage_collect_values=False)
    run.run(x)
    return dict(run.env)


def _main(env: Env) -> Tensor:
    """The output of the graph that is compared: its first."""
    return _first(next(value for node, value in env.items() if node.op == "output"))


def _moves(source: Grid, target: Grid | None) -> Iterator[tuple[Shift, list[Shift]]]:
    """Rolls of the input, px of its map, and by what the output may be rolled back.

    By whole pixels of the output, and by half a pixel more where it is sampled.
    """
    whole, phase, backs, ceiled = [], [], [], []
    for i in (0, 1):
        a, b = source.axes[i], None if target is None else target.axes[i]
        if a is None or b is None:
            far = 0 if a is None else max(1, a.size // 3)
            step, count = 1, far
        else:
            step = max(1, int(b.stride / a.stride))
            count = max(1, min(a.size // step, b.size) // 3)
            far = step * count
        whole.append(far)
        phase.append(far + step // 2)
        back = 0 if a is None or b is None else int(far * a.stride / b.stride)
        backs.append(back)
        ceiled.append(back + (step > 1))
    yield (whole[0], whole[1]), [(backs[0], backs[1])]
    if phase != whole:
        ways = product(*(dict.fromkeys(pair) for pair in zip(backs, ceiled, strict=True)))
        yield (phase[0], phase[1]), [(dy, dx) for dy, dx in ways]


def _backs(shift: Shift, grid: Grid | None) -> list[Shift]:
    """By what a map may be rolled back when the image was rolled by `shift`, px."""
    if grid is None:
        return [(0, 0)]
    ways = []
    for axis, far in zip(grid.axes, shift, strict=True):
        whole = 0 if axis is None else far / axis.stride
        ways.append(dict.fromkeys((int(whole), int(-(-whole // 1)))))
    return [(dy, dx) for dy, dx in product(*ways)]


def _best(
    base: Tensor, changed: Tensor, grid: Grid | None, backs: list[Shift]
) -> tuple[float, Tensor]:
    """The smallest error over rolls back, relative to the norm of `base`, and `changed` there."""
    found = []
    for back in backs:
        moved, known = (changed, torch.ones_like(changed, dtype=torch.bool))
        if grid is not None and grid.present:
            moved, known = _moved(changed, grid, back)
        patched = torch.where(known, moved, base)
        norm = float(base.double().norm()) or 1.0
        found.append((float((patched.double() - base.double()).norm()) / norm, patched))
    return min(found, key=lambda pair: pair[0])


def _moved(value: Tensor, grid: Grid, back: Shift) -> tuple[Tensor, Tensor]:
    """A map rolled back as the circle that it is, and which elements that tells.

    What a padding has put before the circle's start takes what lies there on the circle; what a
    crop has taken from it is not told, and is its neighbour instead.
    """
    known = torch.ones(value.shape, dtype=torch.bool)
    for axis, far in zip(grid.axes, back, strict=True):
        if axis is not None:
            places, there = _places(axis, value.shape[axis.dim], far)
            value = value.index_select(axis.dim, places)
            known = known.index_select(axis.dim, places)
            shape = [1] * value.dim()
            shape[axis.dim] = -1
            known = known & there.reshape(shape)
    return value, known


def _places(axis: Axis, length: int, back: int) -> tuple[Tensor, Tensor]:
    """(length,) array indices that come to each place, and whether there are such."""
    size = max(axis.size, 1)
    source = (torch.arange(length) - axis.lead + back) % size + axis.lead
    source = torch.where(source < 0, source + size, source)
    source = torch.where(source >= length, source - size, source)
    there = (source >= 0) & (source < length)
    return source.clamp(0, length - 1), there


def _change(before: Tensor, after: Tensor) -> float:
    """max |after - before| over the range of `before`: the logit error."""
    span = float(before.amax() - before.amin()) or 1.0
    return float((after - before).abs().amax()) / span


def _measure(
    image: _Image,
    nodes: Mapping[str, fx.Node],
    errors: Mapping[str, _Errors],
    shifts: tuple[Shift, ...],
) -> None:
    """Add what one image says."""
    for name, own in errors.items():
        entering = image.entering(nodes[name])
        for kind, (error, value) in zip((own.whole, own.between), entering, strict=False):
            kind.append(error)
            own.reached.append(image.arriving(nodes[name], value) if error else 0.0)
    for shift in shifts:
        for name, error in image.at_depth([nodes[name] for name in errors], shift):
            errors[name].deep.append(error)


def _place(i: int, ops: list[OpPlan], errors: _Errors) -> Place:
    op, paths = ops[i], [each.module for each in ops]
    return Place(
        node=op.node,
        name=op.module if op.module and paths.count(op.module) == 1 else op.node,
        op=op.op,
        effect=op.effect,
        depth=i,
        enters_whole=_mean(errors.whole),
        enters_between=_mean(errors.between),
        reaches=_mean(errors.reached),
        at_depth=_mean(errors.deep),
    )


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _fixed(
    gm: fx.GraphModule,
    analysis: Analysis,
    images: Mapping[str, Tensor],
    shifts: tuple[Shift, ...],
) -> tuple[dict[str, dict[str, float | None]], str | None]:
    """The change of the output after `fix` of each op alone, and of all up to it; or why not."""
    if analysis.refusals:
        first = analysis.refusals[0]
        return {}, f"{first.module or first.node} cannot be converted: {first.reason}"
    found: dict[str, dict[str, float | None]] = {}
    names = [op.node for op in analysis.ops]
    for i, name in enumerate(names):
        alone, so_far = (
            _partly_fixed(gm, analysis, only, images, shifts) for only in ([name], names[: i + 1])
        )
        found[name] = {"only": alone, "up_to": so_far}
    lacks = any(None in each.values() for each in found.values())
    reason = "the others keep maps of another size, so some do not run fixed by themselves"
    return found, reason if lacks else None


def _partly_fixed(
    gm: fx.GraphModule,
    analysis: Analysis,
    only: list[str],
    images: Mapping[str, Tensor],
    shifts: tuple[Shift, ...],
) -> float | None:
    """None where maps that were fixed do not go with those that were not, as 112 px with 111."""
    net = rewrite(gm, analysis, only=only)
    try:
        # Called as it is: a GraphModule prints what goes wrong in it.
        return _output_change(net.forward, analysis, images, shifts)
    except (RuntimeError, IndexError):
        return None


def _output_change(
    net: Callable[[Tensor], Any],
    analysis: Analysis,
    images: Mapping[str, Tensor],
    shifts: tuple[Shift, ...],
) -> float:
    """How far the output goes when images are rolled; maps are rolled back."""
    x = torch.stack(list(images.values()))
    grid = next(iter(analysis.outputs), None)
    before, changes = _first(net(x)), []
    for shift in shifts:
        after = _first(net(x.roll(shift, (-2, -1))))
        for i in range(len(before)):
            one, other = before[i : i + 1], after[i : i + 1]
            _, moved = _best(one, other, grid, _backs(shift, grid))
            changes.append(_change(one, moved))
    return sum(changes) / len(changes)


def _first(found: Any) -> Tensor:
    while isinstance(found, tuple | list):
        found = found[0]
    main: Tensor = found
    return main
