"""One named set of shifts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from equiaudit.kinds import KINDS, Kind, SubPixel


@dataclass(frozen=True)
class Series:
    """What moves, and how far.

    `count` offsets are drawn per image, or all where it is None. `pair` draws two
    independent offsets, (0, 0) and repeats allowed, as the published protocols do.
    """

    name: str
    kind: str
    low: int
    high: int
    count: int | None
    pair: bool = False
    parts: int = 1
    """Offsets are multiples of 1 / parts px."""
    resampler: str | None = None
    """How values between pixels are found, of a kind that leaves it open."""
    given: tuple[tuple[int, int], ...] | None = None
    """The offsets of every image, in steps of 1 / parts px, in place of drawn ones."""
    meaning: str = ""
    """What a published protocol does here."""
    measures: tuple[str, ...] = ()
    """Metrics of that protocol alone."""

    @property
    def moves(self) -> Kind:
        """How its pixels move."""
        kind = KINDS[self.kind]
        if self.resampler is not None and isinstance(kind, SubPixel):
            return kind.by(self.resampler)
        return kind

    @property
    def reach(self) -> int:
        """How far a canvas reaches beyond the window, px."""
        return max(-self.low, self.high)

    @property
    def margin(self) -> int:
        """Real pixels needed beyond the window, px; 0 where none enter."""
        return self.reach if self.moves.real else 0

    @property
    def steps(self) -> dict[str, Any]:
        """Of fractions, how fine they are and how values between pixels are found."""
        kind = self.moves
        if not kind.fractional:
            return {}
        resampler = {"resampler": kind.resampler} if isinstance(kind, SubPixel) else {}
        return {"fraction": self.parts} | resampler
