"""Arithmetic, comparisons and logic, with broadcasting."""

from __future__ import annotations

from functools import reduce

import torch

from equiaudit.repair.onnx.call import Call
from equiaudit.repair.onnx.ops.registry import op
from equiaudit.repair.onnx.reader import DTYPES
from equiaudit.repair.onnx.values import Untranslated, Value

aten = torch.ops.aten

_COMMUTATIVE = {"Add": aten.add.Tensor, "Mul": aten.mul.Tensor}
_ORDERED = {
    "Sub": aten.sub.Tensor,
    "And": aten.logical_and.default,
    "Or": aten.logical_or.default,
    "Xor": aten.logical_xor.default,
}
_COMPARISONS = {
    "Equal": "eq",
    "Greater": "gt",
    "GreaterOrEqual": "ge",
    "Less": "lt",
    "LessOrEqual": "le",
}
_VARIADIC = {
    "Max": aten.maximum.default,
    "Min": aten.minimum.default,
    "Sum": aten.add.Tensor,
    "Mean": aten.add.Tensor,
}


@op(*_COMMUTATIVE)
def commutative(call: Call) -> Value:
    """A constant of one element becomes a number, on the right."""
    a, b = call.input(0), call.input(1)
    if isinstance(call.scalar(a), int | float) and b.ndim >= a.ndim:
        a, b = b, a
    return call.emit(_COMMUTATIVE[call.op], a, _right(call, a, b))


@op(*_ORDERED)
def ordered(call: Call) -> Value:
    """Operators whose sides cannot be exchanged."""
    a, b = call.input(0), call.input(1)
    right = _right(call, a, b) if call.op == "Sub" else b
    return call.emit(_ORDERED[call.op], a, right)


@op("Div")
def div(call: Call) -> Value:
    """Whole numbers are divided towards zero."""
    a, b = call.input(0), call.input(1)
    right = _right(call, a, b)
    if a.is_float:
        return call.emit(aten.div.Tensor, a, right)
    return call.emit(aten.div.Tensor_mode, a, right, rounding_mode="trunc")


def _right(call: Call, a: Value, b: Value) -> Value | float | int:
    """The right side as a number where that changes neither shape nor type."""
    if b.ndim > a.ndim or a.data.dtype == torch.bool:
        return b
    number: Value | float | int = call.scalar(b)
    return number


@op("Mod")
def mod(call: Call) -> Value:
    """The sign of the divisor, or with `fmod` of the dividend."""
    target = aten.fmod.Tensor if call.attr("fmod", 0) else aten.remainder.Tensor
    return call.emit(target, call.input(0), call.input(1))


@op("Pow")
def power(call: Call) -> Value:
    """The type of the base; a constant exponent of one element becomes a number."""
    base, exponent = call.input(0), call.input(1)
    number = call.scalar(exponent)
    if isinstance(number, int | float) and exponent.ndim <= base.ndim:
        number = int(number) if not base.is_float else float(number)
        return call.emit(aten.pow.Tensor_Scalar, base, number)
    if exponent.data.dtype != base.data.dtype:
        exponent = call.emit(aten.to.dtype, exponent, base.data.dtype)
    return call.emit(aten.pow.Tensor_Tensor, base, exponent)


@op(*_VARIADIC)
def variadic(call: Call) -> Value:
    """Folded from left to right."""
    values = [call.input(i) for i in range(len(call.inputs))]
    total = reduce(lambda a, b: call.emit(_VARIADIC[call.op], a, b), values)
    if call.op != "Mean":
        return total
    return call.emit(aten.div.Tensor, total, float(len(values)))


@op(*_COMPARISONS)
def compare(call: Call) -> Value:
    """Booleans, position by position."""
    packet = getattr(aten, _COMPARISONS[call.op])
    a, b = call.input(0), call.input(1)
    number = _right(call, a, b)
    target = packet.Tensor if isinstance(number, Value) else packet.Scalar
    return call.emit(target, a, number)


@op("Where")
def where(call: Call) -> Value:
    """The second input where the first is true, else the third."""
    return call.emit(aten.where.self, *(call.input(i) for i in range(3)))


@op("Cast", "CastLike")
def cast(call: Call) -> Value:
    """float16 is computed as float32; floats become whole numbers towards zero."""
    call.ignore("saturate", "round_mode")  # of 8-bit floats
    x = call.input(0)
    if call.op == "CastLike":
        dtype = call.input(1).data.dtype
    else:
        kind = call.attr("to")
        if kind not in DTYPES:
            raise Untranslated(f"it converts to type {kind}")
        dtype = DTYPES[kind]
    if dtype == x.data.dtype:
        return x
    return call.emit(aten.to.dtype, x, dtype)
