"""The unshifted embeddings of all images, among which nearest ones are looked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiaudit.audit.forward import Scene, blank
from equiaudit.audit.geometry import geometry
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.setup import images_per_call
from equiaudit.audit.task import Source
from equiaudit.data import Dataset, Decoded, Item, decode_ahead
from equiaudit.errors import InputError
from equiaudit.models.types import Model
from equiaudit.shifts import ShiftPlan

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]

NEIGHBOURS = 5
"""That vote for a label."""
NONE = -1
"""In place of an image, or a label, where there is none."""
_MOST_BYTES = 4 << 30
_AT_ONCE = 1 << 22
"""Similarities held at a time."""
_DIGITS = 12
"""Cosines that agree to this many are equal: the rest is rounding of the sum."""


def directions(vectors: NDArray[np.float32]) -> Floats:
    """(n, D) embeddings as unit vectors, none of which may be 0."""
    wide = vectors.astype(np.float64)
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True))


@dataclass(frozen=True)
class Gallery:
    """The embeddings of m images that have one, in the order of the listing."""

    units: Floats
    """(m, D) of length 1."""
    index: Ints
    """(m,) `Item.index`, ascending."""
    labels: Ints
    """(m,) of the images, `NONE` where there is none."""

    @classmethod
    def of(cls, model: Model, dataset: Dataset, plan: ShiftPlan, options: ScanOptions) -> Gallery:
        """One pass over all images. InputError where they would take more than 4 GiB."""
        width = int(blank(model).shape[1])
        if len(dataset.items) * width * 8 > _MOST_BYTES:
            raise InputError(
                f"The embeddings of {len(dataset.items)} images, {width} numbers each, take more"
                " than the 4 GiB that nearest images are looked for in.",
                tip=f"--limit {_MOST_BYTES // (8 * width)} keeps as many as fit.",
            )
        rows = list(_embedded(model, dataset, plan, options))
        vectors = np.array([vector for _, vector in rows], np.float32).reshape(-1, width)
        labels = [NONE if item.label is None else item.label for item, _ in rows]
        index = np.array([item.index for item, _ in rows], np.int32)
        return cls(directions(vectors), index, np.array(labels, np.int32))

    def nearest(self, units: Floats, own: Ints) -> tuple[Ints, Ints]:
        """For unit vectors (n, D) of the images `own` (n,): the nearest other image, and the label
        that most of the nearest 5 have, both (n,).

        Of equally near images the first in the listing counts, of labels that are as frequent
        that of the nearest image.
        """
        step = max(1, _AT_ONCE // max(len(self.index), 1))
        parts = [
            self._nearest(units[i : i + step], own[i : i + step])
            for i in range(0, len(units), step)
        ]
        found, labels = zip(*parts, strict=True)
        return np.concatenate(found), np.concatenate(labels)

    def _nearest(self, units: Floats, own: Ints) -> tuple[Ints, Ints]:
        if not len(self.index):
            return np.full(len(units), NONE, np.int32), np.full(len(units), NONE, np.int32)
        cosines = np.round(units @ self.units.T, _DIGITS)
        cosines[own[:, None] == self.index] = -np.inf
        every = np.arange(len(units))
        columns = []
        for _ in range(NEIGHBOURS if self._labelled else 1):
            best = cosines.argmax(1)
            columns.append(np.where(np.isfinite(cosines[every, best]), best, NONE))
            cosines[every, best] = -np.inf
        places = np.stack(columns, axis=1)
        first = np.where(places[:, 0] == NONE, NONE, self.index[places[:, 0]])
        return first.astype(np.int32), _voted(places, self.labels)

    @cached_property
    def _labelled(self) -> bool:
        return bool((self.labels != NONE).any())


def _voted(places: NDArray[np.int64], labels: Ints) -> Ints:
    """(n, k) places, nearest first, `NONE` for none -> (n,) the most frequent label."""
    of_each = np.where(places == NONE, NONE, labels[places])
    votes = (of_each[:, :, None] == of_each[:, None]).sum(2)
    votes[of_each == NONE] = 0
    best = votes.argmax(1)  # the first, which is the nearest
    return np.asarray(of_each[np.arange(len(places)), best], np.int32)


def _embedded(
    model: Model, dataset: Dataset, plan: ShiftPlan, options: ScanOptions
) -> Iterator[tuple[Item, NDArray[np.float32]]]:
    """The images that can be read and have a direction, with their embedding."""
    size = images_per_call(model, options)
    decoded = decode_ahead(
        dataset.items,
        geometry(model.preprocess, plan.margin),
        workers=2 if options.workers == "auto" else options.workers,
        ahead=2 * size,
    )
    pairs = zip(dataset.items, decoded, strict=True)
    read = (
        Source(item, found.sha256, found.pixels)
        for item, found in pairs
        if isinstance(found, Decoded)
    )
    while sources := tuple(islice(read, size)):
        vectors = _run(model, plan, sources, size).cpu().numpy()
        usable = np.isfinite(vectors).all(1) & vectors.any(1)
        for source, vector, has in zip(sources, vectors, usable, strict=True):
            if has:
                yield source.item, vector


@torch.inference_mode()
def _run(model: Model, plan: ShiftPlan, sources: tuple[Source, ...], size: int) -> Tensor:
    """The outputs of unshifted windows, in as many calls as the accelerator's memory asks for."""
    try:
        parts = []
        scene = Scene(model, plan, sources)
        for start in range(0, len(sources), size):
            places = range(start, min(start + size, len(sources)))
            batch = scene.batch(size)
            scene.put_unshifted(places, batch)
            parts.append(model.run(batch)[: len(places)].clone())
        return torch.cat(parts)
    except torch.OutOfMemoryError:
        if size == 1:
            raise
        torch.cuda.empty_cache()
        return _run(model, plan, sources, size // 2)
