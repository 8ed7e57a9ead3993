"""Label maps of a block: what flips, how well masks are met, which objects are lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from equiaudit.audit.jobs import Job
from equiaudit.audit.task import Source
from equiaudit.data import IGNORED
from equiaudit.kinds import around
from equiaudit.metrics.dense import mean_iou
from equiaudit.models.types import Model
from equiaudit.shifts import ShiftPlan
from equiaudit.shifts.canvas import cut
from equiaudit.tasks.maps.block import MapBlock
from equiaudit.tasks.maps.frames import Frames, Moved
from equiaudit.tasks.maps.outputs import Upsampling, labels_by
from equiaudit.tasks.maps.records import MapRecord, MapSeries
from equiaudit.tasks.segmentation.objects import Alike, Fates, Lost, Objects, new_objects

Scores = tuple[tuple[int, int, int], ...]
"""Per class: pixels that are right, true, predicted."""
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class SegmentationSeries(MapSeries):
    """One image under one series; empty where it has no mask.

    Without scores of shifts by fractions: a mask has no labels between its pixels.
    """

    shifted: Scores = ()
    """Summed over the offsets."""
    worst: Scores = ()
    """At the offset whose own mIoU is lowest."""
    objects: tuple[Alike, ...] = ()
    """Of the mask; of the unshifted prediction where there is none and two classes."""
    lost: tuple[Lost, ...] = ()
    new: int = 0
    """Objects that shifts make, summed over the offsets."""

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `asdict`."""
        objects = tuple(Alike(**each) for each in data["objects"])
        lost = tuple(Lost(**each) for each in data["lost"])
        return super().from_json(data | {"objects": objects, "lost": lost})


@dataclass(frozen=True)
class SegmentationRecord(MapRecord[SegmentationSeries]):
    """One image."""

    unshifted: Scores = ()
    only: int | None = None
    """The class of every pixel, unshifted and shifted; None where there are several."""


def scores_of(predicted: Tensor, true: Tensor, classes: int) -> Counts:
    """(C, 3) pixels that are right, true, predicted, of label maps of one shape.

    Pixels whose true label is `IGNORED` do not count.
    """
    confusion = multiclass_confusion_matrix(
        predicted, true, num_classes=classes, ignore_index=IGNORED, validate_args=False
    )
    counts = torch.stack([confusion.diagonal(), confusion.sum(1), confusion.sum(0)], 1)
    return counts.cpu().numpy().astype(np.int64)


@dataclass
class _Mask:
    """The mask of one image: with the plan's margin, of the window, and its scores."""

    whole: Tensor
    window: Tensor
    unshifted: Counts


@dataclass
class _Kept:
    """Scores by slot, and what became of objects, of one image and series."""

    fates: Fates
    scores: dict[int, Counts] = field(default_factory=dict)
    new: int = 0


class SegmentationBlock(MapBlock[SegmentationSeries]):
    """Compares label maps."""

    def __init__(
        self,
        plan: ShiftPlan,
        frames: Frames,
        sources: Sequence[Source],
        *,
        classes: int,
        factor: Upsampling,
        model: Model,
    ) -> None:
        super().__init__(plan, frames, sources)
        self._classes, self._factor, self._model = classes, factor, model
        self._device = model.device
        self._labels: dict[int, Tensor] = {}
        self._only: dict[int, int | None] = {}
        self._masks: dict[int, _Mask] = {}
        self._objects: dict[int, Objects] = {}
        self._kept: dict[tuple[int, str], _Kept] = {}
        self._real = {s.name for s in plan.series if s.moves.real}
        self._between = {s.name for s in plan.series if s.parts > 1}

    def reduced(self, outputs: Tensor) -> Tensor:
        """(n, H, W) labels."""
        return labels_by(self._model, outputs, self._factor)

    def take(self, image: int, unshifted: Tensor) -> None:
        """Keep labels, and how they meet the mask."""
        self._labels[image] = unshifted
        first = int(unshifted.flatten()[0])
        self._only[image] = first if bool((unshifted == first).all()) else None
        truth = self.sources[image].truth
        if truth is not None:
            whole = torch.from_numpy(truth.values).to(self._device)
            window = cut(whole[None], self.plan.window, self.plan.margin, (0, 0))[0]
            counts = scores_of(unshifted, window, self._classes)
            self._masks[image] = _Mask(whole, window, counts)
            self._objects[image] = Objects(window, unshifted)
        elif self._classes == 2:
            self._objects[image] = Objects(unshifted, unshifted)

    def compare(self, job: Job, shifted: Tensor, moved: Moved) -> tuple[float, Tensor]:
        """The flip rate and the flips."""
        only = self._only[job.image]
        if only is not None and bool((shifted != only).any()):
            self._only[job.image] = None
        clean = moved.clean(self._labels[job.image])
        settled = moved.settled(shifted, clean)
        flips = settled != clean
        if job.image in self._objects and job.name in self.plan.names:
            self._keep(job, shifted, settled, moved)
        return float(flips.sum()) / flips.numel(), flips

    def _keep(self, job: Job, shifted: Tensor, settled: Tensor, moved: Moved) -> None:
        """What the shift does to objects, and where there is a mask how well it is met."""
        objects, mask = self._objects[job.image], self._masks.get(job.image)
        kept = self._kept.setdefault((job.image, job.name), _Kept(objects.begin()))
        clean, true, back = moved.clean(self._labels[job.image]), None, settled
        if mask is not None:
            true = moved.clean(mask.window)
            back = moved.settled(shifted, true)
            if job.name not in self._between:
                kept.scores[job.slot] = self._scores(job, shifted, back, mask, moved)
        objects.add(kept.fates, moved, back)
        kept.new += new_objects(moved, settled, clean, true)

    def _scores(self, job: Job, shifted: Tensor, back: Tensor, mask: _Mask, moved: Moved) -> Counts:
        """Against the mask moved with the image: real mask enters with real pixels, else none."""
        if job.name not in self._real:
            return scores_of(back, moved.clean(mask.window), self._classes)
        at = around(job.offset)[0]
        true = cut(mask.whole[None], self.plan.window, self.plan.margin, at)[0]
        return scores_of(shifted, true, self._classes)

    def series(self, image: int, name: str, fields: dict[str, Any]) -> SegmentationSeries:
        """Sums, and the worst shift."""
        kept = self._kept.get((image, name))
        if kept is None or None in fields["change"]:
            return SegmentationSeries(**fields)
        own = self._objects[image]
        found: dict[str, Any] = fields | {
            "objects": own.alike(kept.fates),
            "lost": own.lost(kept.fates),
            "new": kept.new,
        }
        if not kept.scores:
            return SegmentationSeries(**found)
        each = np.stack([kept.scores[slot] for slot in sorted(kept.scores)])
        means = mean_iou(each.astype(np.float64))
        worst = int(np.nanargmin(means)) if np.isfinite(means).any() else 0
        shifted, lowest = _plain(each.sum(0)), _plain(each[worst])
        return SegmentationSeries(**found, shifted=shifted, worst=lowest)

    def record(self, image: int, **fields: Any) -> SegmentationRecord:
        """With the unshifted scores."""
        mask = self._masks.get(image)
        unshifted = () if mask is None else _plain(mask.unshifted)
        return SegmentationRecord(**fields, unshifted=unshifted, only=self._only[image])


def _plain(scores: Counts) -> Scores:
    return tuple((int(a), int(b), int(c)) for a, b, c in scores)
