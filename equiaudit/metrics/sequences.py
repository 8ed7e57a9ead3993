"""Figures of a sequence of frames that show the same defect, each a little further along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiaudit.metrics.intervals import bca_interval, mean_interval
from equiaudit.results import Estimate


@dataclass(frozen=True)
class FrameScore:
    """One frame: pixels predicted, truly defective, and both."""

    predicted: int
    true: int
    common: int

    @property
    def iou(self) -> float:
        """Intersection over union of predicted and true defect."""
        return self.common / (self.predicted + self.true - self.common)


@dataclass(frozen=True)
class SequenceScore:
    """One sequence; variances are those of its frames as a whole (divided by their number)."""

    mean_iou: float
    iou_variance: float
    area_variance: float
    """Of the predicted defect area, px^2."""
    lost_share: float
    """Share of the frames in which no pixel of the defect is predicted."""
    iou_range: float
    """IoU of the best frame less that of the worst."""


def score_frames(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> tuple[FrameScore, ...]:
    """The frames of (N, H, W) predicted and true defects; every frame holds a defect.

    Raises ValueError where one does not: its IoU could not tell good from bad.
    """
    counts = [x.sum(axis=(1, 2)) for x in (predicted, true, predicted & true)]
    if not counts[1].all():
        raise ValueError("expected a defect in every frame")
    return tuple(FrameScore(*map(int, frame)) for frame in zip(*counts, strict=True))


def score(frames: Sequence[FrameScore]) -> SequenceScore:
    """The figures of one sequence of at least one frame."""
    ious = np.array([frame.iou for frame in frames])
    areas = np.array([frame.predicted for frame in frames], np.float64)
    lost = np.array([frame.common == 0 for frame in frames])
    return SequenceScore(
        float(ious.mean()),
        float(ious.var()),
        float(areas.var()),
        float(lost.mean()),
        float(ious.max() - ious.min()),
    )


def summarise(sequences: Sequence[SequenceScore], *, seed: int = 0) -> dict[str, Estimate]:
    """Means over sequences, with intervals over sequences."""
    return {
        "mean_iou": mean_interval([s.mean_iou for s in sequences]),
        "iou_variance": bca_interval([s.iou_variance for s in sequences], seed=seed),
        "area_variance": bca_interval([s.area_variance for s in sequences], seed=seed),
        "lost_share": mean_interval([s.lost_share for s in sequences]),
        "iou_range": mean_interval([s.iou_range for s in sequences]),
    }


def by_frame(sequences: Sequence[Sequence[FrameScore]]) -> tuple[Estimate, ...]:
    """The mean IoU of the first frame, the second, and so on; of the sequences that have it."""
    longest = max((len(frames) for frames in sequences), default=0)
    return tuple(
        mean_interval([frames[i].iou for frames in sequences if i < len(frames)])
        for i in range(longest)
    )
