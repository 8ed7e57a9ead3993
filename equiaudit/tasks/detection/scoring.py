"""Boxes against annotated ones: matches by pycocotools, kept small, and AP from those."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from equiaudit.kinds import Kind, Offset
from equiaudit.metrics.boxes import Detections, field_of
from equiaudit.metrics.precision import IOUS, Matches

Floats = NDArray[np.float64]

_FOUND = np.dtype(
    [("view", "<i4"), ("label", "<i4"), ("score", "<f8"), ("hit", "<u2"), ("out", "<u2")]
)
_TRUE = np.dtype([("view", "<i4"), ("label", "<i4"), ("count", "<i4")])
_MOST = 100
"""Boxes of an image and class, as COCO has it."""
_ALL = [[0, 1e10]]
"""COCO's range of areas that leaves none out."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The matches of some views of one image."""

    found: bytes
    true: bytes
    views: int

    def matches(self, image: int, views: Sequence[int] | None = None) -> Matches:
        """Of all views, or of some, as those of image number `image`."""
        found, true = np.frombuffer(self.found, _FOUND), np.frombuffer(self.true, _TRUE)
        if views is not None:
            found, true = (t[np.isin(t["view"], list(views))] for t in (found, true))
        bits = 1 << np.arange(len(IOUS))
        hit, out = ((found[name][:, None] & bits) > 0 for name in ("hit", "out"))
        return Matches(
            np.full(len(found), image),
            found["label"].astype(np.int64),
            found["score"].astype(np.float64),
            hit,
            out,
            np.full(len(true), image),
            true["label"].astype(np.int64),
            true["count"].astype(np.int64),
        )

    def written(self) -> dict[str, Any]:
        """As JSON holds it."""
        packed = {n: base64.b64encode(getattr(self, n)).decode() for n in ("found", "true")}
        return packed | {"views": self.views}

    @classmethod
    def read(cls, data: dict[str, Any]) -> Self:
        """The inverse; ValueError, TypeError or KeyError for what is damaged."""
        found, true = (base64.b64decode(data[n], validate=True) for n in ("found", "true"))
        np.frombuffer(found, _FOUND)
        np.frombuffer(true, _TRUE)
        return cls(found, true, int(data["views"]))


def shown(rows: Floats, window: tuple[int, int], kind: Kind, offset: Offset) -> Floats:
    """The objects (n, 6) of an unshifted window as the window at `offset` shows them, (m, 6).

    What a border of either window cuts counts neither as found nor as missed, each part by
    itself; where real pixels enter, the unshifted window has no border. What is not to be seen
    is left out.
    """
    dy, dx = offset
    move = np.array([dx, dy, dx, dy, 0, 0], np.float64)
    if kind.real:
        return _cut(rows + move, window)
    own = _cut(rows, window) + move
    if not kind.whole:
        return _cut(own, window)
    height, width = window
    parts = []
    for row in own:
        turns = [
            _cut(row[None] + [x, y, x, y, 0, 0], window)
            for y in _turns(row[1], row[3], height)
            for x in _turns(row[0], row[2], width)
        ]
        parts.extend(turns)
    return np.concatenate([np.zeros((0, 6)), *parts])


def _turns(low: float, high: float, side: int) -> list[float]:
    """Moves by whole sides that bring some of [low, high] into [0, side]."""
    first, last = int(np.floor(-high / side)) + 1, int(np.ceil(1 - low / side)) - 1
    return [float(turn * side) for turn in range(first, last + 1)]


def _cut(rows: Floats, window: tuple[int, int]) -> Floats:
    """Cut to the window; of what was cut, the last column is 1."""
    limits = np.array([*window[::-1], *window[::-1]], np.float64)
    boxes = np.clip(rows[:, :4], 0.0, limits)
    made = rows.copy()
    made[:, 5] = np.maximum(rows[:, 5], (boxes != rows[:, :4]).any(axis=1))
    made[:, :4] = boxes
    return made[((boxes[:, 2:] - boxes[:, :2]) > 0).all(axis=1)]


