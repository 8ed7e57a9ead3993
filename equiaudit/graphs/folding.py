"""Batch normalisation folded into the convolution before it."""

from __future__ import annotations

import copy
from functools import reduce
from typing import Any, cast

import torch
from torch import Tensor, fx

_ATEN = torch.ops.aten
_CONVOLUTIONS = (_ATEN.conv2d.default, _ATEN.conv2d.padding)


def fold_batch_norms(graph: fx.GraphModule) -> fx.GraphModule:
    """A copy of an aten graph in which convolutions do the batch norms that follow them.

    A norm is folded where it runs in eval mode and is all that reads its convolution. Outputs
    change by rounding only. The tensors of `graph` are not written to.
    """
    folded = copy.deepcopy(graph)
    for node in list(folded.graph.nodes):
        if node.target is _ATEN.batch_norm.default and _may_fold(node):
            _fold(folded, node)
    folded.graph.eliminate_dead_code()
    folded.recompile()
    return folded


def _may_fold(norm: fx.Node) -> bool:
    convolution, *settings = norm.args
    mean, variance, training = settings[2:5]
    return (
        isinstance(convolution, fx.Node)
        and convolution.target in _CONVOLUTIONS
        and len(convolution.users) == 1
        and not convolution.kwargs
        and None not in (mean, variance)
        and not training
        and all(_is_constant(each) for each in (*convolution.args[1:3], *settings[:4]))
    )


def _is_constant(argument: Any) -> bool:
    return argument is None or (isinstance(argument, fx.Node) and argument.op == "get_attr")


def _fold(graph: fx.GraphModule, norm: fx.Node) -> None:
    convolution: Any = norm.args[0]
    source, kernel, *rest = convolution.args
    start, rest = (rest[0], rest[1:]) if rest else (None, [])
    weight, bias, *normal = (_value(graph, each) for each in (kernel, start, *norm.args[1:5]))
    parts = _folded(weight, bias, *normal, eps=norm.args[7])
    with graph.graph.inserting_before(convolution):
        made = [_constant(graph, f"{norm.name}_{i}", part) for i, part in enumerate(parts)]
    convolution.args = (source, *made, *rest)
    norm.replace_all_uses_with(convolution)
    graph.graph.erase_node(norm)


def _folded(
    weight: Any, bias: Any, gain: Any, offset: Any, mean: Any, variance: Any, *, eps: Any
) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that does both, by way of float64."""
    scale = (variance.double() + eps).rsqrt() * (1.0 if gain is None else gain.double())
    moved = (0.0 if bias is None else bias.double()) - mean.double()
    new_bias = moved * scale + (0.0 if offset is None else offset.double())
    new_weight = weight.double() * scale.view(-1, 1, 1, 1)
    return new_weight.to(weight.dtype), new_bias.to(weight.dtype)


def _value(graph: fx.GraphModule, argument: Any) -> Any:
    """The tensor behind an attribute of the graph; None for an argument that is not given."""
    if argument is None:
        return None
    return reduce(getattr, str(argument.target).split("."), cast(Any, graph)).detach()


def _constant(graph: fx.GraphModule, name: str, value: Tensor) -> fx.Node:
    graph.register_buffer(f"_folded_{name}", value)
    return graph.graph.get_attr(f"_folded_{name}")
