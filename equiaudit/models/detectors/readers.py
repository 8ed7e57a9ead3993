"""What a declaration makes of returned tensors: every box of each image, before any is left out."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import torch
from torch import Tensor

from equiaudit.errors import InputError, first_line
from equiaudit.graphs.outputs import named_tensors
from equiaudit.models.detectors.checks import (
    ROUNDING,
    all_named,
    check_scores,
    fit,
    misfit,
    shapes,
    tensor_of,
    told_apart,
    whole,
)
from equiaudit.models.detectors.declaration import Declaration
from equiaudit.models.detectors.instances import behind, beside, extras_of
from equiaudit.models.zoo import own_modules

_FIRST_SCORE: Mapping[str, int] = {"rows": 4, "columns": 4, "objectness": 5, "grid": 5}
"""Of the formats with a score per class in one tensor, where those begin."""


@dataclass(frozen=True)
class Found:
    """Every box that one image's output holds, before anything is left out."""

    boxes: Tensor
    """(A, 4), as declared."""
    scores: Tensor
    """(A,)"""
    labels: Tensor
    """(A,) whole numbers of any dtype, or NaN."""
    extras: Tensor | None = None
    """(A, ...) as `instances` has them."""
    shares: Tensor | None = None
    """(A, M) of the prototypes of masks ..."""
    prototypes: Tensor | None = None
    """... (M, h, w)."""


# Readers: (declaration, window, what) -> (returned, batch) -> boxes of each image


Read = Callable[[Any, int], list[Found]]


def _dicts(how: Declaration, window: tuple[int, int], what: str) -> Read:
    def read(returned: Any, batch: int) -> list[Found]:
        rows = returned[-1] if isinstance(returned, tuple) else returned
        if not is_list_of_dicts(rows):
            raise misfit(how, returned, what)
        return [
            Found(each["boxes"], each["scores"], each["labels"], extras_of(each)) for each in rows
        ]

    return read


def held_by(how: Declaration, returned: Any) -> tuple[int, bool]:
    """How many key points an object has, and whether it has a mask."""
    if how.format != "dicts":
        points = how.points
        if how.keypoints:
            points = tensor_of(dict(named_tensors(returned)), how, "keypoints", "it").shape[-2]
        return points, bool(how.masks)
    rows = returned[-1] if isinstance(returned, tuple) else returned
    if not is_list_of_dicts(rows):
        return 0, False
    points = rows[0].get("keypoints")
    return 0 if points is None else points.shape[1], "masks" in rows[0]


def is_list_of_dicts(returned: Any) -> bool:
    """Whether that is what torchvision's detectors return."""
    keys = {"boxes", "scores", "labels"}
    return (
        isinstance(returned, list)
        and bool(returned)
        and all(isinstance(each, Mapping) and keys <= each.keys() for each in returned)
    )


def _apart(how: Declaration, window: tuple[int, int], what: str) -> Read:
    def read(returned: Any, batch: int) -> list[Found]:
        tensors = dict(named_tensors(returned))
        boxes, scores = (tensor_of(tensors, how, key, what) for key in ("boxes", "scores"))
        labels = tensor_of(tensors, how, "labels", what) if how.labels else tensors.get("labels")
        count = tensor_of(tensors, how, "count", what) if how.count else None
        if batch == 1 and boxes.dim() == 2:
            boxes, scores = boxes[None], scores[None]
            labels = None if labels is None else labels[None]
        fit(
            boxes.dim() == 3 and boxes.shape[0] == batch and boxes.shape[2] == 4, how, tensors, what
        )
        fit(scores.shape[:2] == boxes.shape[:2] and scores.dim() in (2, 3), how, tensors, what)
        if how.anchors:
            boxes = _from_anchors(boxes, how, window, tensors, what)
        if scores.dim() == 3:
            fit(not how.labels, how, tensors, what)
            told_apart(boxes, scores, how, tensors, what)
            check_scores(scores, how, what)
            best, classes = _best(_activated(scores, how), how)
        else:
            fit(how.activation != "softmax", how, tensors, what)
            all_named(scores, labels, how, tensors, what)
            best = _activated(scores[..., None], how)[..., 0]
            classes = torch.zeros_like(best) if labels is None else labels
        fit(classes.shape == best.shape, how, tensors, what)
        classes = whole(classes, how, what)
        extras = _beside(boxes, how, window, tensors, what)
        each_image = zip(boxes, best, classes, extras, strict=True)
        found = [Found(b, s, c, e) for b, s, c, e in each_image]
        if count is None:
            return found
        each = count.reshape(-1).tolist()
        fit(len(each) == batch, how, tensors, what)
        if any(n not in range(boxes.shape[1] + 1) for n in each):
            raise InputError(
                f"{what} returns {each} as the number of boxes per image, and holds"
                f" {boxes.shape[1]} of each.",
                tip="Name the output that counts them with `count`.",
            )
        return [
            Found(
                f.boxes[: int(n)],
                f.scores[: int(n)],
                f.labels[: int(n)],
                None if f.extras is None else f.extras[: int(n)],
            )
            for f, n in zip(found, each, strict=True)
        ]

    return read


