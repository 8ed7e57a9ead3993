"""Labels of a block of images: unshifted and under every shift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiaudit.audit.classification.records import NONFINITE, LabelRecord, LabelSeries
from equiaudit.audit.task import ALIGNED, Job, Source
from equiaudit.shifts import ShiftPlan

__all__ = ["LabelBlock"]


@dataclass
class _Answers:
    """Label, probability of the unshifted label and relative logit change, per slot."""

    predicted: NDArray[np.int64]
    probability: NDArray[np.float64]
    error: NDArray[np.float64]

    @classmethod
    def empty(cls, size: int) -> _Answers:
        return cls(np.full(size, NONFINITE, np.int64), np.zeros(size), np.zeros(size))


class LabelBlock:
    """A `Block` of classifier outputs (n, classes); one score per image makes two classes."""

    def __init__(self, plan: ShiftPlan, sources: Sequence[Source], probabilities: bool) -> None:
        self._plan, self._sources, self._probabilities = plan, sources, probabilities
        self._clean: list[Tensor] = []
        self._answers: dict[tuple[int, str], _Answers] = {}
        for image, source in enumerate(sources):
            for series in plan.series:
                count = len(plan.offsets(series, source.item.index))
                self._answers[image, series.name] = _Answers.empty(count)
            if plan.measures_alignment:
                count = len(plan.aligned_offsets(source.item.index))
                self._answers[image, ALIGNED] = _Answers.empty(count)

    def clean(self, images: Sequence[int], outputs: Tensor) -> None:
        """Keep the unshifted outputs."""
        self._clean.append(_two_columns(outputs, self._probabilities))

    def shifted(self, jobs: Sequence[Job], outputs: Tensor) -> None:
        """Compare with the unshifted outputs, and keep three numbers each."""
        columns = _two_columns(outputs, self._probabilities)
        compared = self._reference.compare(columns, [job.image for job in jobs])
        for job, label, probability, error in zip(jobs, *compared, strict=True):
            answer = self._answers[job.image, job.name]
            answer.predicted[job.slot] = label
            answer.probability[job.slot] = probability
            answer.error[job.slot] = error

    def records(self) -> list[LabelRecord]:
        """One per image."""
        return [self._record(image, source) for image, source in enumerate(self._sources)]

    @cached_property
    def _reference(self) -> _Reference:
        return _Reference(torch.cat(self._clean), self._probabilities)

    def _record(self, image: int, source: Source) -> LabelRecord:
        reference = self._reference
        clean = reference.label[image] if reference.finite[image] else NONFINITE
        aligned = self._answers.get((image, ALIGNED))
        return LabelRecord(
            index=source.item.index,
            file=source.item.file,
            label=source.item.label,
            sha256=source.sha256,
            clean=clean,
            confidence=reference.confidence[image] if clean != NONFINITE else 0.0,
            series={
                s.name: _series(self._answers[image, s.name], clean) for s in self._plan.series
            },
            aligned=() if aligned is None else tuple(aligned.predicted.tolist()),
            notes=source.notes,
        )


def _two_columns(outputs: Tensor, probabilities: bool) -> Tensor:
    """A single output per image is the score of the second of two classes."""
    if outputs.shape[1] != 1:
        return outputs
    return torch.cat([1 - outputs if probabilities else torch.zeros_like(outputs), outputs], 1)


class _Reference:
    """The unshifted outputs of a block, and what a shifted output is compared by."""

    def __init__(self, outputs: Tensor, probabilities: bool) -> None:
        self._outputs = outputs
        self._probabilities = probabilities
        spread = (outputs.amax(1) - outputs.amin(1)).double()
        # A constant output has no range: its change is then taken as it is.
        self._range = torch.where(spread > 0, spread, 1.0)
        self._label = outputs.argmax(1)
        self.finite = outputs.isfinite().all(1).tolist()
        self.label = self._label.tolist()
        self.confidence = self._probability(outputs, self._label).tolist()

    def _probability(self, outputs: Tensor, label: Tensor) -> Tensor:
        p = outputs.double() if self._probabilities else outputs.double().softmax(1)
        return p.gather(1, label[:, None])[:, 0]

    def compare(
        self, outputs: Tensor, images: list[int]
    ) -> tuple[list[int], list[float], list[float]]:
        """Label (or NONFINITE), probability of the unshifted label, relative logit change."""
        of = torch.tensor(images, device=outputs.device)
        finite = outputs.isfinite().all(1)
        label = torch.where(finite, outputs.argmax(1), NONFINITE)
        probability = self._probability(outputs, self._label[of])
        change = (outputs - self._outputs[of]).abs().amax(1).double()
        error = change / self._range[of]
        return label.tolist(), probability.tolist(), error.tolist()


def _series(answers: _Answers, clean: int) -> LabelSeries:
    predicted = tuple(answers.predicted.tolist())
    if clean == NONFINITE or NONFINITE in predicted:
        return LabelSeries(predicted, 0.0, 0.0)
    wobble = float(answers.probability.max() - answers.probability.min())
    return LabelSeries(predicted, wobble, float(answers.error.max()))
