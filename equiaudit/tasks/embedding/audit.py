"""The `TaskAudit` of embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from equiaudit.audit.jobs import Jobs
from equiaudit.audit.task import Source
from equiaudit.metrics.classification import consistency
from equiaudit.metrics.dense import largest
from equiaudit.metrics.intervals import mean_interval, proportion_interval
from equiaudit.results import Estimate
from equiaudit.shifts import Series, ShiftPlan
from equiaudit.tasks.arrays.audit import ArrayAudit, Floats, Recs, mean_of, percentile
from equiaudit.tasks.arrays.block import ArrayBlock
from equiaudit.tasks.arrays.records import ArrayRecord
from equiaudit.tasks.embedding.gallery import NONE, Gallery, Ints, directions

_DISTANCE, _NEIGHBOUR, _LABEL = "distance", "neighbour", "label"
_AT_ONCE = 1 << 20
"""Numbers worth a comparison with the gallery."""


class EmbeddingBlock(ArrayBlock):
    """Reduces embeddings (n, D) to a distance, the nearest image and the nearest ones' label."""

    def __init__(self, plan: ShiftPlan, sources: Sequence[Source], gallery: Gallery) -> None:
        labels = [source.item.label for source in sources]
        super().__init__(plan, sources, ["" if label is None else str(label) for label in labels])
        self._gallery = gallery
        self._own = np.array([source.item.index for source in sources], np.int32)
        self._clean: dict[int, Floats] = {}
        self._waiting: list[tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]] = []

    def usable(self, outputs: Tensor) -> Tensor:
        """A vector of length 0 has no direction."""
        return super().usable(outputs) & outputs.flatten(1).any(1)

    def unshifted(self, images: NDArray[Any], outputs: Tensor) -> None:
        """Keep them, and look for their nearest images."""
        usable = self.usable(outputs).cpu().numpy()
        images, vectors = images[usable], outputs.cpu().numpy()[usable]
        units = directions(vectors)
        self._clean |= dict(zip(images.tolist(), units, strict=True))
        self._look(images, np.zeros_like(images), units, units)

    def compare(self, jobs: Jobs, outputs: Tensor) -> None:
        """Keep them until there are enough to be compared at once."""
        usable = self.usable(outputs).cpu().numpy()
        usable &= np.array([image in self._clean for image in jobs.image.tolist()])
        vectors = outputs.cpu().numpy()[usable]
        self._waiting.append((jobs.image[usable], 1 + jobs.column[usable], vectors))
        if sum(each.size for _, _, each in self._waiting) >= _AT_ONCE:
            self._compare()

    def _compare(self) -> None:
        if not self._waiting:
            return
        images, passes, vectors = (
            np.concatenate(each) for each in zip(*self._waiting, strict=True)
        )
        self._waiting.clear()
        if len(images):
            clean = np.stack([self._clean[image] for image in images.tolist()])
            self._look(images, passes, directions(vectors), clean)

    def _look(
        self, images: NDArray[Any], passes: NDArray[Any], units: Floats, clean: Floats
    ) -> None:
        """|u - v|^2 / 2 is 1 - cos, and 0 where the two are equal to the bit."""
        distance = np.square(units - clean).sum(1) / 2
        found, labels = (
            self._gallery.nearest(units, self._own[images])
            if len(images)
            else (np.zeros(0, np.int32), np.zeros(0, np.int32))
        )
        self.put(_DISTANCE, images, passes, distance)
        self.put(_NEIGHBOUR, images, passes, found)
        self.put(_LABEL, images, passes, labels)

    def records(self) -> list[ArrayRecord]:
        """One per image."""
        self._compare()
        return super().records()


