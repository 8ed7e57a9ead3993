"""What changes an output: sampling, padding, content or the black border.

The same images meet the same offsets under all three kinds, so each difference between
kinds has one cause. In a black box, sampling is told from padding by circular shifts that
are multiples of the total stride: they leave every sampling grid where it was, so only
padding can answer to them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiaudit.results import BoundaryPart, Estimate
from equiaudit.shifts import ShiftPlan

__all__ = ["Changes", "boundary_parts"]

Floats = NDArray[np.float64]

_MEANINGS = {
    "sampling": "under circular shifts, less those under shifts by multiples of the total stride",
    "padding": "under circular shifts by multiples of the total stride",
    "sampling + padding": "under circular shifts",
    "content": "under crop shifts, less those under circular shifts",
    "black border": "under zero-pad shifts, less those under crop shifts",
}
_NEEDS = {
    "content": ("circular", "crop"),
    "black border": ("crop", "zero-pad"),
}


@dataclass(frozen=True)
class Changes:
    """How much each image changes, mean over its shifts; images whose outputs are all finite."""

    subject: str
    """In the plural, as in "label changes under circular shifts"."""
    by_kind: Mapping[str, Floats]
    """(n,) per shift kind."""
    aligned: Floats | None
    """(n,) under circular shifts by multiples of the total stride, where they were run."""
    mean: Callable[[Floats], Estimate]
    difference: Callable[[Floats, Floats], Estimate]
    """(a, b) -> the mean of b - a with its interval."""


def boundary_parts(plan: ShiftPlan, changes: Changes) -> tuple[BoundaryPart, ...]:
    """The parts that the kinds of this plan allow; empty for a named protocol."""
    if plan.protocol is not None:
        return ()
    return (
        *_within_circular(changes),
        _between("content", changes),
        _between("black border", changes),
    )


def _within_circular(changes: Changes) -> tuple[BoundaryPart, ...]:
    if "circular" not in changes.by_kind:
        reason = "needs circular shifts"
        return tuple(_part(name, changes, reason=reason) for name in ("sampling", "padding"))
    circular = changes.by_kind["circular"]
    if changes.aligned is None:
        reason = "the total stride is not known (--stride), so they cannot be told apart"
        return (_part("sampling + padding", changes, changes.mean(circular), reason),)
    return (
        _part("sampling", changes, changes.difference(changes.aligned, circular)),
        _part("padding", changes, changes.mean(changes.aligned)),
    )


def _between(name: str, changes: Changes) -> BoundaryPart:
    less, more = _NEEDS[name]
    if less not in changes.by_kind or more not in changes.by_kind:
        return _part(name, changes, reason=f"needs {less} and {more} shifts")
    return _part(name, changes, changes.difference(changes.by_kind[less], changes.by_kind[more]))


def _part(
    name: str, changes: Changes, estimate: Estimate | None = None, reason: str | None = None
) -> BoundaryPart:
    meaning = f"{changes.subject} {_MEANINGS[name]}"
    return BoundaryPart(name=name, meaning=meaning, estimate=estimate, reason=reason)
