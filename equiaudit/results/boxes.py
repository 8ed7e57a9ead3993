"""What is found beyond the figures where a model returns boxes. Pictures are `data:` URIs (PNG)."""

from __future__ import annotations

from equiaudit.results.base import Estimate, Frozen


class UnstableBox(Frozen):
    """One box of an unshifted image, and how it fared under one kind of shift."""

    file: str
    label: int
    name: str | None = None
    score: float
    box: tuple[float, float, float, float]
    """x1, y1, x2, y2, px of the unshifted window."""
    kept: int
    """Shifts that keep it ..."""
    compared: int
    """... of those whose borders do not cut it."""
    jitter_max: float | None = None
    """px, of the shifts that keep it; None where none does."""


class JitterPoint(Frozen):
    """The mean jitter at one distance max(|dy|, |dx|), px."""

    distance: int | float
    jitter: Estimate


class JitterMap(Frozen):
    """The mean jitter over (dy, dx), px; None where no box was kept or no offset was tried."""

    rows: tuple[int | float, ...]
    cols: tuple[int | float, ...]
    values: tuple[tuple[float | None, ...], ...]


class BoxShift(Frozen):
    """What one kind of shift does to boxes."""

    objects: tuple[UnstableBox, ...] = ()
    """The least stable first."""
    jitter_by_distance: tuple[JitterPoint, ...] = ()
    jitter_map: JitterMap | None = None
    jitter_phase_map: JitterMap | None = None
    """By (dy mod S, dx mod S); None where the total stride S is unknown."""


class BoxExample(Frozen):
    """One of the least stable images at its worst shift, in pictures of one size."""

    file: str
    kind: str
    offset: tuple[int | float, int | float]
    """The shift (dy, dx)."""
    kept: int
    lost: int
    relabelled: int
    appeared: int
    unshifted: str
    """With its boxes; those that have no partner are marked."""
    shifted: str
    """With its boxes; those that have no partner are marked."""
    both: str
    """The unshifted image with its boxes and those of the shifted one, moved back."""
