"""One row of samples.csv: the figures that one image contributes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


class Sample(Protocol):
    """One image under one shift kind."""

    @property
    def nonfinite(self) -> bool:
        """Whether some output was not finite."""

    @property
    def clean_label(self) -> int | None:
        """The label of the unshifted image; None where images have no single label."""

    def figure(self, metric: str) -> float | None:
        """The image's figure whose mean `metric` is; None where it is no such mean."""


@dataclass(frozen=True)
class MeanSample:
    """A row with a column for every metric that is a mean over images."""

    figures: Mapping[str, float]
    nonfinite: bool
    clean_label: int | None = None

    def figure(self, metric: str) -> float | None:
        """The cell."""
        return self.figures.get(metric)


def whole(cell: str) -> int | None:
    """A whole number; None for an empty cell."""
    return int(cell) if cell else None


def real(cell: str) -> float | None:
    """A finite number; None for an empty cell, ValueError for what is neither."""
    if not cell:
        return None
    number = float(cell)
    if not math.isfinite(number):
        raise ValueError(f"{cell} is not a finite number")
    return number
