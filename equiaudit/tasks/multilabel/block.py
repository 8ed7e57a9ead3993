"""Decisions of a block of images: unshifted and under every shift."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from equiaudit.audit.jobs import Jobs, columns_of
from equiaudit.audit.task import Source
from equiaudit.models.outputs import Decisions
from equiaudit.shifts import ShiftPlan
from equiaudit.tasks.multilabel.records import SetRecord, packed


class SetBlock:
    """A `Block` of scores (n, classes), each held against a threshold."""

    def __init__(
        self, plan: ShiftPlan, sources: Sequence[Source], decide: Decisions, classes: int
    ) -> None:
        self._sources, self._decide, self._classes = sources, decide, classes
        self._columns = columns_of(plan)
        width = max(part.stop for part in self._columns.values())
        self._clean = np.zeros((len(sources), classes), np.bool_)
        self._shifted = np.zeros((len(sources), width, classes), np.bool_)
        self._lost = np.ones(len(sources), np.bool_)
        self._nonfinite = np.ones((len(sources), width), np.bool_)

    def clean(self, images: Sequence[int], outputs: Tensor) -> None:
        """Decide the unshifted outputs."""
        at = np.asarray(images)
        self._clean[at], self._lost[at] = self._decided(outputs)

    def shifted(self, jobs: Jobs, outputs: Tensor) -> None:
        """Decide those of shifts."""
        at = jobs.image, jobs.column
        self._shifted[at], self._nonfinite[at] = self._decided(outputs)

    def _decided(self, outputs: Tensor) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(n, C) decisions, and (n,) whether an output is not finite."""
        return self._decide(outputs).cpu().numpy(), (~outputs.isfinite().all(1)).cpu().numpy()

    def records(self) -> list[SetRecord]:
        """One per image."""
        return [self._record(place, source) for place, source in enumerate(self._sources)]

    def _record(self, place: int, source: Source) -> SetRecord:
        truth, lost = source.truth, self._nonfinite[place]
        counts = {name: int(lost[part].sum()) for name, part in self._columns.items()}
        return SetRecord(
            index=source.item.index,
            file=source.item.file,
            sha256=source.sha256,
            notes=source.notes,
            classes=self._classes,
            known=None if truth is None else packed(truth.values.astype(np.bool_)),
            clean="" if self._lost[place] else packed(self._clean[place]),
            shifted={
                name: packed(self._shifted[place, part]) for name, part in self._columns.items()
            },
            nonfinite={name: count for name, count in counts.items() if count},
        )