def _beside(
    boxes: Tensor,
    how: Declaration,
    window: tuple[int, int],
    tensors: Mapping[str, Tensor],
    what: str,
) -> list[Tensor | None]:
    """Columns of the masks and key points of each image, None where there are none."""
    points, masks = (tensor_of(tensors, how, k, what) if getattr(how, k) else None for k in _INSIDE)
    lead = tuple(boxes.shape[:2])
    if points is not None:
        points = points if points.dim() == 4 else points[None]
        fit(points.shape[:2] == lead and points.shape[3] in (2, 3), how, tensors, what)
    if masks is not None:
        masks = masks if masks.shape[:2] == lead else masks[None]
        masks = masks[:, :, 0] if masks.dim() == 5 and masks.shape[2] == 1 else masks
        fit(masks.dim() == 4 and masks.shape[:2] == lead, how, tensors, what)
        low, high = torch.aminmax(masks) if masks.numel() else (masks.sum(),) * 2
        if torch.isfinite(high - low) and (low < -ROUNDING or high > 1 + ROUNDING):
            raise InputError(
                f"{what} returns masks from {low.item():.3g} to {high.item():.3g}, and"
                " probabilities are wanted.",
                tip="Export them behind their sigmoid.",
            )
    return [
        beside(
            None if points is None else points[i],
            None if masks is None else masks[i],
            how.units,
            window,
        )
        for i in range(lead[0])
    ]


_INSIDE = ("keypoints", "masks")


def _end2end(how: Declaration, window: tuple[int, int], what: str) -> Read:
    def read(returned: Any, batch: int) -> list[Found]:
        rows = _raw(returned, batch, how, what)
        fit(rows.shape[2] == 6, how, dict(named_tensors(returned)), what)
        labels = whole(rows[..., 5], how, what)
        return [Found(r[:, :4], r[:, 4], c) for r, c in zip(rows, labels, strict=True)]

    return read


def _rows(how: Declaration, window: tuple[int, int], what: str) -> Read:
    """Boxes with a score per class, perhaps with objectness before them."""
    first = _FIRST_SCORE[how.format]
    cells = _cells(how.strides, window) if how.format == "grid" else None
    one = replace(how, activation="sigmoid" if how.activation != "none" else "none")

    def read(returned: Any, batch: int) -> list[Found]:
        raw = _raw(returned, batch, how, what)
        rows = raw.transpose(1, 2) if how.format == "columns" else raw
        fit(rows.shape[2] > first and rows.shape[1] >= rows.shape[2], how, returned, what)
        fit(cells is None or len(cells) == rows.shape[1], how, returned, what)
        made = tensor_of(dict(named_tensors(returned)), how, "masks", what) if how.masks else None
        further = 3 * how.points + (0 if made is None else made.shape[1])
        last = rows.shape[2] - further
        fit(last > first and (made is None or made.dim() == 4), how, returned, what)
        finite = check_scores(rows[..., 4:last], how, what)
        sure = _activated(rows[..., 4], one) if first == 5 else None
        found = []
        for i in range(batch):
            # Scores are 1 at most, so what is less sure than the threshold is below it. Where one
            # is not finite, that is to be seen.
            at = slice(None) if sure is None or not finite else _may_be(sure[i], how)
            kept = rows[i][at]
            best, labels = _best(_activated(kept[:, first:last], how), how)
            best = best if sure is None else best * sure[i][at]
            boxes = kept[:, :4]
            if cells is not None:
                own = cells.to(rows.device)[at]
                centre = (boxes[:, :2] + own[:, :2]) * own[:, 2:]
                boxes = torch.cat([centre, boxes[:, 2:].exp() * own[:, 2:]], -1)
            end = last + 3 * how.points
            points = (
                behind(kept[:, last:end], how.points, how.units, window) if end > last else None
            )
            masks = () if made is None else (kept[:, end:], made[i])
            found.append(Found(boxes, best, labels, points, *masks))
        return found

    return read


def _may_be(sure: Tensor, how: Declaration) -> Tensor:
    """Places of (A,) rows that may reach the threshold."""
    return torch.nonzero(sure * (1 + ROUNDING) >= how.score_threshold)[:, 0]


def _cells(strides: tuple[int, ...], window: tuple[int, int]) -> Tensor:
    """(A, 3): column, row and stride of every cell, grid by grid and row by row."""
    return torch.cat([_grid(stride, window) for stride in strides])


def _grid(stride: int, window: tuple[int, int]) -> Tensor:
    """(A, 3) of one stride."""
    rows, columns = (ceil(side / stride) for side in window)
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([x, y, torch.full_like(x, stride)], -1).reshape(-1, 3).float()


