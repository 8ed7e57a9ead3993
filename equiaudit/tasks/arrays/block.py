"""A block of images whose outputs become small arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from equiaudit.audit.jobs import Jobs, columns_of
from equiaudit.audit.task import Source
from equiaudit.shifts import ShiftPlan
from equiaudit.tasks.arrays.records import FINITE, ArrayRecord, Arrays


class ArrayBlock(ABC):
    """A `Block` that keeps tables (images, 1 + passes, ...); pass 0 is the unshifted one."""

    def __init__(self, plan: ShiftPlan, sources: Sequence[Source], known: Sequence[str]) -> None:
        self.plan, self.sources, self._known = plan, sources, known
        self._passes = 1 + max(part.stop for part in columns_of(plan).values())
        self._tables: dict[str, NDArray[Any]] = {}

    def clean(self, images: Sequence[int], outputs: Tensor) -> None:
        """Keep the unshifted outputs."""
        rows = np.array(images)
        self._take(rows, np.zeros_like(rows), outputs)
        self.unshifted(rows, outputs)

    def shifted(self, jobs: Jobs, outputs: Tensor) -> None:
        """Compare the others with them."""
        self._take(jobs.image, 1 + jobs.column, outputs)
        self.compare(jobs, outputs)

    def _take(self, images: NDArray[Any], passes: NDArray[Any], outputs: Tensor) -> None:
        whole = self.usable(outputs).cpu().numpy()
        self.put(FINITE, images, passes, whole)

    def usable(self, outputs: Tensor) -> Tensor:
        """(n,) which of outputs (n, ...) can be compared."""
        return outputs.isfinite().flatten(1).all(1)

    def put(
        self, name: str, images: NDArray[Any], passes: NDArray[Any], values: NDArray[Any]
    ) -> None:
        """Values (n, ...) of n passes into the table `name`."""
        if name not in self._tables:
            shape = (len(self.sources), self._passes, *values.shape[1:])
            self._tables[name] = np.zeros(shape, values.dtype)
        self._tables[name][images, passes] = values

    def further(self, image: int) -> Arrays:
        """Arrays of an image that no pass gives."""
        return {}

    def records(self) -> list[ArrayRecord]:
        """One per image."""
        return [
            ArrayRecord(
                index=source.item.index,
                file=source.item.file,
                sha256=source.sha256,
                notes=source.notes,
                known=known,
                arrays={
                    **{n: table[i].copy() for n, table in self._tables.items()},
                    **self.further(i),
                },
            )
            for i, (source, known) in enumerate(zip(self.sources, self._known, strict=True))
        ]

    @abstractmethod
    def unshifted(self, images: NDArray[Any], outputs: Tensor) -> None:
        """Take the unshifted outputs of `images`; views that the next batch overwrites."""

    @abstractmethod
    def compare(self, jobs: Jobs, outputs: Tensor) -> None:
        """Take shifted outputs, likewise."""
