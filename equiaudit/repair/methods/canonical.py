"""canonical: the unmodified net behind a roll of its input to a position found in the image."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import fx, nn

from equiaudit.models.types import Preprocess
from equiaudit.repair.capture import capture
from equiaudit.repair.methods.base import Converted, FixOptions, Misfit
from equiaudit.repair.methods.checks import Circular
from equiaudit.repair.methods.subject import Subject
from equiaudit.results.repair import Claim
from equiaudit.sampling.canonical import Canonical

__all__ = ["CanonicalInput", "graph_inside", "recaptured"]


@dataclass(frozen=True)
class CanonicalInput:
    """Exact for any net, as it sees the same bits for every circular shift of an image."""

    name: str = "canonical"
    understands: frozenset[str] = frozenset()

    def claim(self, options: FixOptions) -> Claim:
        """Exact, whatever is inside."""
        return Claim(
            exact=True,
            shifts="circular",
            condition="on every circular shift by whole pixels",
            training="none",
        )

    def misfit(self, subject: Subject, options: FixOptions) -> Misfit | None:
        """A model without a torch graph cannot be wrapped as one."""
        _ = subject.captured  # raises where there is none
        return None

    def around(self, inner: Converted, subject: Subject, options: FixOptions) -> Converted:
        """The net behind the roll, as one graph again."""
        how = inner.preprocess
        wrapped = Canonical(graph_inside(inner), dense=subject.dense)
        net = subject.net(recaptured(wrapped, how))
        return replace(inner, net=net, check=Circular(how.size, subject.dense))


def graph_inside(inner: Converted) -> fx.GraphModule:
    """The graph of a conversion that is known to have one."""
    if inner.net.graph is None:
        raise TypeError("this net has no torch graph to put something around")
    return inner.net.graph


def recaptured(module: nn.Module, how: Preprocess) -> fx.GraphModule:
    """A module around a graph, as one graph."""
    return capture(
        module,
        size=how.size,
        channels=1 if how.channels == "gray" else 3,
        dtype=getattr(torch, how.dtype),
    ).graph_module
