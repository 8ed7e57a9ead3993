"""Normalisations."""

from __future__ import annotations

import torch

from equiaudit.repair.onnx.call import Call
from equiaudit.repair.onnx.ops.registry import op
from equiaudit.repair.onnx.values import Untranslated, Value

aten = torch.ops.aten

_LRN_CHANNELS = 4096


@op("BatchNormalization")
def batch_norm(call: Call) -> Value:
    """With the statistics in the file."""
    call.ignore("momentum")
    call.require("spatial", 1)
    call.require("training_mode", 0)
    x, weight, bias, mean, var = (call.input(i) for i in range(5))
    epsilon = call.attr("epsilon", 1e-5)
    return call.emit(
        aten.batch_norm.default, x, weight, bias, mean, var, False, 0.1, epsilon, False
    )


@op("InstanceNormalization")
def instance_norm(call: Call) -> Value:
    """With the statistics of each channel of each image."""
    x, weight, bias = (call.input(i) for i in range(3))
    epsilon = call.attr("epsilon", 1e-5)
    return call.emit(
        aten.instance_norm.default, x, weight, bias, None, None, True, 0.1, epsilon, False
    )


@op("GroupNormalization")
def group_norm(call: Call) -> Value:
    """As of opset 21, scale and shift per channel; the one before is no longer valid ONNX."""
    call.require("stash_type", 1)
    x, weight, bias = (call.input(i) for i in range(3))
    groups = call.attr("num_groups")
    if groups is None or call.opset < 21:
        raise Untranslated("its scale is not given per channel")
    epsilon = call.attr("epsilon", 1e-5)
    return call.emit(aten.group_norm.default, x, groups, weight, bias, epsilon, False)


@op("LayerNormalization")
def layer_norm(call: Call) -> Value:
    """Over the last axes; its second and third outputs have no equivalent."""
    call.require("stash_type", 1)
    x = call.input(0)
    axis = call.attr("axis", -1) % x.ndim
    shape = list(x.shape[axis:])
    weight, bias = (
        v if v is None else call.reshape(v, shape) for v in (call.optional(1), call.optional(2))
    )
    epsilon = call.attr("epsilon", 1e-5)
    return call.emit(aten.layer_norm.default, x, shape, weight, bias, epsilon, False)


@op("RMSNormalization")
def rms_norm(call: Call) -> Value:
    """Over the last axes."""
    call.require("stash_type", 1)
    x = call.input(0)
    shape = list(x.shape[call.attr("axis", -1) % x.ndim :])
    weight = call.reshape(call.input(1), shape)
    epsilon = call.attr("epsilon", 1e-5)
    return call.emit(aten.rms_norm.default, x, shape, weight, epsilon)


@op("LRN")
def local_response(call: Call) -> Value:
    """x / (bias + alpha/size * s)^beta; s, the sum of squares of near channels, by a 1x1 conv."""
    x = call.image()
    size, channels = call.attr("size"), x.shape[1]
    alpha, beta = call.attr("alpha", 1e-4), call.attr("beta", 0.75)
    bias = call.attr("bias", 1.0)
    if size is None or channels > _LRN_CHANNELS:
        raise Untranslated(f"its attribute size is missing, or it is over {channels} channels")
    away = torch.arange(channels)[None] - torch.arange(channels)[:, None]
    near = (away >= -((size - 1) // 2)) & (away <= size // 2)
    band = call.constant(near.float().reshape(channels, channels, 1, 1) * (alpha / size), "band")
    squares = call.emit(aten.mul.Tensor, x, x)
    sums = call.emit(aten.conv2d.default, squares, band)
    power = call.emit(aten.pow.Tensor_Scalar, call.emit(aten.add.Tensor, sums, bias), beta)
    return call.emit(aten.div.Tensor, x, power)


@op("LpNormalization")
def lp_norm(call: Call) -> Value:
    """x over its own 1- or 2-norm along one axis."""
    x = call.input(0)
    axis, p = call.attr("axis", -1), call.attr("p", 2)
    norm = call.emit(aten.linalg_vector_norm.default, x, p, [axis], True)
    return call.emit(aten.div.Tensor, x, norm)
