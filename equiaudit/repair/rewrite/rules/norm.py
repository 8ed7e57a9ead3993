"""Normalisations: over channels they stay, over the image they are summed without an order."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.fx as fx

from equiaudit.graphs.nodes import shape_of, short_name
from equiaudit.repair.rewrite.builder import Builder
from equiaudit.repair.rewrite.plan import Refuse, State, Step
from equiaudit.repair.rewrite.rules.passing import back_to, to_double, verbatim
from equiaudit.repair.rewrite.rules.registry import Call, rule
from equiaudit.repair.rewrite.twins import twin
from equiaudit.sampling.narrow import narrow_mean
from equiaudit.sampling.order_free import order_free_softmax

__all__ = ["softmax_over"]

_EVAL = "call model.eval() before saving it"


@rule(["batch_norm", "_native_batch_norm_legit_no_training", "native_batch_norm"])
def batch_norm(call: Call) -> Step:
    """A fixed scale and shift per channel."""
    args = call.args
    grid = call.grid(args["input"])
    if args.get("training") and not _comes_from_the_image(args["input"]):
        return verbatim(call, (grid,) * 3 if isinstance(call.node.meta["val"], tuple) else grid)
    if args.get("training"):
        raise Refuse("batch normalisation in training mode uses statistics of the batch", _EVAL)
    if 1 - len(shape_of(args["input"])) in grid.dims:
        raise Refuse("a batch norm with a weight per position of the image")
    out = grid if short_name(call.node) == "batch_norm" else (grid, None, None)
    return verbatim(call, out)


def _comes_from_the_image(node: fx.Node) -> bool:
    """Whether an input of the net is among what a value was made of; weights may be normalised."""
    seen, waiting = {node}, [node]
    while waiting:
        fresh = {source for source in waiting.pop().all_input_nodes if source not in seen}
        seen |= fresh
        waiting += fresh
    return any(source.op == "placeholder" for source in seen)


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
    """Over channels: in float64, rounded once, as vector and scalar code differ in a bit.

    Over positions: the sum in it has no order.
    """
    x = call.args["self"]
    grid, ndim = call.grid(x), len(shape_of(x))
    if not grid.present:
        return verbatim(call)
    dim = (call.args["dim"] % ndim) - ndim
    if dim in grid.shared:
        raise Refuse("a softmax over positions and other axes at once")
    if dim in grid.dims:
        return softmax_over(call, x, dim, grid.settled())

    def emit(b: Builder, node: fx.Node) -> Any:
        old = b.value(x)
        wide = b.call(to_double, old)
        y = b.aten(node.target, wide, *b.mapped(node.args[1:]))
        return b.call(back_to, y, old)

    return Step(grid, emit)


def softmax_over(call: Call, x: fx.Node, dim: int, out: State) -> Step:
    """A softmax over a dimension that holds positions."""
    if "log" in short_name(call.node):
        raise Refuse("a log softmax over positions")

    def emit(b: Builder, node: fx.Node) -> Any:
        return b.call(order_free_softmax, b.settle(x, call.grid(x)), [dim])

    return Step(out, emit, call.plan("sums in an order that depends on position"))


@rule(["group_norm", "instance_norm"])
def group_norm(call: Call) -> Step:
    """Mean and variance of each group over the image, summed in float64."""
    args, x = call.args, call.args["input"]
    if not call.grid(x).present:
        return verbatim(call)
    grid, ndim = call.grid(x), len(shape_of(x))
    if grid.shared or {-ndim, 1 - ndim} & {*grid.dims}:
        raise Refuse("a norm of groups of channels over a tensor without a channel axis at 1")
    if args.get("use_input_stats") is False:
        return verbatim(call, grid)
    shape = tuple(grid.circled(shape_of(x))[1:])
    groups = args.get("num_groups") or shape[0]

    def emit(b: Builder, node: fx.Node) -> Any:
        value = b.settle(x, grid)
        weight, bias = b.mapped(args["weight"]), b.mapped(args["bias"])
        return b.call(_normalised, value, groups, shape, weight, bias, args["eps"])

    return Step(grid.settled(), emit, call.plan("sums in an order that depends on position"))


def _normalised(
    x: Any, groups: int, shape: tuple[int, ...], weight: Any, bias: Any, eps: float
) -> Any:
    count = math.prod(shape) // groups
    wide = x.double().reshape(-1, groups, count)
    centred = wide - torch.sum(wide, [2], keepdim=True) / count
    variance = torch.sum(centred * centred, [2], keepdim=True) / count
    return _scaled(centred / torch.sqrt(variance + eps), shape, weight, bias).type_as(x)


@twin(_normalised)
def _narrow_normalised(
    x: Any, groups: int, shape: tuple[int, ...], weight: Any, bias: Any, eps: float
) -> Any:
    count = math.prod(shape) // groups
    flat = x.reshape(-1, groups, count)
    centred = flat - narrow_mean(flat, [2], count, True)
    variance = narrow_mean(centred * centred, [2], count, True)
    return _scaled(centred / torch.sqrt(variance + eps), shape, weight, bias)


def _scaled(y: Any, shape: tuple[int, ...], weight: Any, bias: Any) -> Any:
    y = y.reshape(-1, *shape)
    ones = [1] * (len(shape) - 1)
    if weight is not None:
        y = y * weight.reshape(-1, *ones)
    if bias is not None:
        y = y + bias.reshape(-1, *ones)
    return y