class EmbeddingAudit(ArrayAudit):
    """A vector per image, of which the direction counts."""

    subject = "cosine distances"
    columns = (
        "cosine_distance",
        "cosine_distance_max",
        "neighbour_consistency",
        "neighbour_kept",
        "knn_accuracy_clean",
        "knn_accuracy_shifted",
        "knn_accuracy_worst",
        "nearest",
    )

    _files: Mapping[int, str] = {}

    @cached_property
    def _gallery(self) -> Gallery:
        return Gallery.of(self.model, self.dataset, self.plan, self.options)

    def open_block(self, sources: Sequence[Source]) -> EmbeddingBlock:
        """Begin with some images, the first time with a pass over all."""
        return EmbeddingBlock(self.plan, sources, self._gallery)

    def change(self, record: ArrayRecord, name: str) -> Floats:
        """The cosine distance."""
        return np.asarray(self.passes(record, _DISTANCE, name))

    def metrics(self, series: Series, records: Recs) -> dict[str, Estimate]:
        """Distances, nearest images, and with labels their votes."""
        distance = self.stacked(records, _DISTANCE, series.name)
        found = {
            "cosine_distance": mean_of(distance.mean(1), self.plan.seed),
            "cosine_distance_p95": percentile(distance, len(distance)),
            "cosine_distance_max": largest(distance.max(1)),
        }
        shares = self.figures(series, records)
        for name, values in shares.items():
            yes_or_no = name in ("knn_accuracy_clean", "knn_accuracy_worst")
            found[name] = (
                proportion_interval(int(values.sum()), len(values))
                if yes_or_no
                else mean_interval(values)
            )
        return found

    @property
    def bounded(self) -> tuple[str, ...]:  # type: ignore[override]
        """All but the distances."""
        labelled = ("knn_accuracy_clean", "knn_accuracy_shifted", "knn_accuracy_worst")
        return ("neighbour_consistency", "neighbour_kept") + (
            labelled if self.dataset.labelled else ()
        )

    def figures(self, series: Series, records: Recs) -> dict[str, Floats]:
        """The shares of each image; of images without a nearest one, none."""
        if not records:
            return {name: np.zeros(0) for name in self.bounded}
        clean = _unshifted(records, _NEIGHBOUR)
        found = self.stacked(records, _NEIGHBOUR, series.name)
        if (clean == NONE).any() or found.shape[1] < 2:
            return {name: np.zeros(0) for name in self.bounded}
        shares = {
            "neighbour_consistency": consistency(found),
            "neighbour_kept": (found == clean[:, None]).mean(1),
        }
        if self.dataset.labelled:
            truth = np.array([int(record.known) for record in records])
            right = self.stacked(records, _LABEL, series.name) == truth[:, None]
            shares["knn_accuracy_clean"] = (_unshifted(records, _LABEL) == truth).astype(float)
            shares["knn_accuracy_shifted"] = right.mean(1)
            shares["knn_accuracy_worst"] = right.all(1).astype(float)
        return shares

    def samples_csv(self, records: Recs) -> Iterator[str]:
        """With the name of the nearest image, which in a merge only records have."""
        self._files = {record.index: record.file for record in records}
        yield from super().samples_csv(records)

    def _name(self, index: int) -> str:
        found = self._files.get(index)
        return self.dataset.item(index).file if found is None else found

    def notes(self, records: Recs) -> tuple[str, ...]:
        """Among what nearest images are looked for."""
        count = len(self.dataset.items)
        if count < 2:
            return ("there is no other image, so no nearest one",)
        return (f"nearest images are looked for among the unshifted embeddings of all {count}",)

    def cells(self, series: Series, record: ArrayRecord) -> dict[str, object]:
        """Means, the worst, and the nearest image."""
        distance = self.change(record, series.name)
        shares = {name: float(v[0]) for name, v in self.figures(series, [record]).items() if len(v)}
        nearest = int(record.arrays[_NEIGHBOUR][0])
        return {
            "cosine_distance": float(distance.mean()),
            "cosine_distance_max": float(distance.max()),
            "nearest": "" if nearest == NONE else self._name(nearest),
            **shares,
        }


def _unshifted(records: Recs, array: str) -> Ints:
    """(n,) what an array says of the unshifted images."""
    return np.array([record.arrays[array][0] for record in records], np.int32)
