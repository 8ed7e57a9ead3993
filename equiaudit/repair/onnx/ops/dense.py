"""Matrix products."""

from __future__ import annotations

import torch

from equiaudit.repair.onnx.call import Call
from equiaudit.repair.onnx.ops.registry import op
from equiaudit.repair.onnx.values import Value

aten = torch.ops.aten


@op("MatMul")
def matmul(call: Call) -> Value:
    """By a constant matrix on the right: a linear layer."""
    a, b = call.input(0), call.input(1)
    if b.is_constant and b.ndim == 2 and a.ndim >= 2 and not a.is_constant:
        transposed = call.emit(aten.permute.default, b, [1, 0])
        return call.emit(aten.linear.default, a, transposed)
    return call.emit(aten.matmul.default, a, b)


@op("Gemm")
def gemm(call: Call) -> Value:
    """alpha A B + beta C; the factors go into constants."""
    a, b, c = call.input(0), call.input(1), call.optional(2)
    alpha, beta = call.attr("alpha", 1.0), call.attr("beta", 1.0)
    if call.attr("transA", 0):
        a = call.emit(aten.permute.default, a, [1, 0])
    weight = b if call.attr("transB", 0) else call.emit(aten.permute.default, b, [1, 0])
    weight = _scaled(call, weight, alpha)
    bias = None if c is None else _scaled(call, c, beta)
    if bias is None or _is_bias(bias, weight.shape[0]):
        flat = None if bias is None else call.reshape(bias, [weight.shape[0]])
        return call.emit(aten.linear.default, a, weight, flat)
    return call.emit(aten.add.Tensor, call.emit(aten.linear.default, a, weight), bias)


def _scaled(call: Call, value: Value, factor: float) -> Value:
    if factor == 1.0:
        return value
    return call.emit(aten.mul.Tensor, value, factor)


def _is_bias(value: Value, outputs: int) -> bool:
    return value.is_constant and value.shape in ((outputs,), (1, outputs))


@op("Einsum")
def einsum(call: Call) -> Value:
    """As torch has it."""
    values = [call.input(i) for i in range(len(call.inputs))]
    return call.emit(aten.einsum.default, call.attr("equation"), values)
