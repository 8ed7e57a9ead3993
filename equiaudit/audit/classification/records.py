"""What is kept of one image: its labels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Self

from equiaudit.audit.records import ImageRecord

__all__ = ["NONFINITE", "LabelRecord", "LabelSeries"]

NONFINITE = -1
"""The label of an output that holds NaN or infinity."""


@dataclass(frozen=True, slots=True)
class LabelSeries:
    """One image under one series: the label at each of its K offsets, in plan order."""

    predicted: tuple[int, ...]
    wobble: float
    logit_error: float


@dataclass(frozen=True, slots=True)
class LabelRecord(ImageRecord):
    """One image: unshifted label and its probability, and every series; or why it has none."""

    label: int | None = None
    clean: int = NONFINITE
    confidence: float = 0.0
    series: dict[str, LabelSeries] | None = None
    aligned: tuple[int, ...] = ()

    @property
    def truth(self) -> str:
        """The true label."""
        return str(self.label)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """The inverse of `to_json`; ValueError, TypeError or KeyError on a damaged line."""
        data: dict[str, Any] = json.loads(line)
        series = data.pop("series")
        if series is not None:
            series = {
                name: LabelSeries(tuple(s["predicted"]), s["wobble"], s["logit_error"])
                for name, s in series.items()
            }
        tuples = {name: tuple(data[name]) for name in ("aligned", "notes")}
        return cls(**{**data, **tuples}, series=series)

    def of(self, name: str) -> LabelSeries:
        """What was seen under series `name`."""
        return (self.series or {})[name]
