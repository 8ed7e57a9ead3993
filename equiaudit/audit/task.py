"""What a task adds to the engine: how outputs are compared, and what becomes of the records.

The engine knows blocks of images, shifts, batches, the journal and the order of things; a
`TaskAudit` knows what the outputs mean. One block of images passes through a `Block`:

    task.open_block(sources) -> clean(...) for the unshifted windows, once per batch
                             -> shifted(...) for every shift, batch by batch
                             -> records(), one per image, in order
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from equiaudit.audit.jobs import Jobs
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.records import ImageRecord
from equiaudit.audit.shelf import Pile, Records, Shelf
from equiaudit.data import Dataset, Item, Truth, TruthReader
from equiaudit.models.types import Model
from equiaudit.results import BoundaryPart, ShiftResult
from equiaudit.shifts import Series, ShiftPlan

R = TypeVar("R", bound=ImageRecord)
R_co = TypeVar("R_co", bound=ImageRecord, covariant=True)


@dataclass(frozen=True)
class Source:
    """One decoded image: the window with the plan's margin around it, (h, w, C) integers."""

    item: Item
    sha256: str
    pixels: NDArray[np.generic]
    notes: tuple[str, ...] = ()
    truth: Truth | None = None
    """Its mask or target, cut as the pixels are."""


class Block(Protocol[R_co]):
    """The images that are on the device together. Outputs are the model's, float32, and may be
    views of memory that the next batch overwrites."""

    def clean(self, images: Sequence[int], outputs: Tensor) -> None:
        """Take the unshifted outputs of `images`, (n, ...); all come before any shifted one."""

    def shifted(self, jobs: Jobs, outputs: Tensor) -> None:
        """Take the outputs of `jobs`, (n, ...), and reduce them: they are not kept for you."""

    def records(self) -> Sequence[R_co]:
        """One record per image, once every job has been seen."""


class TaskAudit(ABC, Generic[R]):
    """Everything the engine does not know about the outputs; made for one run.

    Defaults are those of a task whose records are kept as they are, and which has no pictures.
    """

    record: type[R]
    """What is kept of an image: made of index, file, sha256, and read by `from_json`."""

    def __init__(
        self, model: Model, dataset: Dataset, plan: ShiftPlan, options: ScanOptions
    ) -> None:
        self.model, self.dataset, self.plan, self.options = model, dataset, plan, options

    @property
    def key(self) -> str:
        """What records depend on besides model, data and shifts; part of the journal's key."""
        return ""

    @property
    def truth(self) -> TruthReader | None:
        """How the masks or targets of the images are read; None where there are none to read."""
        return self.dataset.truth

    def parse(self, line: str) -> R:
        """The inverse of the record's `to_json`; ValueError, TypeError or KeyError if damaged."""
        return self.record.from_json(line)

    def lost(self, item: Item, reason: str) -> R:
        """The record of an image that cannot be read."""
        return self.record(item.index, item.file, "", unreadable=reason)

    @abstractmethod
    def open_block(self, sources: Sequence[Source]) -> Block[R]:
        """Begin with some images, at least one."""

    def check(self, records: Records[R]) -> None:
        """After each block: raise InputError where going on would be a waste."""
        return

    def shelf(self) -> Shelf[R]:
        """An empty place for the records of a run."""
        return Pile()

    @abstractmethod
    def finite(self, records: Records[R], name: str) -> NDArray[np.bool_]:
        """(n,) whether the unshifted output and all outputs of series `name` were finite."""

    @abstractmethod
    def shift_result(self, series: Series, records: Records[R]) -> ShiftResult:
        """The figures of one series over images that are finite in it, at least one.

        The engine adds the files that are not.
        """

    @property
    def bounded(self) -> tuple[str, ...]:
        """The metrics that are means of one figure in [0, 1] per image, the leading one first."""
        return ()

    def figures(self, series: Series, records: Records[R]) -> dict[str, NDArray[np.float64]]:
        """Those figures, by metric, of records that are finite in `series`; in `bounded` order."""
        return {}

    @abstractmethod
    def boundary(self, records: Records[R]) -> tuple[BoundaryPart, ...]:
        """What causes the changes."""

    def more(self, records: Records[R]) -> dict[str, Any]:
        """Further fields of the `Result`: the worst images, examples."""
        return {}

    def gathered(
        self, pictures: Sequence[Mapping[str, Any]], records: Records[R]
    ) -> dict[str, Any]:
        """`more` of the whole from those of its parts; neither model nor images are there."""
        return {}

    @abstractmethod
    def samples_csv(self, records: Records[R]) -> Iterator[str]:
        """One row per image and kind, as text in pieces of whole rows."""

    def notes(self, records: Records[R]) -> tuple[str, ...]:
        """What is worth saying about how outputs were read, and of the records."""
        return ()
