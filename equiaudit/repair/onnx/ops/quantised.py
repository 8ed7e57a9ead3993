"""Integers with a scale, computed as the floating point numbers that they stand for.

Between `QuantizeLinear` and `DequantizeLinear` a tensor of the file holds integers; here it holds
(q - zero point) * scale, which is the same in another unit: what moves values, or takes their
maximum, does the same to both. Integers up to 2^24 are exact in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch

from equiaudit.repair.onnx.call import Call
from equiaudit.repair.onnx.ops.conv import conv
from equiaudit.repair.onnx.ops.dense import gemm, matmul
from equiaudit.repair.onnx.ops.pool import average_pool, global_average
from equiaudit.repair.onnx.ops.registry import Translation, contrib, op
from equiaudit.repair.onnx.values import Untranslated, Value

aten = torch.ops.aten

LIMITS = {
    torch.uint8: (0, 255),
    torch.int8: (-128, 127),
    torch.uint16: (0, 65535),
    torch.int16: (-32768, 32767),
}
"""The integers of each type."""


@contrib("QuantizeLinear")
@op("QuantizeLinear")
def quantize(call: Call) -> Value:
    """By one scale, or one per channel."""
    call.ignore("saturate", "precision")
    call.require("block_size", 0)
    call.require("output_dtype", 0)
    axis = call.attr("axis", 1)
    return _rounded(call, call.input(0), call.input(1), call.optional(2), axis)


@contrib("DequantizeLinear")
@op("DequantizeLinear")
def dequantize(call: Call) -> Value:
    """Of stored integers, their values; what was computed is held as values already."""
    call.require("block_size", 0)
    call.ignore("output_dtype")
    return _values(call, call.attr("axis", 1), 0)


@op("DynamicQuantizeLinear", "ConvInteger", "MatMulInteger")
def dynamic(call: Call) -> Value:
    """Not image by image."""
    raise Untranslated(
        "its scale is that of the largest value in the whole batch, so that each image depends"
        " on those beside it; quantise it statically"
    )


@op("QLinearConv")
def conv_quantised(call: Call) -> Value:
    """x, scale, zero, w, scale, zero, y scale, y zero, bias of scale x * w."""
    x, weight = _values(call, 1, 0), _values(call, 0, 3)
    bias = call.optional(8)
    if bias is not None:
        scale = call.emit(aten.mul.Tensor, call.input(4), call.input(1))
        bias = _scaled(call, bias, scale, None, 0)
    return _result(call, _as(conv, call, "Conv", x, weight, bias), 6)


@op("QLinearMatMul")
def matmul_quantised(call: Call) -> Value:
    """a, scale, zero, b, scale, zero, y scale, y zero."""
    a, b = _values(call, 1, 0), _values(call, 1, 3)
    return _result(call, _as(matmul, call, "MatMul", a, b), 6)


@contrib("QGemm")
def gemm_quantised(call: Call) -> Value:
    """a, scale, zero, b, scale, zero, c of scale a * b, y scale, y zero; float without these."""
    a, b = _values(call, 1, 0), _values(call, 0 if call.attr("transB", 0) else 1, 3)
    c = call.optional(6)
    if c is not None:
        scale = call.emit(aten.mul.Tensor, call.input(4), call.input(1))
        c = _scaled(call, c, scale, None, 0)
    y = _as(gemm, call, "Gemm", a, b, c)
    return y if call.optional(7) is None else _result(call, y, 7)


@contrib("QLinearAdd", "QLinearMul")
def arithmetic(call: Call) -> Value:
    """a, scale, zero, b, scale, zero, y scale, y zero."""
    target = aten.add.Tensor if call.op == "QLinearAdd" else aten.mul.Tensor
    return _result(call, call.emit(target, _values(call, 1, 0), _values(call, 1, 3)), 6)


@contrib("QLinearGlobalAveragePool", "QLinearAveragePool")
def pools(call: Call) -> Value:
    """x, scale, zero, y scale, y zero."""
    call.require("channels_last", 0)
    whole = call.op == "QLinearGlobalAveragePool"
    kind, translate = ("GlobalAveragePool", global_average) if whole else (
        "AveragePool", average_pool)  # fmt: skip
    return _result(call, _as(translate, call, kind, _values(call, 1, 0)), 3)


@contrib("QLinearSigmoid", "QLinearLeakyRelu")
def activations(call: Call) -> Value:
    """x, scale, zero, y scale, y zero."""
    x = _values(call, 1, 0)
    if call.op == "QLinearSigmoid":
        return _result(call, call.emit(aten.sigmoid.default, x), 3)
    return _result(call, call.emit(aten.leaky_relu.default, x, call.attr("alpha", 0.01)), 3)


@contrib("QLinearConcat")
def concat(call: Call) -> Value:
    """y scale, y zero, then value, scale, zero of each part."""
    parts = [_values(call, 1, i) for i in range(2, len(call.inputs), 3)]
    joined = call.emit(aten.cat.default, parts, call.attr("axis"))
    return _result(call, joined, 0)


def _as(translation: Translation, call: Call, op: str, *inputs: Value | None) -> Value:
    """The node as another operator, of one result."""
    return cast(Value, translation(call.like(op, inputs)))


def _values(call: Call, axis: int, place: int) -> Value:
    """What the integers of input `place` stand for; its scale and zero point follow it."""
    q = call.input(place)
    if q.is_float:
        return q
    if not q.is_constant:
        raise Untranslated("it takes integers that were not quantised before it")
    return _scaled(call, q, call.input(place + 1), call.optional(place + 2), axis)


def _scaled(call: Call, q: Value, scale: Value, zero: Value | None, axis: int) -> Value:
    """(q - zero) * scale, where the three are constants."""
    _refuse_computed(scale, zero)
    wide = call.emit(aten.to.dtype, q, torch.float32)
    if zero is not None:
        zero = call.emit(aten.to.dtype, zero, torch.float32)
        wide = call.emit(aten.sub.Tensor, wide, _along(call, zero, q.ndim, axis))
    return call.emit(aten.mul.Tensor, wide, _along(call, scale, q.ndim, axis))


def _result(call: Call, y: Value, place: int) -> Value:
    """`y` rounded to the scale that is input `place`."""
    return _rounded(call, y, call.input(place), call.optional(place + 1), 1)


def _rounded(call: Call, x: Value, scale: Value, zero: Value | None, axis: int) -> Value:
    """The value nearest to x that the integers have; halves go to even ones, as ONNX says."""
    _refuse_computed(scale, zero)
    dtype = torch.uint8 if zero is None else zero.data.dtype
    if dtype not in LIMITS:
        raise Untranslated(f"it rounds to {dtype}")
    offset = torch.zeros(1) if zero is None else zero.data.float()
    if scale.data.numel() != 1 or offset.numel() != 1:
        return _rounded_by_channel(call, x, scale, offset, LIMITS[dtype], axis)
    step, zero_point = float(scale.data.reshape(())), float(offset.reshape(()))
    y = call.emit(aten.round.default, call.emit(aten.div.Tensor, x, step))
    low, high = LIMITS[dtype]
    return call.emit(
        aten.mul.Tensor, call.emit(aten.clamp.default, y, low - zero_point, high - zero_point), step
    )


def _rounded_by_channel(
    call: Call,
    x: Value,
    scale: Value,
    offset: torch.Tensor,
    limits: Sequence[int],
    axis: int,
) -> Value:
    steps = _along(call, scale, x.ndim, axis)
    low, high = (_along(call, call.constant(limit - offset), x.ndim, axis) for limit in limits)
    y = call.emit(aten.round.default, call.emit(aten.div.Tensor, x, steps))
    return call.emit(aten.mul.Tensor, call.emit(aten.clamp.Tensor, y, low, high), steps)


def _along(call: Call, value: Value, ndim: int, axis: int) -> Value:
    """One element for all, or a vector laid along `axis`."""
    if value.data.numel() == 1:
        return call.reshape(value, [])
    if value.ndim != 1:
        raise Untranslated(f"its scales have {value.ndim} axes")
    shape = [1] * ndim
    shape[axis % ndim] = -1
    return call.emit(aten.reshape.default, value, shape)


def _refuse_computed(*values: Value | None) -> None:
    if any(value is not None and not value.is_constant for value in values):
        raise Untranslated("its scale is computed from the image")
