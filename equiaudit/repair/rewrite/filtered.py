"""A filter before every fixed grid: the original's paddings and phases stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import torch
import torch.fx as fx

from equiaudit.graphs.nodes import bind, shape_of, short_name
from equiaudit.repair.rewrite.plan import Refuse
from equiaudit.repair.rewrite.resample import chain
from equiaudit.repair.rewrite.rewrite import Globs, kept, same_tensors
from equiaudit.repair.rewrite.rules.windows import pair
from equiaudit.repair.rewrite.spec import Spec
from equiaudit.torch_private import called_as

aten = torch.ops.aten
_STRIDE = {"conv2d": 3, "max_pool2d": 2, "avg_pool2d": 2}
"""Where the stride lies among the arguments."""


def filtered(
    gm: fx.GraphModule, spec: Spec, *, only: Globs = None, skip: Globs = None
) -> fx.GraphModule:
    """`gm` with strided convolutions and pools run at stride 1 and filtered before sampling.

    The filter follows the batch norm and the activation behind the operation, has reflected
    borders where the map is large enough and takes the place of an average pool altogether
    (BlurPool). Slices are left as they are. The filters are modules of the result, `filter_*`.
    Raises Refuse (a reason) where the sizes would differ from the original's.
    """
    root, graph = same_tensors(gm), fx.Graph()
    new: dict[fx.Node, fx.Node] = {}
    waiting: dict[fx.Node, fx.Node] = {}
    for node in gm.graph.nodes:
        if node.op == "call_module":
            continue
        first = node if _strided(node) and not kept(node, only, skip) else None
        new[node] = _copied(graph, node, new, spec, dense=first is not None)
        if first is not None:
            waiting[(node, *chain(node))[-1]] = first
        source = waiting.pop(node, None)
        if source is not None:
            new[node] = _filter(root, graph, spec, source, new[node])
    called_as(graph, gm)
    graph.lint()
    return fx.GraphModule(root, graph, "Filtered").train(gm.training)


def _strided(node: fx.Node) -> bool:
    return (
        node.op == "call_function"
        and short_name(node) in _STRIDE
        and len(shape_of(node)) == 4
        and max(_stride(node)) > 1
        and shape_of(node)[-2:] != (1, 1)
    )


def _stride(node: fx.Node) -> tuple[int, int]:
    args = bind(node)
    return pair(args["stride"] or args["kernel_size"])


def _blurs_only(spec: Spec, node: fx.Node) -> bool:
    return spec.filter == "lpf" and short_name(node) == "avg_pool2d"


def _copied(
    graph: fx.Graph, node: fx.Node, new: dict[fx.Node, fx.Node], spec: Spec, *, dense: bool
) -> fx.Node:
    """The node as it is, or with `dense` at stride 1."""
    if not dense:
        return graph.node_copy(node, lambda old: new[old])
    source: Any = node.args[0]
    if _blurs_only(spec, node):
        extent = shape_of(source)[-2:]
    else:
        extent = _dense_extent(node, shape_of(source)[-2:])
    sampled = tuple(ceil(n / s) for n, s in zip(extent, _stride(node), strict=True))
    if sampled != shape_of(node)[-2:]:
        raise Refuse(f"{node.name} would give a map of {sampled}, not {shape_of(node)[-2:]}")
    if _blurs_only(spec, node):
        return new[source]
    args = list(bind(node).values())
    args[_STRIDE[short_name(node)]] = [1, 1]
    return graph.call_function(node.target, tuple(fx.node.map_arg(args, lambda old: new[old])))  # type: ignore[arg-type]


def _dense_extent(node: fx.Node, extent: Sequence[int]) -> tuple[int, ...]:
    """The size of the operation's map at stride 1."""
    args = bind(node)
    kernel = pair(args["kernel_size"]) if "kernel_size" in args else shape_of(args["weight"])[2:]
    padding, gap = args["padding"], pair(args.get("dilation", 1))
    if isinstance(padding, str):
        raise Refuse(f"{node.name} names its padding ({padding})")
    return tuple(
        n + 2 * p - d * (k - 1)
        for n, p, d, k in zip(extent, pair(padding), gap, kernel, strict=True)
    )


def _filter(
    root: torch.nn.Module, graph: fx.Graph, spec: Spec, source: fx.Node, x: fx.Node
) -> fx.Node:
    name = f"filter_{source.name}"
    reflects = min(shape_of(source)[-2:]) > spec.kernel // 2
    padding: Any = "reflect" if reflects else "circular"
    module = spec.smoother(shape_of(source)[1], _stride(source), padding)
    root.add_module(name, module)
    return graph.call_module(name, (x,))
