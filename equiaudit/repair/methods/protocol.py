"""What a method of `fix` is: two small protocols."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from equiaudit.repair.methods.converted import Converted
from equiaudit.repair.methods.subject import Subject
from equiaudit.repair.options import FixOptions
from equiaudit.repair.outputs.roles import Misfit
from equiaudit.results.repair import Claim


@runtime_checkable
class Method(Protocol):
    """A conversion of a net."""

    @property
    def name(self) -> str:
        """As in `--method`."""
        ...

    @property
    def understands(self) -> frozenset[str]:
        """The fields of `FixOptions` that it reads."""
        ...

    @property
    def trainable(self) -> bool:
        """Whether weights or statistics may be adjusted after it."""
        ...

    def claim(self, options: FixOptions) -> Claim:
        """Whether it is exact, under which condition, and what training it needs."""
        ...

    def misfit(self, subject: Subject, options: FixOptions) -> Misfit | None:
        """Why it does not fit this model, None where it does."""
        ...

    def convert(self, subject: Subject, options: FixOptions) -> Converted:
        """The converted net; only called where `misfit` is None."""
        ...


@runtime_checkable
class Wrapper(Protocol):
    """Something put around any net, converted or not, which leaves its ops as they are."""

    @property
    def name(self) -> str:
        """As in `--method`."""
        ...

    @property
    def understands(self) -> frozenset[str]:
        """The fields of `FixOptions` that it reads."""
        ...

    def claim(self, options: FixOptions) -> Claim:
        """Whether it is exact, under which condition; it holds whatever is inside."""
        ...

    def misfit(self, subject: Subject, options: FixOptions) -> Misfit | None:
        """Why it does not fit this model, None where it does."""
        ...

    def around(self, inner: Converted, subject: Subject, options: FixOptions) -> Converted:
        """`inner` with this around it; only called where `misfit` is None."""
        ...
