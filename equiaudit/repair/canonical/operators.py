"""The two steps of `canonical` as single operators of a graph, until it is written to a file.

A recorded graph of plain operators has no branches, so it would hash every image although few
need it, and rolling is cheaper in ONNX by other means than in torch. As operators both stay
what they are: run from Python they do what the functions of `equiaudit.sampling` do, and each
kind of file gets the form that is cheapest there (see `canonical_written`).
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, fx

from equiaudit.sampling.canonical import Canonical, CanonicalPosition, canonical_origin
from equiaudit.sampling.positions import CanonicalOutputs
from equiaudit.sampling.wrapping import roll_by
from equiaudit.torch_private import OpOverloadPacket

Wrapped = TypeVar("Wrapped", Canonical, CanonicalOutputs)


@torch.library.custom_op("equiaudit::canonical_origin", mutates_args=())
def _origin(x: Tensor) -> Tensor:
    return canonical_origin(x, x.shape[1], (x.shape[2], x.shape[3]))


@_origin.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty((x.shape[0], 2), dtype=torch.int64)


@torch.library.custom_op("equiaudit::roll_by", mutates_args=())
def _roll(x: Tensor, offsets: Tensor) -> Tensor:
    return roll_by(x, offsets)


@_roll.register_fake
def _(x: Tensor, offsets: Tensor) -> Tensor:
    return torch.empty_like(x)


ORIGIN = torch.ops.equiaudit.canonical_origin
"""x (B, C, H, W) -> `canonical_origin` (B, 2), int64."""
ROLL = torch.ops.equiaudit.roll_by
"""x (B, C, H, W), offsets (B, 2) int64 -> `roll_by`. No gradient flows."""


class _Position(CanonicalPosition):
    def forward(self, x: Tensor) -> Tensor:
        origin: Tensor = ORIGIN(x.detach())
        return origin


def with_operators(wrapper: Wrapped) -> Wrapped:
    """`wrapper`, changed in place so that a graph recorded of it calls `ORIGIN` and `ROLL`."""
    wrapper.position = _Position()
    wrapper.roll = ROLL
    return wrapper


def calls(module: fx.GraphModule, operator: OpOverloadPacket) -> list[fx.Node]:
    """The nodes of a graph that call an operator, with or without its overload."""
    targets = (operator, operator.default)
    return [node for node in module.graph.nodes if node.target in targets]
