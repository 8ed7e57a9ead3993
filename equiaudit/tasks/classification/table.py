"""The records of all images, packed: some 250 bytes each, where an object would take 700."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from equiaudit.audit.jobs import columns_of
from equiaudit.audit.shelf import Records, Shelf
from equiaudit.data import Dataset
from equiaudit.shifts import ShiftPlan
from equiaudit.tasks.classification.records import NONFINITE, LabelRecord

UNKNOWN = NONFINITE - 1
"""In place of a true label that is not known: no output has it."""

V = TypeVar("V")
Ints = NDArray[np.signedinteger[Any]]
Labels = NDArray[np.int32]
Floats = NDArray[np.float64]

_WIDER: dict[type, type] = {np.int8: np.int16, np.int16: np.int32}


class LabelTable(Shelf[LabelRecord]):
    """A row per image of `dataset`, which names and labels them; pages fill as rows come."""

    def __init__(self, dataset: Dataset, plan: ShiftPlan) -> None:
        super().__init__()
        self.columns = columns_of(plan)
        n, width = len(dataset), max(part.stop for part in self.columns.values())
        self._dataset = dataset
        self._order = array("i")
        self._known = np.zeros(n, np.bool_)
        self._listed = array("i", dataset.items.indices.tolist())
        self._sha256 = np.empty((n, 32), np.uint8)
        self._confidence = np.empty(n, np.float64)
        self.clean = np.empty(n, np.int32)
        """(n,) unshifted labels."""
        self.predicted: Ints = np.empty((n, width), np.int8)
        """(n, W) labels under all shifts, in the columns of the plan; widened as labels ask."""
        self.figures = np.empty((n, 2 * len(plan.names)), np.float64)
        """(n, 2 S) wobble and largest logit error of each series in turn."""
        self._notes: dict[int, tuple[str, ...]] = {}
        self._reasons: dict[int, str] = {}

    def put(self, index: int, record: LabelRecord) -> None:
        """Keep it; KeyError for an image that is not of the data, ValueError for other shifts."""
        row = self._row(index)
        if record.unreadable is None and record.columns != self.columns:
            raise ValueError("a record of other shifts")
        self.clean[row], self._confidence[row] = record.clean, record.confidence
        if record.unreadable is None:
            self._put_labels(row, np.frombuffer(record.predicted, np.int32))
            self.figures[row] = np.frombuffer(record.figures)
            self._sha256[row] = np.frombuffer(bytes.fromhex(record.sha256), np.uint8)
        _set(self._notes, row, record.notes)
        _set(self._reasons, row, record.unreadable)
        if not self._known[row]:
            self._known[row] = True
            self._order.append(index)

    def _put_labels(self, row: int, labels: Labels) -> None:
        while labels.max() > np.iinfo(self.predicted.dtype).max:
            self.predicted = self.predicted.astype(_WIDER[self.predicted.dtype.type])
        self.predicted[row] = labels

    def __getitem__(self, index: int) -> LabelRecord:
        row = self._row(index)
        if not self._known[row]:
            raise KeyError(index)
        item, reason = self._dataset.items[row], self._reasons.get(row)
        if reason is not None:
            return LabelRecord(index, item.file, "", label=item.label, unreadable=reason)
        return LabelRecord(
            index=index,
            file=item.file,
            sha256=self._sha256[row].tobytes().hex(),
            notes=self._notes.get(row, ()),
            label=item.label,
            clean=int(self.clean[row]),
            confidence=float(self._confidence[row]),
            columns=self.columns,
            predicted=self.predicted[row].astype(np.int32).tobytes(),
            figures=self.figures[row].tobytes(),
        )

    def __contains__(self, index: object) -> bool:
        try:
            return bool(self._known[self._row(index)])  # type: ignore[arg-type]
        except KeyError:
            return False

    def __iter__(self) -> Iterator[int]:
        return iter(self._order)

    def __len__(self) -> int:
        return len(self._order)

    def rows(self, indices: NDArray[np.int32]) -> NDArray[np.int64]:
        """(n,) the rows of images that are there."""
        return np.searchsorted(self._listed, indices)

    @property
    def labels(self) -> Labels:
        """(n,) true labels, `UNKNOWN` where there is none."""
        items = self._dataset.items
        if items.labels is None:
            return np.full(len(items), UNKNOWN, np.int32)
        found = items.labels[items.rows]
        return np.where(found < 0, UNKNOWN, found)

    def _row(self, index: int) -> int:
        row = bisect_left(self._listed, index)
        if row == len(self._listed) or self._listed[row] != index:
            raise KeyError(index)
        return row


def _set(kept: dict[int, V], row: int, value: V | None) -> None:
    """Most rows have none."""
    kept.pop(row, None)
    if value:
        kept[row] = value


def labels_of(records: Records[LabelRecord]) -> Labels:
    """(n,) true labels, `UNKNOWN` where there is none."""
    table = records.shelf
    if isinstance(table, LabelTable):
        return table.labels[table.rows(records.indices)]
    return np.array([UNKNOWN if r.label is None else r.label for r in records], np.int32)


def clean_of(records: Records[LabelRecord]) -> Labels:
    """(n,) unshifted labels."""
    table = records.shelf
    if isinstance(table, LabelTable):
        return table.clean[table.rows(records.indices)]
    return np.array([r.clean for r in records], np.int32)


def predicted_of(records: Records[LabelRecord], name: str) -> Ints:
    """(n, K) labels of records that have them under series `name`."""
    table = records.shelf
    if isinstance(table, LabelTable):
        return table.predicted[table.rows(records.indices), table.columns[name]]
    return np.stack([r.labels(name) for r in records])


def figures_of(records: Records[LabelRecord], name: str) -> Floats:
    """(n, 2) wobble and largest logit error, likewise."""
    table = records.shelf
    if isinstance(table, LabelTable):
        place = 2 * list(table.columns).index(name)
        return table.figures[table.rows(records.indices), place : place + 2]
    seen = (r.of(name) for r in records)
    return np.array([(each.wobble, each.logit_error) for each in seen])
