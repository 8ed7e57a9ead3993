"""canonical: the unmodified net behind a roll of its input to a position found in the image."""

from __future__ import annotations

from dataclasses import dataclass, replace

from equiaudit.repair.methods.base import Converted, FixOptions, Misfit
from equiaudit.repair.methods.checks import Circular
from equiaudit.repair.methods.rewrap import graph_inside, recaptured
from equiaudit.repair.methods.subject import Subject
from equiaudit.results.repair import Claim
from equiaudit.sampling.canonical import Canonical

__all__ = ["CanonicalInput"]


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
        wrapped = Canonical(graph_inside(inner.net), dense=subject.dense)
        net = subject.net(recaptured(wrapped, how, self.name))
        return replace(inner, net=net, check=Circular(how.size, subject.dense, borders=True))
