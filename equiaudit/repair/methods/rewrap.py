"""A graph with something around it, as one graph again."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

from equiaudit.errors import NothingToDo
from equiaudit.graphs.capture import capture
from equiaudit.graphs.outputs import graph_outputs
from equiaudit.models.types import Layout, Preprocess
from equiaudit.repair.save.net import Net
from equiaudit.repair.verify.compare import channels_first


def graph_inside(net: Net) -> fx.GraphModule:
    """The graph of a net that has one; NothingToDo for another."""
    if net.graph is None:
        raise NothingToDo("This model runs outside torch, and has no torch graph to wrap.")
    return net.graph


def recaptured(module: nn.Module, how: Preprocess, method: str) -> fx.GraphModule:
    """`module`, made of a graph that is known to export, as one graph.

    Raises NothingToDo where its outputs are not what `method` can deal with.
    """
    try:
        return capture(
            module,
            size=how.size,
            channels=how.planes,
            dtype=how.tensor_dtype,
        ).graph_module
    except NothingToDo as failure:
        why = failure.message.partition("(torch.export: ")[2].rstrip(").") or failure.message
        raise NothingToDo(f"{method} cannot be put around this model: {why}.") from failure


def with_all_outputs(module: nn.Module, how: Preprocess) -> fx.GraphModule:
    """`module` as a graph with all its outputs."""
    found = capture(
        module, size=how.size, channels=how.planes, dtype=how.tensor_dtype, every_output=True
    )
    return found.graph_module


class _Rearranged(nn.Module):
    """`module`, whose outputs, one or a tuple of them, are each changed."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> Any:
        """The outputs."""
        returned = self.module(x)
        if isinstance(returned, tuple | list):
            return tuple(self.changed(output) for output in returned)
        return self.changed(returned)

    def changed(self, output: torch.Tensor) -> torch.Tensor:
        """One of them."""
        raise NotImplementedError


class _ChannelsFirst(_Rearranged):
    def __init__(self, module: nn.Module, layout: Layout) -> None:
        super().__init__(module)
        self.layout: Layout = layout

    def changed(self, output: torch.Tensor) -> torch.Tensor:
        return channels_first(output, self.layout)


class _ChannelsLast(_Rearranged):
    def changed(self, output: torch.Tensor) -> torch.Tensor:
        return output.permute(0, 2, 3, 1).contiguous()


class _WithoutChannels(_Rearranged):
    def changed(self, output: torch.Tensor) -> torch.Tensor:
        return output.squeeze(1)


def with_channels_first(module: fx.GraphModule, layout: Layout) -> nn.Module:
    """`module` with its maps as (N, C, h, w)."""
    return _ChannelsFirst(module, layout) if layout == "NHWC" or _is_flat(module) else module


def of_layout(module: nn.Module, inside: fx.GraphModule, layout: Layout) -> nn.Module:
    """`module`, made around `with_channels_first(inside)`, with its maps as `inside` has them."""
    if _is_flat(inside):
        return _WithoutChannels(module)
    return _ChannelsLast(module) if layout == "NHWC" else module


def _is_flat(module: fx.GraphModule) -> bool:
    """Whether the first output has three axes, as maps without channels do."""
    value = graph_outputs(module)[0].meta.get("val")
    return isinstance(value, torch.Tensor) and value.dim() == 3
