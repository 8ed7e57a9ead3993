"""Activations and softmax."""

from __future__ import annotations

import math

import torch

from equiaudit.repair.onnx.call import Call
from equiaudit.repair.onnx.ops.registry import op
from equiaudit.repair.onnx.values import Untranslated, Value

aten = torch.ops.aten

_UNARY = {
    "Abs": aten.abs.default,
    "Ceil": aten.ceil.default,
    "Cos": aten.cos.default,
    "Erf": aten.erf.default,
    "Exp": aten.exp.default,
    "Floor": aten.floor.default,
    "HardSwish": aten.hardswish.default,
    "IsNaN": aten.isnan.default,
    "Log": aten.log.default,
    "Mish": aten.mish.default,
    "Neg": aten.neg.default,
    "Not": aten.logical_not.default,
    "Reciprocal": aten.reciprocal.default,
    "Relu": aten.relu.default,
    "Round": aten.round.default,
    "Sigmoid": aten.sigmoid.default,
    "Sign": aten.sign.default,
    "Sin": aten.sin.default,
    "Softplus": aten.softplus.default,
    "Sqrt": aten.sqrt.default,
    "Tanh": aten.tanh.default,
}


@op(*_UNARY)
def unary(call: Call) -> Value:
    """Position by position, without attributes."""
    return call.emit(_UNARY[call.op], call.input(0))


@op("Softsign")
def softsign(call: Call) -> Value:
    """x / (1 + |x|)."""
    x = call.input(0)
    width = call.emit(aten.add.Tensor, call.emit(aten.abs.default, x), 1.0)
    return call.emit(aten.div.Tensor, x, width)


@op("LeakyRelu")
def leaky_relu(call: Call) -> Value:
    """A slope of `alpha` below zero."""
    slope = call.attr("alpha", 0.01)
    return call.emit(aten.leaky_relu.default, call.input(0), slope)


@op("ThresholdedRelu")
def thresholded_relu(call: Call) -> Value:
    """x where it is above `alpha`, else 0."""
    return call.emit(aten.threshold.default, call.input(0), call.attr("alpha", 1.0), 0.0)


@op("Elu", "Celu")
def elu(call: Call) -> Value:
    """alpha (e^x - 1) below zero; in Celu e^(x/alpha)."""
    alpha = call.attr("alpha", 1.0)
    target = aten.elu.default if call.op == "Elu" else aten.celu.default
    return call.emit(target, call.input(0), alpha)


@op("Selu")
def selu(call: Call) -> Value:
    """gamma (alpha (e^x - 1)) below zero, gamma x above."""
    alpha = call.attr("alpha", 1.67326319217681884765625)
    gamma = call.attr("gamma", 1.05070102214813232421875)
    return call.emit(aten.elu.default, call.input(0), alpha, gamma)


@op("HardSigmoid")
def hard_sigmoid(call: Call) -> Value:
    """alpha x + beta, held between 0 and 1; torch's own is for 1/6 and 1/2."""
    x = call.input(0)
    alpha, beta = call.attr("alpha", 0.2), call.attr("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return call.emit(aten.hardsigmoid.default, x)
    line = call.emit(aten.add.Tensor, call.emit(aten.mul.Tensor, x, alpha), beta)
    return call.emit(aten.clamp.default, line, 0.0, 1.0)


@op("Gelu")
def gelu(call: Call) -> Value:
    """By the error function, or tanh's approximation of it."""
    kind = call.attr("approximate", "none")
    return call.emit(aten.gelu.default, call.input(0), approximate=kind)


@op("PRelu")
def prelu(call: Call) -> Value:
    """A slope for all, per channel, or any that broadcasts."""
    x, slope = call.input(0), call.input(1)
    channels = x.shape[1] if x.ndim > 1 else 1
    if slope.data.numel() == 1 or slope.shape == (channels, *[1] * (x.ndim - 2)):
        flat = call.reshape(slope, [slope.data.numel()])
        return call.emit(aten.prelu.default, x, flat)
    below = call.emit(aten.mul.Tensor, x, slope)
    positive = call.emit(aten.gt.Scalar, x, 0)
    return call.emit(aten.where.self, positive, x, below)


@op("Clip")
def clip(call: Call) -> Value:
    """Bounds are attributes before opset 11, optional inputs since."""
    x = call.input(0)
    if call.opset < 11:
        low, high = call.attr("min"), call.attr("max")
        low, high = (
            (low if low is not None else -math.inf),
            (high if high is not None else math.inf),
        )
    else:
        low, high = (call.number(call.optional(i), "bound") for i in (1, 2))
    bounds = [b if b is None or x.is_float else int(b) for b in (low, high)]
    bounds = [None if b is not None and math.isinf(b) else b for b in bounds]
    if bounds == [None, None]:
        return x
    return call.emit(aten.clamp.default, x, *bounds)


@op("Softmax", "LogSoftmax")
def softmax(call: Call) -> Value:
    """Along one axis; before opset 13 along all axes from there on, as one."""
    x = call.input(0)
    target = aten.softmax.int if call.op == "Softmax" else aten.log_softmax.int
    axis = call.attr("axis", 1 if call.opset < 13 else -1) % x.ndim
    if call.opset >= 13 or math.prod(x.shape[axis + 1 :]) == 1:
        return call.emit(target, x, axis)
    rows = call.reshape(x, [*x.shape[:axis], math.prod(x.shape[axis:])])
    return call.reshape(call.emit(target, rows, axis), x.shape)


@op("Dropout", "Identity")
def same(call: Call) -> Value:
    """Nothing, in eval mode."""
    call.ignore("ratio", "seed", "is_test")
    training = call.optional(2) if call.op == "Dropout" else None
    if training is not None and call.ints(training, "training_mode") != [0]:
        raise Untranslated("it is in training mode")
    return call.input(0)
