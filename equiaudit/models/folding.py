"""Batch normalisation folded into the convolution before it."""

from __future__ import annotations

import copy
from functools import reduce
from typing import Any

import torch
from torch import Tensor, fx

__all__ = ["fold_batch_norms"]

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
    bias, rest = (rest[0], rest[1:]) if rest else (None, [])
    gain, offset, mean, variance = (_value(graph, each) for each in norm.args[1:5])
    scale = torch.rsqrt(variance.double() + float(norm.args[7]))  # type: ignore[arg-type, union-attr]
    scale = scale if gain is None else scale * gain.double()
    start = _value(graph, bias)
    moved = (0.0 if start is None else start.double()) - mean.double()  # type: ignore[union-attr]
    moved = moved * scale + (0.0 if offset is None else offset.double())
    weight: Any = _value(graph, kernel)
    with graph.graph.inserting_before(convolution):
        made = [
            _constant(graph, f"{norm.name}_{name}", value.to(weight.dtype))
            for name, value in (
                ("weight", weight.double() * scale.view(-1, 1, 1, 1)),
                ("bias", moved),
            )
        ]
    convolution.args = (source, *made, *rest)
    norm.replace_all_uses_with(convolution)
    graph.graph.erase_node(norm)


def _value(graph: fx.GraphModule, argument: Any) -> Tensor | None:
    if argument is None:
        return None
    found: Tensor = reduce(getattr, str(argument.target).split("."), graph)  # type: ignore[arg-type]
    return found.detach()


def _constant(graph: fx.GraphModule, name: str, value: Tensor) -> fx.Node:
    graph.register_buffer(f"_folded_{name}", value)
    return graph.graph.get_attr(f"_folded_{name}")
