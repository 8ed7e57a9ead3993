"""Boxes of one block of images, moved back and compared with those of the unshifted ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from equiaudit.audit.jobs import Jobs
from equiaudit.audit.task import Source
from equiaudit.kinds import Kind, Offset
from equiaudit.metrics.boxes import Detections, Field, agreement, area, compare, field_of
from equiaudit.models.detectors import MOST_BOXES, masks_in, points_in
from equiaudit.models.types import Model
from equiaudit.shifts import ShiftPlan
from equiaudit.tasks.detection.inside import Inside
from equiaudit.tasks.detection.records import COUNTS, BoxRecord, BoxSeries
from equiaudit.tasks.detection.scoring import Scored, near, scored, shown

Floats = NDArray[np.float64]

IOUS = (0.5, 0.75)
_SMALL, _LARGE = 32.0**2, 96.0**2
"""COCO's bounds of areas, px."""
_LEAST = 4
"""Boxes of an image and series that are kept by themselves."""
_ORIGIN: Offset = (0, 0)


def detections_of(
    rows: Tensor, points: int = 0, masks: tuple[int, int] | None = None
) -> Detections | None:
    """Of (K, 6) rows x1, y1, x2, y2, score, label, those with a label; None for NaN and infinity.

    A row that stands for no box has the label -1. `points` key points and masks of a window
    `masks` follow in further columns, where there are any.
    """
    values = rows.cpu().double().numpy()
    if not np.isfinite(values).all():
        return None
    values = values[values[:, 5] >= 0]
    return Detections(
        values[:, :4],
        values[:, 4],
        values[:, 5].astype(np.int64),
        points_in(values, points) if points else None,
        None if masks is None else masks_in(values, points, masks),
    )


def moved_back(found: Detections, offset: Offset) -> Detections:
    """The boxes of a shifted window in the frame of the unshifted one; masks stay as they are."""
    dy, dx = offset
    points = None if found.points is None else found.points - (dx, dy)
    boxes = found.boxes - (dx, dy, dx, dy)
    return Detections(boxes, found.scores, found.labels, points, found.masks)


def common(kind: Kind, window: tuple[int, int], offsets: Sequence[Offset]) -> Field:
    """What the unshifted window and those at `offsets` show, all of them."""
    every = (_ORIGIN, *offsets)
    if kind.whole:
        return field_of(window, every, None)
    regions = []
    for offset in every:
        rows, columns = kind.common(window, offset)
        top, bottom, _ = rows.indices(window[0])
        left, right, _ = columns.indices(window[1])
        regions.append((float(left), float(top), float(right), float(bottom)))
    return field_of(window, every, regions)


