"""Rounding to integers and back in operators that every torch knows."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from equiaudit.torch_private import operator_name

aten = torch.ops.aten


def with_plain_integers(module: fx.GraphModule) -> fx.GraphModule:
    """`module` itself without the operators of pt2e, `quantized_decomposed`.

    torch knows those only where their library was imported, which a TorchScript archive cannot
    ask for. Stored integers stay integers; the bits are those of the operators.
    """
    for node in list(module.graph.nodes):
        rule = _RULES.get(operator_name(node.target))
        if rule is None or not str(node.target).startswith("quantized_decomposed"):
            continue
        with module.graph.inserting_before(node):
            plain = rule(_Writer(module), *node.args)
        plain.meta = dict(node.meta)
        node.replace_all_uses_with(plain)
        module.graph.erase_node(node)
    module.recompile()
    return module


class _Writer:
    """Calls of aten operators, each a node."""

    def __init__(self, module: fx.GraphModule) -> None:
        self.module = module

    def __getattr__(self, name: str) -> Any:
        return lambda *args: self.module.graph.call_function(getattr(aten, name), args)


def _quantized(w: Any, x: Any, scale: float, zero: int, low: int, high: int, dtype: Any) -> fx.Node:
    steps = w.add(w.round(w.mul(x, 1.0 / scale)), zero)
    found: fx.Node = w.to(w.clamp(steps, low, high), dtype)
    return found


def _dequantized(w: Any, q: Any, scale: float, zero: int, *_: Any) -> fx.Node:
    found: fx.Node = w.mul(w.sub(w.to(q, torch.float32), zero), scale)
    return found


def _by_channel(w: Any, q: Any, scales: Any, zeros: Any, axis: int, *_: Any) -> fx.Node:
    shape = [1] * operator.attrgetter(str(q.target))(w.module).dim()
    shape[axis] = -1
    wide = w.to(q, torch.float32)
    if zeros is not None:
        wide = w.sub(wide, w.reshape(zeros, shape))
    found: fx.Node = w.mul(wide, w.reshape(scales, shape))
    return found


_RULES: dict[str, Callable[..., fx.Node]] = {
    "quantize_per_tensor": _quantized,
    "dequantize_per_tensor": _dequantized,
    "dequantize_per_channel": _by_channel,
}
