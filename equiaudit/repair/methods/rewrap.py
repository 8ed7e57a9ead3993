"""A graph with something around it, as one graph again."""

from __future__ import annotations

import torch
from torch import fx, nn

from equiaudit.errors import NothingToDo
from equiaudit.models.types import Preprocess
from equiaudit.repair.capture import capture
from equiaudit.repair.methods.base import Net

__all__ = ["graph_inside", "recaptured"]


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
            channels=1 if how.channels == "gray" else 3,
            dtype=getattr(torch, how.dtype),
        ).graph_module
    except NothingToDo as failure:
        why = failure.message.partition("(torch.export: ")[2].rstrip(").") or failure.message
        raise NothingToDo(f"{method} cannot be put around this model: {why}.") from failure
