"""What changes an output: sampling, padding, content or the black border.

The same images meet the same offsets under all three kinds, so each difference between
kinds has one cause. In a black box, sampling is told from padding by circular shifts that
are multiples of the total stride: they leave every sampling grid where it was, so only
padding can answer to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiaudit.kinds import CIRCULAR, KINDS, Cause, Kind
from equiaudit.results import BoundaryPart, Estimate
from equiaudit.shifts import ShiftPlan

Floats = NDArray[np.float64]

_MEANINGS = {
    "sampling": "under circular shifts, less those under shifts by multiples of the total stride",
    "padding": "under circular shifts by multiples of the total stride",
    "sampling + padding": "under circular shifts",
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
        *(_beyond(kind, kind.cause, changes) for kind in _told(changes) if kind.cause),
    )


def _within_circular(changes: Changes) -> tuple[BoundaryPart, ...]:
    circular = changes.by_kind.get(CIRCULAR.name)
    if circular is None:
        reason = f"needs {CIRCULAR.name} shifts"
        return tuple(_part(name, changes, reason=reason) for name in ("sampling", "padding"))
    if changes.aligned is None:
        reason = "the total stride is not known (--stride), so they cannot be told apart"
        return (_part("sampling + padding", changes, changes.mean(circular), reason),)
    return (
        _part("sampling", changes, changes.difference(changes.aligned, circular)),
        _part("padding", changes, changes.mean(changes.aligned)),
    )


def _told(changes: Changes) -> Iterator[Kind]:
    """The usual kinds, and those that were run."""
    return (k for k in KINDS.values() if k.usual or k.name in changes.by_kind)


def _beyond(kind: Kind, cause: Cause, changes: Changes) -> BoundaryPart:
    """What `kind` changes beyond the kind that its cause is measured against."""
    meaning = f"under {kind.name} shifts, less those under {cause.beyond} shifts"
    less, more = (changes.by_kind.get(name) for name in (cause.beyond, kind.name))
    if less is None or more is None:
        reason = f"needs {cause.beyond} and {kind.name} shifts"
        return _part(cause.name, changes, reason=reason, meaning=meaning)
    return _part(cause.name, changes, changes.difference(less, more), meaning=meaning)


def _part(
    name: str,
    changes: Changes,
    estimate: Estimate | None = None,
    reason: str | None = None,
    meaning: str = "",
) -> BoundaryPart:
    said = f"{changes.subject} {meaning or _MEANINGS[name]}"
    return BoundaryPart(name=name, meaning=said, estimate=estimate, reason=reason)
