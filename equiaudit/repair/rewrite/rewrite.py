"""rewrite: an analysed graph -> a new graph that is exactly equivariant, in plain torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias

import torch
import torch.fx as fx

from equiaudit.errors import InputError, NothingToDo
from equiaudit.graphs.nodes import module_path, shape_of
from equiaudit.graphs.outputs import graph_outputs
from equiaudit.repair.rewrite.builder import Builder
from equiaudit.repair.rewrite.grid import FLAT, Grid
from equiaudit.repair.rewrite.levels import FeatureLevels, InputLevels, Levels
from equiaudit.repair.rewrite.plan import Analysis, Step
from equiaudit.repair.rewrite.tail import by_node, framed, moved_output, trunk_first
from equiaudit.sampling.positions import Positions, Role
from equiaudit.torch_private import called_as

__all__ = [
    "Globs",
    "Write",
    "kept",
    "left_out",
    "patterns",
    "rewrite",
    "rewrite_with",
    "same_tensors",
]

Globs = str | Sequence[str] | None
Write: TypeAlias = Callable[[Builder, fx.Node, Step], Any]


def rewrite(
    gm: fx.GraphModule,
    analysis: Analysis,
    *,
    select: Literal["features", "input"] = "features",
    only: Globs = None,
    skip: Globs = None,
    roles: Sequence[Role] = (),
    carried: Collection[int] = (),
    narrow: bool = False,
) -> fx.GraphModule:
    """A new GraphModule with the same parameters, shift-equivariant to the bit where possible.

    `select="features"` chooses each level's origin from the features that go down to it,
    `"input"` rolls the image once. `only` and `skip` are globs over node names and module paths:
    operations they leave out stay as they are, and the result is then no longer exact. `roles` say
    of all outputs in turn what they are, where some hold positions, which are moved back.
    The outputs at the places `carried` are read by a tail that is no part of the graph: they stay
    in its frame, whose point (B, 2) is then one more output (see `tail`).
    `narrow` writes sums and choices in 32 bits (`twins`), for runtimes that have no more.
    Raises NothingToDo when the analysis holds a refusal.
    """
    if analysis.refusals:
        first = analysis.refusals[0]
        raise NothingToDo(f"{first.node}: {first.reason}.", tip=f"{first.remedy}.")
    levels = _levels(analysis, select)
    how = {"roles": roles, "carried": carried, "narrow": narrow}
    return rewrite_with(gm, analysis, levels, only=only, skip=skip, **how)  # type: ignore[arg-type]


def _levels(analysis: Analysis, select: str) -> Levels:
    if select == "features":
        return FeatureLevels()
    if select == "input":
        return InputLevels(analysis.total_stride, whole=bool(analysis.collapses))
    raise InputError(f"select is {select!r}.", tip='Use "features" or "input".')


def _as_planned(b: Builder, node: fx.Node, step: Step) -> Any:
    return step.emit(b, node)


def rewrite_with(
    gm: fx.GraphModule,
    analysis: Analysis,
    levels: Levels,
    *,
    only: Globs = None,
    skip: Globs = None,
    write: Write = _as_planned,
    roles: Sequence[Role] = (),
    carried: Collection[int] = (),
    narrow: bool = False,
) -> fx.GraphModule:
    """`rewrite` with the origins chosen by `levels`, each step written by `write`."""
    root = same_tensors(gm)
    b = Builder(root, channels_last=_is_channels_last(gm), levels=levels, narrow=narrow)
    places = by_node(gm, roles) if roles else {}
    for node in trunk_first(gm, analysis):
        if node.op == "output" and carried:
            _framed_outputs(b, gm, analysis, places, carried)
            continue
        if node.op == "output":
            for value, role in places.items():
                b.env[value] = moved_output(b, value, role, analysis.input_size)
        if node.op != "call_module":  # the guards of torch.export, on sizes that no longer hold
            b.env[node] = _emit(b, node, analysis, kept(node, only, skip), write)
    if not carried:
        called_as(b.graph, gm)
    b.graph.eliminate_dead_code(_has_effects)
    b.graph.lint()
    result = fx.GraphModule(root, b.graph, "Equivariant")
    return result.train(gm.training)


def same_tensors(gm: fx.GraphModule) -> torch.nn.Module:
    """A module tree that shares the parameters and buffers of another."""
    root = torch.nn.Module()
    for name, parameter in gm.named_parameters(remove_duplicate=False):
        _place(root, name).register_parameter(name.rpartition(".")[2], parameter)
    for name, buffer in gm.named_buffers(remove_duplicate=False):
        persistent = name in gm.state_dict()
        _place(root, name).register_buffer(name.rpartition(".")[2], buffer, persistent=persistent)
    for name, value in vars(gm).items():
        if isinstance(value, torch.Tensor):
            root.register_buffer(name, value, persistent=False)
    return root


def _place(root: torch.nn.Module, name: str) -> torch.nn.Module:
    """The submodule that holds a dotted name, made where it is missing."""
    for part in name.split(".")[:-1]:
        children = dict(root.named_children())
        if part not in children:
            root.add_module(part, torch.nn.Module())
        root = root.get_submodule(part)
    return root


def _is_channels_last(gm: fx.GraphModule) -> bool:
    """Whether the weights, and so the activations, lie in memory as channels_last."""
    return any(
        p.dim() == 4
        and p.is_contiguous(memory_format=torch.channels_last)
        and not p.is_contiguous()
        for p in gm.parameters()
    )


def kept(node: fx.Node, only: Globs, skip: Globs) -> bool:
    """Whether an operation is left as it is."""
    if node.op != "call_function":
        return False
    return left_out((node.name, module_path(node)), only, skip)


def left_out(names: Sequence[str], only: Globs, skip: Globs) -> bool:
    """Whether an operation of these names is left as it is."""
    return (only is not None and not _any_match(names, only)) or (
        skip is not None and _any_match(names, skip)
    )


def patterns(globs: Globs) -> Sequence[str]:
    """One glob, several or none, as a sequence."""
    return () if globs is None else (globs,) if isinstance(globs, str) else globs


def _any_match(names: Sequence[str], globs: Globs) -> bool:
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns(globs))


def _has_effects(node: fx.Node) -> bool:
    """Whether a node that nobody uses must stay; the modules that are called here have none."""
    return node.op != "call_module" and node.is_impure()


def _emit(b: Builder, node: fx.Node, analysis: Analysis, keep: bool, write: Write) -> Any:
    if node.op == "placeholder":
        return _input(b, node, analysis)
    if node.op == "output":
        return _output(b, node, analysis)
    step = analysis.steps.get(node.name)
    if step is None or (keep and step.op is not None):
        return b.copy(node)
    return write(b, node, step)


def _input(b: Builder, node: fx.Node, analysis: Analysis) -> fx.Node:
    """The image goes to the levels, which may roll it; a net without levels needs no origin."""
    copied = b.copy(node)
    grid = analysis.grids.get(node.name)
    sampled = analysis.total_stride != (1, 1) or analysis.collapses
    if grid is None or not grid.present or not sampled:
        return copied
    return b.levels.open(b, copied, shape_of(node)[1], analysis.input_size)


def _output(b: Builder, node: fx.Node, analysis: Analysis) -> fx.Node:
    """Maps go back to offset zero, or as near to it as their own grid allows."""
    for value in node.all_input_nodes:
        grid = analysis.grids.get(value.name)
        if grid is not None and grid.present:
            b.env[value] = _realigned(b, value, grid)
    return b.copy(node)


def _framed_outputs(
    b: Builder,
    gm: fx.GraphModule,
    analysis: Analysis,
    places: Mapping[fx.Node, Positions],
    carried: Collection[int],
) -> None:
    """Each output as it is wanted, one value perhaps in two ways, and the point of the frame."""
    made = []
    for place, value in enumerate(graph_outputs(gm)):
        grid = analysis.grids.get(value.name, FLAT)
        if place in carried:
            made.append(framed(b, value, grid) if grid.present else b.value(value))
        elif value in places:
            made.append(moved_output(b, value, places[value], analysis.input_size))
        else:
            made.append(_realigned(b, value, grid) if grid.present else b.value(value))
    b.graph.output((*made, b.levels.frame(b)))


def _realigned(b: Builder, value: fx.Node, grid: Grid) -> fx.Node:
    x = b.settle(value, grid)
    rolls = [
        None if axis is None else b.levels.final(b, i, axis.stride)
        for i, axis in enumerate(grid.axes)
    ]
    if rolls == [None, None]:
        return x
    return b.roll_dims(x, shape_of(value), grid.settled(), (rolls[0], rolls[1]))