def _from_anchors(
    boxes: Tensor,
    how: Declaration,
    window: tuple[int, int],
    tensors: Mapping[str, Tensor],
    what: str,
) -> Tensor:
    """(N, A, 4) moves and log sizes relative to anchors -> cxcywh, px, as SSD has it.

    Every cell has its anchors about its middle, one after the other: x + dx * v1 * w, and
    w * exp(dw * v3).
    """
    levels = []
    for stride, sizes in zip(how.strides, how.anchors, strict=True):
        middle = (_grid(stride, window)[:, :2] + 0.5) * stride
        own = torch.tensor(sizes)
        middles = middle.repeat_interleave(len(own), 0)
        levels.append(torch.cat([middles, own.repeat(len(middle), 1)], 1))
    anchors = torch.cat(levels).to(boxes.device)
    fit(len(anchors) == boxes.shape[1], how, tensors, what)
    moves = boxes.float() * boxes.new_tensor(how.variances, dtype=torch.float32)
    centre = anchors[:, :2] + moves[..., :2] * anchors[:, 2:]
    return torch.cat([centre, anchors[:, 2:] * moves[..., 2:].exp()], -1)


def _own(how: Declaration, window: tuple[int, int], what: str) -> Read:
    """By a function of the user's: (returned, (H, W)) -> (boxes, scores, labels) per image."""
    module, _, name = how.decoder.partition(":")
    with own_modules():
        try:
            function: Any = getattr(importlib.import_module(module), name)
        except Exception as error:
            raise InputError(
                f"The decoder {how.decoder} cannot be imported: {first_line(error)}."
            ) from error

    def read(returned: Any, batch: int) -> list[Found]:
        try:
            each = [tuple(map(torch.as_tensor, parts)) for parts in function(returned, window)]
            found = [Found(*parts) for parts in each]
        except Exception as error:
            raise InputError(f"The decoder {how.decoder} failed: {first_line(error)}.") from error
        for f in found:
            if f.boxes.shape != (len(f.scores), 4) or f.labels.shape != f.scores.shape:
                shapes = ", ".join(str(tuple(t.shape)) for t in (f.boxes, f.scores, f.labels))
                raise InputError(
                    f"The decoder {how.decoder} returned {shapes}; (K, 4), (K,) and (K,) are"
                    " wanted for every image."
                )
        return [replace(f, labels=whole(f.labels, how, what)) for f in found]

    return read


READERS: Mapping[str, Callable[[Declaration, tuple[int, int], str], Read]] = {
    "dicts": _dicts,
    "boxes": _apart,
    "end2end": _end2end,
    "rows": _rows,
    "columns": _rows,
    "objectness": _rows,
    "grid": _rows,
    "anchors": _apart,
    "decoder": _own,
}


def label_count(how: Declaration, returned: Any) -> int | None:
    """How many labels boxes may have, by the shape of what was `returned`; None where that is not
    told, or where counting begins behind a background."""
    tensors = dict(named_tensors(returned))
    last = -1 if how.background == "last" else 0
    if how.background == "first" or how.format not in ("boxes", "anchors", *_FIRST_SCORE):
        return None
    if how.format in ("boxes", "anchors"):
        scores = tensor_of(tensors, how, "scores", "it")
        return scores.shape[-1] + last if scores.dim() == 3 else None
    named = tensors.get(how.output)
    raw = next(t for t in tensors.values() if t.dim() == 3) if named is None else named
    wide = raw.shape[1] if how.format == "columns" else raw.shape[2]
    further = 3 * how.points
    further += tensor_of(tensors, how, "masks", "it").shape[1] if how.masks else 0
    return wide - _FIRST_SCORE[how.format] - further + last


def _activated(scores: Tensor, how: Declaration) -> Tensor:
    scores = scores.float()
    if how.activation == "sigmoid":
        return scores.sigmoid()
    return scores.softmax(-1) if how.activation == "softmax" else scores


def _best(scores: Tensor, how: Declaration) -> tuple[Tensor, Tensor]:
    """(..., C) -> the largest score of a class that is one, and its label."""
    if how.background == "last":
        scores = scores[..., :-1]
    elif how.background == "first":
        scores = scores[..., 1:]
    if not scores.shape[-1]:
        raise InputError(
            f"{how.source} says that the {how.background} class is the background, and there is"
            " no other."
        )
    best, labels = scores.max(-1)
    return best, labels + 1 if how.background == "first" else labels


def _raw(returned: Any, batch: int, how: Declaration, what: str) -> Tensor:
    """The one tensor (N, ., .) with everything."""
    tensors = dict(named_tensors(returned))
    if how.output and how.output not in tensors:
        raise InputError(
            f"{how.source} names the output {how.output!r}, and {what} returns {shapes(tensors)}."
        )
    named = tensors[how.output] if how.output else None
    found = next((t for t in tensors.values() if t.dim() == 3), None) if named is None else named
    if found is None or found.dim() != 3 or found.shape[0] != batch:
        raise misfit(how, returned, what)
    return found