class BoxBlock:
    """The boxes of a block of images, as they come in."""

    def __init__(self, plan: ShiftPlan, sources: Sequence[Source], model: Model) -> None:
        self._plan, self._sources = plan, sources
        self._held = partial(
            detections_of, points=model.points, masks=plan.window if model.masks else None
        )
        self._clean: dict[int, Detections | None] = {}
        self._shifted: list[dict[str, list[tuple[Offset, Detections | None]]]] = [
            {} for _ in sources
        ]
        self._kinds: Mapping[str, Kind] = plan.moves
        self._between = {series.name for series in plan.series if series.parts > 1}
        self._names = plan.names

    def clean(self, images: Sequence[int], outputs: Tensor) -> None:
        """Keep the unshifted boxes."""
        for image, rows in zip(images, outputs, strict=True):
            self._clean[image] = self._held(rows)

    def shifted(self, jobs: Jobs, outputs: Tensor) -> None:
        """Keep the boxes of every shift."""
        for job, rows in zip(jobs, outputs.cpu(), strict=True):
            found = self._shifted[job.image].setdefault(job.name, [])
            found.append((job.offset, self._held(rows)))

    def records(self) -> Sequence[BoxRecord]:
        """One per image."""
        against = self._scored()
        return [self._record(i, against.get(i)) for i in range(len(self._sources))]

    def _scored(self) -> dict[int, dict[str, Scored]]:
        """Every finite series of the images whose objects are known, and "" unshifted."""
        places, groups = [], []
        for image, source in enumerate(self._sources):
            clean = self._clean[image]
            if source.truth is None or clean is None:
                continue
            rows = np.asarray(source.truth.values, np.float64)
            still = next(iter(self._kinds.values()))
            series = {"": [(_ORIGIN, clean)]} | {n: self._shifted[image][n] for n in self._names}
            for name, views in series.items():
                kind = self._kinds.get(name, still)
                known = [
                    (found, shown(rows, self._plan.window, kind, at))
                    for at, found in views
                    if found is not None
                ]
                if len(known) == len(views):
                    places.append((image, name))
                    groups.append(known)
        made: dict[int, dict[str, Scored]] = {}
        for (image, name), own in zip(places, scored(groups) if groups else (), strict=True):
            made.setdefault(image, {})[name] = own
        return made

    def _record(self, image: int, against: dict[str, Scored] | None) -> BoxRecord:
        source, clean, shifted = self._sources[image], self._clean[image], self._shifted[image]
        every = [clean, *(found for own in shifted.values() for _, found in own)]
        known = [found for found in every if found is not None]
        return BoxRecord(
            index=source.item.index,
            file=source.item.file,
            sha256=source.sha256,
            notes=source.notes,
            boxes=0 if clean is None else len(clean),
            inverted=sum(_inverted(found.boxes) for found in known),
            outside=sum(_outside(found.boxes, self._plan.window) for found in known),
            full=sum(len(found) >= MOST_BOXES for found in known),
            series={
                name: self._series(name, source.item.index, clean, own)
                for name, own in shifted.items()
            },
            known="" if source.truth is None else source.truth.sha256,
            near=0 if source.truth is None else near(clean, source.truth.values, self._plan.window),
            scored=against,
        )

    def _series(
        self,
        name: str,
        index: int,
        clean: Detections | None,
        own: Sequence[tuple[Offset, Detections | None]],
    ) -> BoxSeries:
        back = [(at, moved_back(found, at)) for at, found in own if found is not None]
        if clean is None or len(back) < len(own):
            return BoxSeries(b"", b"", ((0, 0),) * 3, ((0, 0),) * len(IOUS), None, finite=False)
        if name in self._between:
            clean = replace(clean, masks=None)
            back = [(at, replace(found, masks=None)) for at, found in back]
        kind, window = self._kinds[name], self._plan.window
        seen = _Seen(clean, kind, window)
        for offset, found in back:
            seen.take(found, common(kind, window, [offset]), offset)
        pairs = np.zeros((len(IOUS), 2), np.int64)
        # Views of contrasts tell causes apart, and are not compared with one another.
        for (at, one), (to, other) in (
            () if name not in self._plan.names else _pairs(back, [self._plan.seed, index])
        ):
            field = common(kind, window, [at, to])
            pairs += np.array(agreement(one, other, field, (at, to), IOUS), np.int64)
            seen.inside.pair(one, other, field, (at, to))
        return seen.series(tuple((int(a), int(b)) for a, b in pairs))


def _pairs(
    back: Sequence[tuple[Offset, Detections]], seed: Sequence[int]
) -> list[tuple[tuple[Offset, Detections], tuple[Offset, Detections]]]:
    """As many random pairs as there are shifts: each with the next in a random round."""
    if len(back) < 2:
        return []
    order = np.random.default_rng(seed).permutation(len(back)).tolist()
    ends = list(zip(order, order[1:] + order[:1], strict=True))
    return [(back[i], back[j]) for i, j in (ends[:1] if len(back) == 2 else ends)]