def near(found: Detections | None, rows: NDArray[Any], window: tuple[int, int]) -> int:
    """How many of the objects that are to be found overlap by half with a box of any class."""
    own = _cut(np.asarray(rows, np.float64), window)
    own = own[own[:, 5] == 0]
    if found is None or not len(own) or not len(found):
        return 0
    field = field_of(window, [(0, 0)], [(0.0, 0.0, float(window[1]), float(window[0]))])
    return int((field.iou(own[:, :4], found.boxes).max(axis=1) >= IOUS[0]).sum())


View = tuple[Detections, Floats]


@dataclass(frozen=True, eq=False)
class _Views:
    """Views of images, as COCO's evaluation takes them: numbered from 1."""

    views: Sequence[View]

    def true(self) -> list[dict[str, Any]]:
        rows = [(v, row) for v, (_, own) in enumerate(self.views, 1) for row in own.tolist()]
        return [
            _annotation(i, v, int(label), (x1, y1, x2, y2)) | {"iscrowd": int(odd)}
            for i, (v, (x1, y1, x2, y2, label, odd)) in enumerate(rows, 1)
        ]

    def found(self) -> list[dict[str, Any]]:
        rows = [
            (v, *each)
            for v, (own, _) in enumerate(self.views, 1)
            for each in zip(
                own.boxes.tolist(), own.scores.tolist(), own.labels.tolist(), strict=True
            )
        ]
        return [
            _annotation(i, v, label, tuple(box)) | {"score": score}
            for i, (v, box, score, label) in enumerate(rows, 1)
        ]

    @cached_property
    def labels(self) -> list[int]:
        each = [np.union1d(own.labels, rows[:, 4].astype(np.int64)) for own, rows in self.views]
        return sorted({int(label) for labels in each for label in labels})


def _annotation(number: int, view: int, label: int, box: tuple[float, ...]) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    wide, high = max(x2 - x1, 0.0), max(y2 - y1, 0.0)
    return {
        "id": number,
        "image_id": view,
        "category_id": label,
        "bbox": [x1, y1, wide, high],
        "area": wide * high,
    }


def scored(groups: Sequence[Sequence[View]]) -> list[Scored]:
    """The matches of groups of views, each its boxes and what is to be found (`shown`)."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    asked = _Views([view for group in groups for view in group])
    with contextlib.redirect_stdout(io.StringIO()):  # it prints how it goes
        true, found = COCO(), COCO()
        images = [{"id": i} for i in range(1, len(asked.views) + 1)]
        categories = [{"id": label} for label in asked.labels]
        for table, rows in ((true, asked.true()), (found, asked.found())):
            table.dataset = {"images": images, "categories": categories, "annotations": rows}
            table.createIndex()
        run = COCOeval(true, found, "bbox")
        run.params.areaRng, run.params.maxDets = _ALL, [_MOST]
        run.evaluate()
    places = [(g, v) for g, group in enumerate(groups) for v in range(len(group))]
    parts: list[tuple[list[Any], list[Any]]] = [([], []) for _ in groups]
    for each in run.evalImgs:
        if each is not None:
            group, view = places[each["image_id"] - 1]
            boxes, objects = _packed(each, view)
            parts[group][0].extend(boxes)
            parts[group][1].append(objects)
    return [
        Scored(np.array(boxes, _FOUND).tobytes(), np.array(objects, _TRUE).tobytes(), len(group))
        for (boxes, objects), group in zip(parts, groups, strict=True)
    ]


def _packed(each: dict[str, Any], view: int) -> tuple[list[Any], tuple[int, int, int]]:
    """Rows of `_FOUND` and one of `_TRUE` of a class in a view."""
    bits = 1 << np.arange(len(IOUS))
    hit, out = (bits @ (np.asarray(each[n]) > 0) for n in ("dtMatches", "dtIgnore"))
    label, scores = each["category_id"], each["dtScores"]
    rows = [(view, label, *row) for row in zip(scores, hit.tolist(), out.tolist(), strict=True)]
    return rows, (view, label, int((np.asarray(each["gtIgnore"]) == 0).sum()))
