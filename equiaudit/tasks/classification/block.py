"""Labels of a block of images: unshifted and under every shift."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiaudit.audit.jobs import Jobs, columns_of
from equiaudit.audit.task import Source
from equiaudit.models.outputs import Decisions
from equiaudit.shifts import ShiftPlan
from equiaudit.tasks.classification.records import NONFINITE, LabelRecord

_AT_ONCE = 4096
"""Numbers worth a comparison: its dozen calls cost as much for fewer."""


class LabelBlock:
    """A `Block` of classifier outputs (n, classes); one score per image makes two classes."""

    def __init__(
        self,
        plan: ShiftPlan,
        sources: Sequence[Source],
        probabilities: bool,
        *,
        labels: bool = False,
        decide: Decisions | None = None,
    ) -> None:
        self._decide = decide
        self._sources, self._probabilities, self._labels = sources, probabilities, labels
        self._columns, self._names = columns_of(plan), plan.names
        shape = (len(sources), max(part.stop for part in self._columns.values()))
        self._predicted = np.full(shape, NONFINITE, np.int32)
        self._probability, self._error = np.zeros(shape), np.zeros(shape)
        self._clean: list[Tensor] = []
        self._waiting: list[tuple[NDArray[np.int64], NDArray[np.int64], Tensor]] = []

    def clean(self, images: Sequence[int], outputs: Tensor) -> None:
        """Keep the unshifted outputs."""
        self._clean.append(self._columned(outputs))

    def shifted(self, jobs: Jobs, outputs: Tensor) -> None:
        """Keep them until there are enough to be compared at once."""
        columns = self._columned(outputs)
        self._waiting.append((jobs.image, jobs.column, columns))
        if len(self._waiting) * columns.numel() >= _AT_ONCE:
            self._compare()

    def _columned(self, outputs: Tensor) -> Tensor:
        return (outputs if self._labels else _two_columns(outputs, self._probabilities)).clone()

    def _compare(self) -> None:
        """Compare what waits with the unshifted outputs, and keep three numbers each."""
        if not self._waiting:
            return
        images, places, outputs = zip(*self._waiting, strict=True)
        self._waiting.clear()
        image = np.concatenate(images)
        at = image, np.concatenate(places)
        compared = self._reference.compare(torch.cat(outputs), image)
        self._predicted[at], self._probability[at], self._error[at] = compared

    def records(self) -> list[LabelRecord]:
        """One per image."""
        self._compare()
        reference = self._reference
        figures = self._figures(np.array(reference.finite))
        return [
            LabelRecord(
                index=source.item.index,
                file=source.item.file,
                label=source.item.label,
                sha256=source.sha256,
                clean=label if finite else NONFINITE,
                confidence=confidence if finite else 0.0,
                columns=self._columns,
                predicted=own.tobytes(),
                figures=figure.tobytes(),
                notes=source.notes,
            )
            for source, finite, label, confidence, own, figure in zip(
                self._sources,
                reference.finite,
                reference.label,
                reference.confidence,
                self._predicted,
                figures,
                strict=True,
            )
        ]

    def _figures(self, finite: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(n, series, 2) wobble and largest logit error; 0 where an output was not finite."""
        found = []
        for part in (self._columns[name] for name in self._names):
            own = self._probability[:, part]
            each = own.max(axis=1) - own.min(axis=1), self._error[:, part].max(axis=1)
            whole = finite & (self._predicted[:, part] != NONFINITE).all(axis=1)
            found.append(np.where(whole[:, None], np.stack(each, axis=1), 0.0))
        return np.stack(found, axis=1)

    @cached_property
    def _reference(self) -> _Reference | _LabelReference:
        clean = torch.cat(self._clean)
        if self._labels:
            return _LabelReference(clean)
        return _Reference(clean, self._probabilities, self._decide)


def _two_columns(outputs: Tensor, probabilities: bool) -> Tensor:
    """A single output per image is the score of the second of two classes."""
    if outputs.shape[1] != 1:
        return outputs
    return torch.cat([1 - outputs if probabilities else torch.zeros_like(outputs), outputs], 1)


class _Reference:
    """The unshifted outputs of a block, and what a shifted output is compared by."""

    def __init__(self, outputs: Tensor, probabilities: bool, decide: Decisions | None) -> None:
        self._outputs = outputs
        self._probabilities, self._decide = probabilities, decide
        spread = (outputs.amax(1) - outputs.amin(1)).double()
        # A constant output has no range: its change is then taken as it is.
        self._range = torch.where(spread > 0, spread, 1.0)
        self._label = self._labels(outputs)
        self.finite = outputs.isfinite().all(1).tolist()
        self.label = self._label.tolist()
        self.confidence = self._probability(outputs, self._label).tolist()

    def _labels(self, outputs: Tensor) -> Tensor:
        return outputs.argmax(1) if self._decide is None else self._decide(outputs).long()

    def _probability(self, outputs: Tensor, label: Tensor) -> Tensor:
        p = outputs.double() if self._probabilities else outputs.double().softmax(1)
        return p.gather(1, label[:, None])[:, 0]

    def compare(
        self, outputs: Tensor, images: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Label (or NONFINITE), probability of the unshifted label, relative logit change."""
        of = torch.from_numpy(images).to(outputs.device)
        finite = outputs.isfinite().all(1)
        label = torch.where(finite, self._labels(outputs), NONFINITE)
        probability = self._probability(outputs, self._label[of])
        change = (outputs - self._outputs[of]).abs_().amax(1).double()
        error = change / self._range[of]
        return label.cpu().numpy(), probability.cpu().numpy(), error.cpu().numpy()


class _LabelReference:
    """The same for outputs (n, 1) that are labels: there is nothing but the label."""

    def __init__(self, outputs: Tensor) -> None:
        self.finite = outputs.isfinite().all(1).tolist()
        self.label = _ids(outputs).tolist()
        self.confidence = [math.nan] * len(outputs)

    def compare(
        self, outputs: Tensor, images: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Label (or NONFINITE), and no numbers."""
        nothing = np.full(len(outputs), math.nan)
        return _ids(outputs).cpu().numpy(), nothing, nothing


def _ids(outputs: Tensor) -> Tensor:
    """(n, 1) -> (n,) labels, NONFINITE where there is none."""
    return torch.where(outputs.isfinite(), outputs, NONFINITE).long()[:, 0]
