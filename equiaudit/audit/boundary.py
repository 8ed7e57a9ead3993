"""What changes the label: sampling, padding, content or the black border.

The same images meet the same offsets under all three kinds, so each difference between
kinds has one cause. In a black box, sampling is told from padding by circular shifts that
are multiples of the total stride: they leave every sampling grid where it was, so only
padding can answer to them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from equiaudit.audit.records import NONFINITE, ImageRecord
from equiaudit.metrics.intervals import mean_interval
from equiaudit.metrics.paired import paired_difference
from equiaudit.results import BoundaryPart
from equiaudit.shifts import ShiftPlan

__all__ = ["boundary"]

_MEANINGS = {
    "sampling": "label changes under circular shifts, less those under shifts by multiples "
    "of the total stride",
    "padding": "label changes under circular shifts by multiples of the total stride",
    "sampling + padding": "label changes under circular shifts",
    "content": "label changes under crop shifts, less those under circular shifts",
    "black border": "label changes under zero-pad shifts, less those under crop shifts",
}
_NEEDS = {
    "content": ("circular", "crop"),
    "black border": ("crop", "zero-pad"),
}


def boundary(plan: ShiftPlan, records: Sequence[ImageRecord]) -> tuple[BoundaryPart, ...]:
    """The parts that the kinds of this plan allow; empty for a named protocol."""
    if plan.protocol is not None:
        return ()
    finite = [r for r in records if _finite(r)]
    changed = {name: np.array([_changed(r, name) for r in finite]) for name in plan.names}
    return (
        *_within_circular(plan, finite, changed),
        _between("content", changed),
        _between("black border", changed),
    )


def _finite(record: ImageRecord) -> bool:
    seen = [label for s in (record.series or {}).values() for label in s.predicted]
    return NONFINITE not in (record.clean, *seen, *record.aligned)


def _changed(record: ImageRecord, name: str) -> float:
    """Share of the shifts under `name` that change the label of one image."""
    own = (record.series or {})[name].predicted
    return float(np.mean([label != record.clean for label in own]))


def _within_circular(
    plan: ShiftPlan, records: Sequence[ImageRecord], changed: dict[str, NDArray[np.float64]]
) -> tuple[BoundaryPart, ...]:
    if "circular" not in changed:
        return tuple(_missing(name, "needs circular shifts") for name in ("sampling", "padding"))
    if not plan.measures_alignment:
        reason = "the total stride is not known (--stride), so they cannot be told apart"
        whole = mean_interval(changed["circular"])
        name = "sampling + padding"
        return (BoundaryPart(name=name, meaning=_MEANINGS[name], estimate=whole, reason=reason),)
    aligned = np.array([np.mean([a != r.clean for a in r.aligned]) for r in records])
    return (
        BoundaryPart(
            name="sampling",
            meaning=_MEANINGS["sampling"],
            estimate=paired_difference(aligned, changed["circular"]),
        ),
        BoundaryPart(name="padding", meaning=_MEANINGS["padding"], estimate=mean_interval(aligned)),
    )


def _between(name: str, changed: dict[str, NDArray[np.float64]]) -> BoundaryPart:
    less, more = _NEEDS[name]
    if less not in changed or more not in changed:
        return _missing(name, f"needs {less} and {more} shifts")
    estimate = paired_difference(changed[less], changed[more])
    return BoundaryPart(name=name, meaning=_MEANINGS[name], estimate=estimate)


def _missing(name: str, reason: str) -> BoundaryPart:
    return BoundaryPart(name=name, meaning=_MEANINGS[name], reason=reason)
