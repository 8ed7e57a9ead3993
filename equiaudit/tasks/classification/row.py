"""A row of samples.csv about labels, and the figures one image contributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from equiaudit.tasks.samples import real, whole


@dataclass(frozen=True, slots=True)
class LabelSample:
    """One row; None where a cell is empty."""

    label: int | None
    clean_label: int | None
    offsets: int
    agree: int | None
    consistency: float | None
    correct: int | None
    confidence_wobble: float | None
    logit_error: float | None
    nonfinite: bool

    @classmethod
    def read(cls, row: Mapping[str, str]) -> Self:
        """KeyError or ValueError for a cell that is not there, or cannot be read."""
        return cls(
            label=whole(row["label"]),
            clean_label=whole(row["clean_label"]),
            offsets=int(row["offsets"]),
            agree=whole(row["agree"]),
            consistency=real(row["consistency"]),
            correct=whole(row["correct"]),
            confidence_wobble=real(row["confidence_wobble"]),
            logit_error=real(row["logit_error"]),
            nonfinite=bool(whole(row["nonfinite"])),
        )

    def figure(self, metric: str) -> float | None:
        """The figure whose mean `metric` is; None where it is no such mean."""
        figure = _FIGURES.get(metric)
        return None if figure is None else figure(self)

    def share(self, count: int | None) -> float | None:
        """Of the shifts."""
        return None if count is None or not self.offsets else count / self.offsets


def _is(found: bool | None) -> float | None:
    return None if found is None else float(found)


def _clean_right(sample: LabelSample) -> bool | None:
    return None if sample.label is None else sample.clean_label == sample.label


def _always_right(sample: LabelSample) -> bool | None:
    return None if sample.correct is None else sample.correct == sample.offsets


_FIGURES: dict[str, Callable[[LabelSample], float | None]] = {
    "consistency": lambda sample: sample.consistency,
    "agreement": lambda sample: sample.share(sample.agree),
    "accuracy_clean": lambda sample: _is(_clean_right(sample)),
    "accuracy_shifted": lambda sample: sample.share(sample.correct),
    "accuracy_worst": lambda sample: _is(_always_right(sample)),
    "flipped": lambda sample: _is(None if sample.agree is None else sample.agree < sample.offsets),
    "confidence_wobble": lambda sample: sample.confidence_wobble,
    "logit_error": lambda sample: sample.logit_error,
}
