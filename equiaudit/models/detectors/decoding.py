"""From what a detector returns to boxes: (N, K, 6) of x1, y1, x2, y2, score, label.

Boxes are in px of the window, the likeliest first; rows that stand for no box have the label -1.
An image whose scores or boxes hold NaN or infinity has a row of NaN. Where scores are equal the
larger box comes first, then the one that comes first in the output: none of this asks where in
the window a box lies, so that a shift settles ties as no shift does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from equiaudit.errors import InputError
from equiaudit.models.detectors.declaration import Declaration
from equiaudit.models.detectors.instances import COLUMNS, of_prototypes
from equiaudit.models.detectors.readers import READERS, Found

MOST_BOXES = 300
"""Of one image that are kept."""

Decode = Callable[[Any, int], Tensor]


def decoder(how: Declaration, window: tuple[int, int], *, what: str) -> Decode:
    """A function (returned, batch) -> (batch, K, 6) on the device of what was returned.

    Masks and key points are further columns (`instances`).

    It raises InputError, with the shape that was met, where that does not fit the declaration.
    """
    read = READERS[how.format](how, window, what)

    def decode(returned: Any, batch: int) -> Tensor:
        each = read(returned, batch)
        if len(each) != batch:
            raise InputError(f"{what} returned boxes of {len(each)} images for {batch}.")
        return _stacked([_settled(found, how, window) for found in each])

    return decode


def _stacked(each: list[Tensor]) -> Tensor:
    """(K, 6 or more) of every image -> (N, most, 6 or more)"""
    if len(each) == 1 and len(each[0]):
        return each[0].float()[None]
    most = max(1, *(len(rows) for rows in each))
    shape = (len(each), most, max(rows.shape[1] for rows in each))
    made = torch.zeros(shape, dtype=torch.float32, device=each[0].device)
    made[:, :, 5] = -1
    for own, rows in zip(made, each, strict=True):
        own[: len(rows), : rows.shape[1]] = rows
    return made


def _settled(found: Found, how: Declaration, window: tuple[int, int]) -> Tensor:
    """(K, 6 or more) of one image: above the threshold, suppressed, in order."""
    scores, labels = found.scores.float(), found.labels
    if not torch.isfinite(scores).all():
        return scores.new_full((1, COLUMNS), torch.nan)
    chosen = torch.nonzero(scores >= how.score_threshold)[:, 0]
    if not len(chosen) and found.extras is None and found.prototypes is None:
        return scores.new_zeros((0, COLUMNS))
    boxes, scores, labels = found.boxes[chosen].float(), scores[chosen], labels[chosen].float()
    rows = torch.cat([boxes, scores[:, None], labels[:, None]], 1)
    if not torch.isfinite(rows).all():
        return scores.new_full((1, COLUMNS), torch.nan)
    if how.units == "share":
        height, width = window
        boxes = boxes * boxes.new_tensor([width, height, width, height])
    if how.box != "xyxy":
        from torchvision.ops import box_convert  # slow to import, and for boxes alone

        boxes = box_convert(boxes, how.box, "xyxy")
    order = _in_order(boxes, scores)
    if how.nms_iou and len(order) > 1:
        kept = _suppressed(boxes[order], scores[order], labels[order], how.nms_iou)
        order = order[kept]
    order = order[:MOST_BOXES]
    parts = [boxes[order], rows[order, 4:]]
    if found.extras is not None:
        parts.append(found.extras[chosen[order]])
    if found.prototypes is not None and found.shares is not None:
        own = found.shares[chosen[order]]
        parts.append(of_prototypes(own, found.prototypes, boxes[order], window))
    return torch.cat(parts, 1)


def _in_order(boxes: Tensor, scores: Tensor) -> Tensor:
    """By score, then area, then place in the output."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = torch.argsort(area, descending=True, stable=True)
    return order[torch.argsort(scores[order], descending=True, stable=True)]


def _suppressed(boxes: Tensor, scores: Tensor, labels: Tensor, iou: float) -> Tensor:
    """Class by class: boxes are not moved apart by class, which rounds their overlaps."""
    from torchvision.ops import nms  # slow to import, and for boxes alone

    each = labels.tolist()
    kept = torch.ones_like(scores, dtype=torch.bool)
    for label in set(each):
        if each.count(label) > 1:
            own = torch.nonzero(labels == label)[:, 0]
            kept[own] = False
            kept[own[nms(boxes[own], scores[own], iou)]] = True
    return torch.nonzero(kept)[:, 0]
