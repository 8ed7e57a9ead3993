"""Normalisations: over channels they stay, over the image they are summed without an order."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.fx as fx

from equiaudit.graphs.nodes import shape_of, short_name
from equiaudit.repair.rewrite.builder import Builder
from equiaudit.repair.rewrite.plan import Refuse, Step
from equiaudit.repair.rewrite.rules.passing import back_to, to_double, verbatim
from equiaudit.repair.rewrite.rules.registry import Call, rule

_EVAL = "call model.eval() before saving it"


@rule(["batch_norm", "_native_batch_norm_legit_no_training", "native_batch_norm"])
def batch_norm(call: Call) -> Step:
    """A fixed scale and shift per channel."""
    args = call.args
    grid = call.grid(args["input"])
    if args.get("training"):
        raise Refuse("batch normalisation in training mode uses statistics of the batch", _EVAL)
    out = grid if short_name(call.node) == "batch_norm" else (grid, None, None)
    return verbatim(call, out)


@rule(["layer_norm", "rms_norm"])
def layer_norm(call: Call) -> Step:
    """Over the channels of each position: stays."""
    grid = call.grid(call.args["input"])
    normalised = range(-len(call.args["normalized_shape"]), 0)
    if set(normalised) & set(grid.dims):
        raise Refuse("a layer norm over the image with weights per position")
    return verbatim(call, grid)


@rule(["softmax", "log_softmax", "_softmax", "_log_softmax"])
def softmax(call: Call) -> Step:
    """Over channels: in float64, rounded once, as vector and scalar code differ in a bit."""
    x = call.args["self"]
    grid, dim = call.grid(x), call.args["dim"]
    if not grid.present:
        return verbatim(call)
    if (dim - len(shape_of(x)) if dim >= 0 else dim) in grid.dims:
        raise Refuse("a softmax over positions, as in attention")

    def emit(b: Builder, node: fx.Node) -> Any:
        old = b.value(x)
        wide = b.call(to_double, old)
        y = b.aten(node.target, wide, *b.mapped(node.args[1:]))
        return b.call(back_to, y, old)

    return Step(grid, emit)


@rule(["group_norm", "instance_norm"])
def group_norm(call: Call) -> Step:
    """Mean and variance of each group over the image, summed in float64."""
    args, x = call.args, call.args["input"]
    if not call.grid(x).present:
        return verbatim(call)
    grid = call.map(x)
    if args.get("use_input_stats") is False:
        return verbatim(call, grid)
    channels = shape_of(x)[1]
    groups = args.get("num_groups") or channels

    def emit(b: Builder, node: fx.Node) -> Any:
        value = b.settle(x, grid)
        weight, bias = b.mapped(args["weight"]), b.mapped(args["bias"])
        shape = (channels, *grid.sizes)
        return b.call(_normalised, value, groups, shape, weight, bias, args["eps"])

    return Step(grid.settled(), emit, call.plan("sums in an order that depends on position"))


def _normalised(
    x: Any, groups: int, shape: tuple[int, int, int], weight: Any, bias: Any, eps: float
) -> Any:
    channels, height, width = shape
    count = math.prod(shape) // groups
    wide = x.double().reshape(-1, groups, count)
    centred = wide - torch.sum(wide, [2], keepdim=True) / count
    variance = torch.sum(centred * centred, [2], keepdim=True) / count
    y = (centred / torch.sqrt(variance + eps)).reshape(-1, channels, height, width)
    if weight is not None:
        y = y * weight.reshape(-1, 1, 1)
    if bias is not None:
        y = y + bias.reshape(-1, 1, 1)
    return y.type_as(x)
