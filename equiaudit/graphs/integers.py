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


def with_stored_weights(module: fx.GraphModule, script: torch.jit.ScriptModule) -> fx.GraphModule:
    """`module`, made of `script`, itself, with the integers that `script` packs as its weights.

    torch's converter unpacks them to the floats that they stand for; each that is one of those to
    the bit is an int8 buffer again, behind its scale. Packings without a public form stay floats.
    """
    stored = [w for each in script.modules() if (w := _unpacked(each)) is not None]
    for number, node in enumerate(n for n in list(module.graph.nodes) if n.op == "get_attr"):
        value = operator.attrgetter(str(node.target))(module)
        known = next((q for q in stored if _stands_for(q, value)), None)
        if known is not None:
            _store(module, node, known, f"_stored_{number}")
    module.graph.lint()
    module.recompile()
    return module


def _unpacked(module: Any) -> torch.Tensor | None:
    packed = getattr(module, "_packed_params", None)
    if not isinstance(packed, torch.ScriptObject):
        return None
    ops = torch.ops.quantized
    for unpack in (ops.conv2d_unpack, ops.linear_unpack):
        try:
            weight = unpack(packed)[0]
        except RuntimeError:  # it packs the other kind
            continue
        return weight if isinstance(weight, torch.Tensor) and weight.is_quantized else None
    return None


def _stands_for(q: torch.Tensor, value: object) -> bool:
    if not isinstance(value, torch.Tensor) or value.shape != q.shape:
        return False
    return torch.equal(value, q.dequantize())


def _store(module: fx.GraphModule, node: fx.Node, q: torch.Tensor, name: str) -> None:
    by_channel = q.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric)
    shape = [1] * q.dim()
    if by_channel:
        shape[q.q_per_channel_axis()] = -1
    scale = q.q_per_channel_scales() if by_channel else torch.tensor(q.q_scale())
    zero = q.q_per_channel_zero_points() if by_channel else torch.tensor(q.q_zero_point())
    found = {"": q.int_repr(), "_scale": scale.float().reshape(shape)}
    if bool(zero.any()):
        found["_zero"] = zero.float().reshape(shape)
    wide = found[""].float() - found.get("_zero", torch.tensor(0.0))
    if not torch.equal(wide * found["_scale"], q.dequantize()):
        return
    w = _Writer(module)
    with module.graph.inserting_before(node):
        parts = {}
        for suffix, value in found.items():
            module.register_buffer(name + suffix, value)
            parts[suffix] = module.graph.get_attr(name + suffix)
        plain = w.to(parts[""], torch.float32)
        if "_zero" in parts:
            plain = w.sub(plain, parts["_zero"])
        plain = w.mul(plain, parts["_scale"])
    node.replace_all_uses_with(plain)
    module.graph.erase_node(node)
