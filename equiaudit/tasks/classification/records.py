"""What is kept of one image: its labels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from equiaudit.audit.jobs import Columns
from equiaudit.audit.records import ImageRecord

NONFINITE = -1
"""The label of an output that holds NaN or infinity."""

_PLAIN = (
    "index",
    "file",
    "sha256",
    "notes",
    "unreadable",
    "label",
    "clean",
    "confidence",
)
"""The fields that are written as they are."""

Labels = NDArray[np.int32]

_FIGURES = 16
"""Bytes of the two figures that every series has, and a contrast has not."""


@dataclass(frozen=True, slots=True)
class LabelSeries:
    """One image under one series: the label at each of its K offsets, in plan order."""

    predicted: Labels
    wobble: float
    logit_error: float


@dataclass(frozen=True, slots=True)
class LabelRecord(ImageRecord):
    """One image: unshifted label and its probability, and every series; or why it has none.

    What needs scores is NaN where the model returns labels. Packed as a row of a `LabelTable` is.
    """

    label: int | None = None
    clean: int = NONFINITE
    confidence: float = 0.0
    columns: Columns | None = None
    """Where in `predicted` each series is, and behind them the contrasts; shared by all records."""
    predicted: bytes = b""
    """int32 labels under all shifts."""
    figures: bytes = b""
    """float64 wobble and largest logit error of each series in turn."""

    @property
    def truth(self) -> str:
        """The true label."""
        return str(self.label)

    def to_json(self) -> str:
        """One line."""
        plain = {name: getattr(self, name) for name in _PLAIN}
        return json.dumps(plain | self._lists(), separators=(",", ":"))

    def _lists(self) -> dict[str, Any]:
        if self.columns is None:
            return {"series": None, "contrasts": {}}
        series = {
            name: {
                "predicted": own.predicted.tolist(),
                "wobble": own.wobble,
                "logit_error": own.logit_error,
            }
            for name, own in self.series.items()
        }
        views = {name: self.labels(name).tolist() for name in self.columns if name not in series}
        return {"series": series, "contrasts": views}

    @classmethod
    def from_json(cls, line: str) -> Self:
        """The inverse of `to_json`; ValueError, TypeError or KeyError on a damaged line."""
        data: dict[str, Any] = json.loads(line)
        series, views = data.pop("series"), data.pop("contrasts")
        data["notes"] = tuple(data["notes"])
        if series is None:
            return cls(**data)
        parts = {name: own["predicted"] for name, own in series.items()} | views
        labels = np.array([label for part in parts.values() for label in part], np.int32)
        figures = [(own["wobble"], own["logit_error"]) for own in series.values()]
        packed = np.array(figures, np.float64).tobytes()
        columns = _columns(tuple((name, len(part)) for name, part in parts.items()))
        return cls(**data, columns=columns, predicted=labels.tobytes(), figures=packed)

    @property
    def series(self) -> dict[str, LabelSeries]:
        """What was seen, by series."""
        names = list(self.columns or {})[: len(self.figures) // _FIGURES]
        return {name: self.of(name) for name in names}

    def labels(self, name: str) -> Labels:
        """(K,) labels under series `name`."""
        return np.frombuffer(self.predicted, np.int32)[(self.columns or {})[name]]

    def of(self, name: str) -> LabelSeries:
        """What was seen under series `name`."""
        place = list(self.columns or {}).index(name)
        wobble, error = np.frombuffer(self.figures)[2 * place : 2 * place + 2].tolist()
        return LabelSeries(self.labels(name), wobble, error)


@lru_cache(maxsize=16)
def _columns(counts: tuple[tuple[str, int], ...]) -> Columns:
    ends = np.cumsum([count for _, count in counts]).tolist()
    parts = zip(counts, ends, strict=True)
    return {name: slice(end - count, end) for (name, count), end in parts}
