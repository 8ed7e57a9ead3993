"""What is kept of one image: what became of its boxes at every shift."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from equiaudit.audit.records import ImageRecord
from equiaudit.tasks.detection.scoring import Scored

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COUNTS = ("counted", "kept", "relabelled", "lost", "apart", "appeared", "found")
"""The columns of `BoxSeries.counts`."""
MOVES = ("jitter", "centre", "size", "share")
"""The columns of `BoxSeries.moves`."""
EACH = ("x1", "y1", "x2", "y2", "score", "label", "kept", "compared", "jitter_max")
"""The columns of `BoxSeries.least`."""
_PACKED = ("counts", "moves", "least")


@dataclass(frozen=True, slots=True)
class BoxSeries:
    """One image under one series of K shifts."""

    counts: bytes
    """int64 (K, 7): at every shift, `COUNTS` of boxes."""
    moves: bytes
    """float64 (kept, 4): of every kept box at every shift, `MOVES`: px, and share of its size."""
    sizes: tuple[tuple[int, int], ...]
    """(kept, counted) of small, medium and large boxes, over all shifts."""
    pairs: tuple[tuple[int, int], ...]
    """(with a partner, all) boxes over random pairs of shifts, at IoU 0.5 and 0.75."""
    wobble: float | None
    """Mean over boxes kept at some shift; None where there are none."""
    finite: bool = True
    mask_iou: float | None = None
    """Mean over kept boxes; None without masks."""
    mask_consistency: float | None = None
    """Mean over IoUs, of objects with a partner by their masks; None without such."""
    alike: float | None = None
    """Mean similarity of the key points of kept boxes; None without such."""
    least: bytes = b""
    """float64 (n, 9): `EACH` of the few boxes of the unshifted image that are least stable."""

    @property
    def unstable(self) -> Floats:
        """(n, 9)"""
        return np.frombuffer(self.least, np.float64).reshape(-1, len(EACH))

    @property
    def jitter_of_shifts(self) -> Floats:
        """(K,) summed jitter of the boxes that each shift keeps, px."""
        ends = np.concatenate([[0.0], np.cumsum(self.moved[:, 0])])
        kept = np.concatenate([[0], np.cumsum(self.by_shift[:, COUNTS.index("kept")])])
        return np.diff(ends[kept])

    @property
    def by_shift(self) -> Ints:
        """(K, 7)"""
        return np.frombuffer(self.counts, np.int64).reshape(-1, len(COUNTS))

    @property
    def moved(self) -> Floats:
        """(kept, 4)"""
        return np.frombuffer(self.moves, np.float64).reshape(-1, len(MOVES))

    def total(self, name: str) -> int:
        """One of `COUNTS`, over all shifts."""
        return int(self.by_shift[:, COUNTS.index(name)].sum())

    @property
    def consistency(self) -> tuple[float | None, float | None]:
        """Share of boxes with a partner over the pairs, at both overlaps; None without boxes."""
        first, second = (kept / boxes if boxes else None for kept, boxes in self.pairs)
        return first, second

    def written(self) -> dict[str, Any]:
        """As JSON holds it."""
        packed = {n: base64.b64encode(getattr(self, n)).decode() for n in _PACKED}
        return asdict(self) | packed

    @classmethod
    def read(cls, data: dict[str, Any]) -> Self:
        """The inverse; ValueError, TypeError or KeyError for what is damaged."""
        packed = {n: base64.b64decode(data[n], validate=True) for n in _PACKED}
        sizes, pairs = (tuple((int(a), int(b)) for a, b in data[n]) for n in ("sizes", "pairs"))
        return cls(**(data | packed | {"sizes": sizes, "pairs": pairs}))


@dataclass(frozen=True, slots=True)
class BoxRecord(ImageRecord):
    """One image: its unshifted boxes in figures, and every series; or why it has none."""

    boxes: int = 0
    """Of the unshifted image."""
    inverted: int = 0
    """Boxes with x2 < x1 or y2 < y1, at all shifts."""
    outside: int = 0
    """Boxes that lie wholly outside their window, at all shifts."""
    full: int = 0
    """Outputs that hold as many boxes as are kept of one."""
    series: dict[str, BoxSeries] | None = None
    """By name; the views of contrasts among them, where they were run."""
    known: str = ""
    """sha256 of the objects of the unshifted window, where they are known."""
    near: int = 0
    """Of those, how many a box of any class overlaps by half, unshifted."""
    scored: dict[str, Scored] | None = None
    """Against those, by name of the series, and under "" unshifted; where all is finite."""

    @property
    def truth(self) -> str:
        """What identifies the objects that are known."""
        return self.known

    def of(self, name: str) -> BoxSeries:
        """What was seen under series `name`."""
        if self.series is None:
            raise KeyError(name)
        return self.series[name]

    def to_json(self) -> str:
        """One line."""
        own = {n: s.written() for n, s in self.series.items()} if self.series is not None else None
        scored = self.scored
        against = None if scored is None else {n: s.written() for n, s in scored.items()}
        plain = asdict(replace(self, series=None, scored=None))
        plain |= {"series": own, "scored": against}
        return json.dumps(plain, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> Self:
        """The inverse of `to_json`; ValueError, TypeError or KeyError on a damaged line."""
        data: dict[str, Any] = json.loads(line)
        series, notes = data.pop("series"), tuple(data.pop("notes"))
        scored = data.pop("scored")
        if scored is not None:
            scored = {name: Scored.read(own) for name, own in scored.items()}
        if series is not None:
            series = {name: BoxSeries.read(own) for name, own in series.items()}
        return cls(**data, notes=notes, series=series, scored=scored)
