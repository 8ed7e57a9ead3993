"""`canonical` in torch files: the hash that decides ties in a branch, which is rarely taken.

The operators of `canonical_ops` are replaced by plain ones, so that a file needs torch alone:
TorchScript gets an `if`, torch.export a `torch.cond`. Both look at the image on the device it is
on, and wait for what they find.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from equiaudit.graphs.normal_form import single_output_program
from equiaudit.graphs.portable import plain_graph, scriptable
from equiaudit.graphs.routes import export_dynamic, inlined
from equiaudit.repair.canonical.operators import ORIGIN, ROLL, calls
from equiaudit.sampling.canonical import clear_origin, decided_origin
from equiaudit.sampling.wrapping import roll_by
from equiaudit.torch_private import OpOverloadPacket

_BATCH = 7  # unlikely to be the size of another axis


def as_script(module: fx.GraphModule, example: Tensor) -> fx.GraphModule:
    """`scriptable`, with what `canonical` does in operators of torch and an `if`.

    `example` is a batch (N, C, H, W) that `module` takes.
    """
    script = scriptable(_with_plain_rolls(module, example))
    return replaced_calls(script, ORIGIN, lambda node: _ScriptedOrigin(*_parts(node)))


def as_exportable(module: fx.GraphModule, example: Tensor) -> fx.GraphModule:
    """`plain_graph`, with what `canonical` does in operators of torch and a `torch.cond`."""
    plain = plain_graph(_with_plain_rolls(module, example))
    return replaced_calls(plain, ORIGIN, lambda node: _ExportedOrigin(*_parts(node)))


def replaced_calls(
    module: fx.GraphModule,
    operator: OpOverloadPacket,
    make: Callable[[fx.Node], nn.Module],
) -> fx.GraphModule:
    """`module`, where each call of `operator` becomes one of the module that is made for it."""
    found = calls(module, operator)
    for node in found:
        name = f"equiaudit_{node.name}"
        module.add_submodule(name, make(node))
        with module.graph.inserting_before(node):
            twin = module.graph.call_module(name, node.args)
        twin.meta = node.meta
        node.replace_all_uses_with(twin)
        module.graph.erase_node(node)
    if found:
        module.recompile()
    return module


def _with_plain_rolls(module: fx.GraphModule, example: Tensor) -> fx.GraphModule:
    if not calls(module, ROLL):
        return module
    return inlined(replaced_calls(plain_graph(module), ROLL, lambda node: _Roll()), example)


class _Roll(nn.Module):
    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:
        return roll_by(x, offsets)


# The origin


class _Clear(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return clear_origin(x, x.shape[1], (x.shape[2], x.shape[3]))


class _Decided(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return decided_origin(x, x.shape[1], (x.shape[2], x.shape[3]))


def _parts(node: fx.Node) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Graphs of `clear_origin` and `decided_origin` for the images that a node takes."""
    image: Any = node.args[0]
    value = image.meta["val"]
    return _parts_of(torch.zeros(_BATCH, *value.shape[1:], dtype=value.dtype))


def scripted_origin(channels: int, size: tuple[int, int]) -> nn.Module:
    """`canonical_origin` for images of one size, as TorchScript reads it."""
    return _ScriptedOrigin(*_parts_of(torch.zeros(_BATCH, channels, *size)))


def _parts_of(sample: Tensor) -> tuple[fx.GraphModule, fx.GraphModule]:
    clear, decided = (
        single_output_program(export_dynamic(part, sample), every_output=True)
        for part in (_Clear(), _Decided())
    )
    return clear, decided


class _ScriptedOrigin(nn.Module):
    """`canonical_origin` as TorchScript reads it."""

    def __init__(self, clear: fx.GraphModule, decided: fx.GraphModule) -> None:
        super().__init__()
        self.clear = scriptable(clear)
        self.decided = scriptable(decided)

    def forward(self, x: Tensor) -> Tensor:
        point, clear = self.clear(x)
        if bool(torch.all(clear)):
            return point  # type: ignore[no-any-return]
        return torch.where(clear.unsqueeze(1), point, self.decided(x))


class _ExportedOrigin(nn.Module):
    """`canonical_origin` as torch.export reads it."""

    def __init__(self, clear: fx.GraphModule, decided: fx.GraphModule) -> None:
        super().__init__()
        self.clear = plain_graph(clear)
        self.as_found = _AsFound()
        self.by_every_bit = _ByEveryBit(plain_graph(decided))

    def forward(self, x: Tensor) -> Tensor:
        x = x.detach()
        point, clear = self.clear(x)
        # The operator behind torch.cond, which would have dynamo read both branches first, at
        # twice the time of the whole export.
        operands = (x, point, clear)
        found = torch.ops.higher_order.cond(
            torch.all(clear), self.as_found, self.by_every_bit, operands
        )
        origin: Tensor = found[0]
        return origin


class _AsFound(nn.Module):
    def forward(self, x: Tensor, point: Tensor, clear: Tensor) -> tuple[Tensor]:
        return (point.clone(),)  # what a branch returns may not be what it was given


class _ByEveryBit(nn.Module):
    def __init__(self, decided: fx.GraphModule) -> None:
        super().__init__()
        self.decided = decided

    def forward(self, x: Tensor, point: Tensor, clear: Tensor) -> tuple[Tensor]:
        return (torch.where(clear.unsqueeze(1), point, self.decided(x)),)
