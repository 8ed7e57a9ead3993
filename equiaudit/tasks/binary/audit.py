"""The `TaskAudit` of yes-or-no answers: that of labels, with a threshold and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
from torch import Tensor

from equiaudit.audit.jobs import Jobs
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.shelf import Pile, Records
from equiaudit.audit.task import Source
from equiaudit.data import Dataset
from equiaudit.metrics.binary import auroc, balanced_accuracy
from equiaudit.models.outputs import Decisions, decisions_of
from equiaudit.models.types import Model
from equiaudit.results import Estimate, ShiftResult
from equiaudit.shifts import Series, ShiftPlan
from equiaudit.tasks.binary.records import ScoredRecord
from equiaudit.tasks.classification.audit import LabelAudit
from equiaudit.tasks.classification.block import LabelBlock
from equiaudit.tasks.classification.records import LabelRecord
from equiaudit.tasks.classification.table import clean_of, labels_of, predicted_of


class BinaryAudit(LabelAudit):
    """Label 1 where the score is above the threshold."""

    record = ScoredRecord

    def __init__(
        self, model: Model, dataset: Dataset, plan: ShiftPlan, options: ScanOptions
    ) -> None:
        super().__init__(model, dataset, plan, options)
        decide = decisions_of(model)
        if decide is None:
            raise ValueError(f"{model.task} decides nothing")
        self._decide: Decisions = decide

    @property
    def key(self) -> str:
        """Labels depend on the threshold."""
        return f"{self.model.task}:{self._decide}"

    def open_block(self, sources: Sequence[Source]) -> ScoredBlock:
        """Begin with some images."""
        probabilities = self.model.outputs_probabilities
        return ScoredBlock(self.plan, sources, probabilities, decide=self._decide)

    def shelf(self) -> Pile[LabelRecord]:  # type: ignore[override]
        """The records as they are: a table keeps no scores."""
        return Pile()

    def shift_result(self, series: Series, records: Records[LabelRecord]) -> ShiftResult:
        """As of labels, and what needs the truth and scores."""
        found = super().shift_result(series, records)
        if not self.dataset.labelled:
            return found
        return found.model_copy(update={"metrics": found.metrics | _scored(series, records)})

    def notes(self, records: Records[LabelRecord]) -> tuple[str, ...]:
        """How the answer is decided, before what is said of labels."""
        how = self._decide
        kind = "probability" if how.probabilities else "logit"
        of = "the output is a" if self.model.num_classes == 1 else "of two outputs, each a"
        limit = "" if how.probabilities else f", a logit of {how.limit:.6g}"
        said = f"{of} {kind}; label 1 is decided for above {how.threshold:g}{limit}"
        return (said, *super().notes(records))


class ScoredBlock(LabelBlock):
    """A `LabelBlock` that keeps scores."""

    def __init__(
        self, plan: ShiftPlan, sources: Sequence[Source], probabilities: bool, *, decide: Decisions
    ) -> None:
        super().__init__(plan, sources, probabilities, decide=decide)
        self._score = decide.scores
        width = max(part.stop for part in self._columns.values())
        self._scores = np.zeros((len(sources), 1 + width), np.float32)

    def clean(self, images: Sequence[int], outputs: Tensor) -> None:
        """Keep the unshifted outputs."""
        super().clean(images, outputs)
        self._scores[np.asarray(images), 0] = self._score(outputs).cpu().numpy()

    def shifted(self, jobs: Jobs, outputs: Tensor) -> None:
        """Keep them until there are enough to be compared at once."""
        super().shifted(jobs, outputs)
        self._scores[jobs.image, 1 + jobs.column] = self._score(outputs).cpu().numpy()

    def records(self) -> list[ScoredRecord]:  # type: ignore[override]
        """One per image."""
        return [
            ScoredRecord(
                **{field.name: getattr(record, field.name) for field in fields(record)},
                scores=own.tobytes(),
            )
            for record, own in zip(super().records(), self._scores, strict=True)
        ]


def _scored(series: Series, records: Records[LabelRecord]) -> dict[str, Estimate]:
    """Balanced accuracy and AUROC of records whose labels are known."""
    labels = labels_of(records)
    truth, predicted = labels == 1, predicted_of(records, series.name)
    right = [clean_of(records)[:, None] == labels[:, None], predicted == labels[:, None]]
    scores = [
        np.stack([r.score(name) for r in records if isinstance(r, ScoredRecord)])
        for name in (None, series.name)
    ]
    found = {}
    for when, own, score in zip(("clean", "shifted"), right, scores, strict=True):
        found[f"balanced_accuracy_{when}"] = balanced_accuracy(own.mean(axis=1), truth)
        found[f"auroc_{when}"] = auroc(score, truth)
    return found
