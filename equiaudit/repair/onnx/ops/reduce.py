"""Reductions."""

from __future__ import annotations

from collections.abc import Callable

import torch

from equiaudit.repair.onnx.call import Call
from equiaudit.repair.onnx.ops.registry import op
from equiaudit.repair.onnx.values import Untranslated, Value

aten = torch.ops.aten

_Reduction = Callable[[Call, Value, list[int], bool], Value]

_PLAIN = {
    "ReduceMean": aten.mean.dim,
    "ReduceSum": aten.sum.dim_IntList,
    "ReduceMax": aten.amax.default,
    "ReduceMin": aten.amin.default,
    "ReduceLogSumExp": aten.logsumexp.default,
}
_SINCE = {"ReduceSum": 13}
"""The opset that made `axes` an input; 18 for the rest."""


@op(*_PLAIN, "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceProd")
def reduction(call: Call) -> Value:
    """Over the named axes, or all."""
    x = call.input(0)
    keep = bool(call.attr("keepdims", 1))
    axes = call.axes(_SINCE.get(call.op, 18))
    noop = call.attr("noop_with_empty_axes", 0)
    if noop and not axes:
        return x
    dims = [a % x.ndim for a in axes] if axes else list(range(x.ndim))
    if call.op == "ReduceProd":
        return _product(call, x, dims, keep)
    if call.op == "ReduceL1":
        x = call.emit(aten.abs.default, x)
    if call.op in ("ReduceL2", "ReduceSumSquare"):
        x = call.emit(aten.mul.Tensor, x, x)
    result = call.emit(_PLAIN.get(call.op, aten.sum.dim_IntList), x, dims, keep)
    if not x.is_float and result.data.dtype != x.data.dtype:
        result = call.emit(aten.to.dtype, result, x.data.dtype)
    if call.op == "ReduceL2":
        return call.emit(aten.sqrt.default, result)
    return result


def _product(call: Call, x: Value, dims: list[int], keep: bool) -> Value:
    for dim in sorted(dims, reverse=True):
        x = call.emit(aten.prod.dim_int, x, dim, keep)
    return x


@op("ArgMax", "ArgMin")
def arg_extremum(call: Call) -> Value:
    """The first index of the extremum."""
    call.require("select_last_index", 0)
    x = call.input(0)
    target = aten.argmax.default if call.op == "ArgMax" else aten.argmin.default
    axis, keep = call.attr("axis", 0), bool(call.attr("keepdims", 1))
    return call.emit(target, x, axis % x.ndim, keep)


@op("CumSum")
def cumsum(call: Call) -> Value:
    """Along one axis, forwards."""
    call.require("exclusive", 0)
    call.require("reverse", 0)
    axis = call.ints(call.input(1), "axis") or []
    if len(axis) != 1:
        raise Untranslated("it has no single axis")
    x = call.input(0)
    return call.emit(aten.cumsum.default, x, axis[0], dtype=x.data.dtype)
