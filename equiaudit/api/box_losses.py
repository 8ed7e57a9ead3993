"""What a repair changes in the boxes of a detector on unshifted images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from equiaudit.results.loss import Loss

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from equiaudit.data import Dataset
    from equiaudit.metrics.boxes import Field
    from equiaudit.metrics.precision import Matches
    from equiaudit.models import Model

    Rows = NDArray[np.float64]

_BATCH = 8
_MOST = 256
"""Images that are compared."""


def changed_boxes(before: Model, after: Model, dataset: Dataset) -> Loss | None:
    """How far the boxes of `after` are from those of `before`: 1 less AP50, with its interval.

    AP at an IoU of 0.5 on the torus, in the mean over classes, where the boxes of the unmodified
    model are what is right. None where the windows differ, or it finds no box.
    """
    import torch

    from equiaudit.api.room import sources
    from equiaudit.metrics.boxes import field_of
    from equiaudit.metrics.precision import Matches, estimates

    window = before.preprocess.size
    if window != after.preprocess.size:
        return None
    field = field_of(window, [(0, 0)], None)
    parts: list[Matches] = []
    for batch in sources(dataset, before.preprocess, 0, _BATCH):
        with torch.inference_mode():
            pairs = [model.run(batch.to(model.device)).cpu().double() for model in (before, after)]
        for old, new in zip(*pairs, strict=True):
            parts.append(matches(_boxes(old), _boxes(new), field, len(parts)))
        if len(parts) >= _MOST:
            break
    if not any(len(part.true_image) for part in parts):
        return None
    agreed = estimates(Matches.joined(parts), len(parts))["ap50"]
    lost = agreed.model_copy(
        update={"value": _less(agreed.value), "low": _less(agreed.high), "high": _less(agreed.low)}
    )
    return Loss(measure="boxes", after=agreed, lost=lost, verdict="not judged")


def _less(share: float | None) -> float | None:
    return None if share is None else 1 - share


def _boxes(rows: Any) -> Rows:
    """(K, 6) of one image: those that are boxes."""
    found: Rows = rows[:, :6].numpy()
    return found[(found[:, 5] >= 0)]


def matches(true: Rows, found: Rows, field: Field, image: int) -> Matches:
    """Both (K, 6) as x1, y1, x2, y2, score, label: what each of `found` is of `true`.

    As COCO matches: class by class, the likeliest first, each with the free box that it overlaps
    most, at least by the IoU.
    """
    import numpy as np

    from equiaudit.metrics.precision import IOUS, Matches

    labels, counts = np.unique(true[:, 5], return_counts=True)
    own = found[np.argsort(-found[:, 4], kind="stable")]
    own = own[np.argsort(own[:, 5], kind="stable")]
    hit = np.zeros((len(own), len(IOUS)), np.bool_)
    overlap = field.iou(own[:, :4], true[:, :4])
    overlap[own[:, 5][:, None] != true[:, 5][None]] = 0.0
    for place, least in enumerate(IOUS):
        free = np.ones(len(true), np.bool_)
        for row, each in enumerate(overlap):
            best = int(np.argmax(np.where(free, each, -1.0))) if len(true) else -1
            if best >= 0 and free[best] and each[best] >= least:
                hit[row, place], free[best] = True, False
    return Matches(
        np.full(len(own), image),
        own[:, 5].astype(np.int64),
        own[:, 4],
        hit,
        np.zeros_like(hit),
        np.full(len(labels), image),
        labels.astype(np.int64),
        counts,
    )