class _Seen:
    """What has become of the unshifted boxes of one image under a series so far."""

    def __init__(self, clean: Detections, kind: Kind, window: tuple[int, int]) -> None:
        self._clean = clean
        self.inside = Inside(clean, kind, window)
        self._area = area(clean.boxes)
        self._size = (self._area >= _SMALL).astype(np.int64) + (self._area > _LARGE)
        self._low, self._high = clean.scores.copy(), clean.scores.copy()
        self._ever = np.zeros(len(clean), np.bool_)
        self._counts: list[tuple[int, ...]] = []
        self._moves: list[Floats] = []
        self._sizes = np.zeros((3, 2), np.int64)
        self._times = np.zeros((len(clean), 2), np.int64)
        self._worst = np.full(len(clean), np.nan)

    def take(self, found: Detections, field: Field, offset: Offset) -> None:
        """The boxes at one shift, moved back."""
        seen = compare(self._clean, found, field, (_ORIGIN, offset))
        self.inside.take(found, field, offset, seen)
        kept = seen.kept >= 0
        sums = (seen.counted, kept, seen.relabelled, seen.lost, seen.apart, seen.appeared)
        self._counts.append((*(int(np.count_nonzero(each)) for each in sums), len(found)))
        scores = found.scores[seen.kept[kept]]
        self._low[kept] = np.minimum(self._low[kept], scores)
        self._high[kept] = np.maximum(self._high[kept], scores)
        self._ever |= kept
        moves = _moves(seen.moved[kept], self._area[kept])
        self._moves.append(moves)
        self._worst[kept] = np.fmax(self._worst[kept], moves[:, 0])
        self._times += np.stack([kept, seen.counted], axis=1)
        for column, those in enumerate((kept, seen.counted)):
            self._sizes[:, column] += np.bincount(self._size[those], minlength=3)

    def series(self, pairs: tuple[tuple[int, int], ...]) -> BoxSeries:
        """All of it."""
        wobble = (self._high - self._low)[self._ever]
        return BoxSeries(
            counts=np.array(self._counts, np.int64).reshape(-1, len(COUNTS)).tobytes(),
            moves=np.concatenate(self._moves).tobytes(),
            sizes=tuple((int(a), int(b)) for a, b in self._sizes),
            pairs=pairs,
            wobble=float(wobble.mean()) if len(wobble) else None,
            least=self._least().tobytes(),
            mask_iou=self.inside.mask_iou,
            mask_consistency=self.inside.mask_consistency,
            alike=self.inside.alike,
        )

    def _least(self) -> Floats:
        """(n, 9) of the boxes that are kept least often, then of those that move most."""
        kept, compared = self._times.T
        share = np.divide(kept, compared, out=np.ones(len(kept)), where=compared > 0)
        moved = np.nan_to_num(self._worst)
        order = np.lexsort((-moved, share))
        chosen = order[((share < 1) | (moved > 0))[order] & (compared > 0)[order]][:_LEAST]
        clean = self._clean
        columns = (clean.boxes, clean.scores, clean.labels, kept, compared, self._worst)
        return np.asarray(np.column_stack(columns)[chosen], np.float64)


def _moves(moved: Floats, areas: Floats) -> Floats:
    """(n, 4) moves of corners -> (n, 4) largest of them, of the centre, of the size, over size."""
    jitter = np.abs(moved).max(axis=1, initial=0.0)
    centre = np.hypot(moved[:, 0] + moved[:, 2], moved[:, 1] + moved[:, 3]) / 2
    size = np.abs(moved[:, 2:] - moved[:, :2]).max(axis=1, initial=0.0)
    return np.stack([jitter, centre, size, jitter / np.sqrt(areas)], axis=1)


def _inverted(boxes: Floats) -> int:
    return int((boxes[:, 2:] < boxes[:, :2]).any(axis=1).sum())


def _outside(boxes: Floats, window: tuple[int, int]) -> int:
    height, width = window
    beyond = (boxes[:, :2] >= (width, height)).any(axis=1) | (boxes[:, 2:] <= 0).any(axis=1)
    return int(beyond.sum())
