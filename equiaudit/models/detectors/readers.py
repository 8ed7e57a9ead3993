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
from equiaudit.models.detectors.declaration import FORMATS, Declaration
from equiaudit.models.detectors.instances import extras_of
from equiaudit.models.zoo import own_modules

_ROUNDING = 1e-2
"""By which a probability of half precision may leave 0..1."""
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


# Readers: (declaration, window, what) -> (returned, batch) -> boxes of each image


Read = Callable[[Any, int], list[Found]]


def _dicts(how: Declaration, window: tuple[int, int], what: str) -> Read:
    def read(returned: Any, batch: int) -> list[Found]:
        rows = returned[-1] if isinstance(returned, tuple) else returned
        if not is_list_of_dicts(rows):
            raise _misfit(how, returned, what)
        return [
            Found(each["boxes"], each["scores"], each["labels"], extras_of(each)) for each in rows
        ]

    return read


def held_by(how: Declaration, returned: Any) -> tuple[int, bool]:
    """How many key points an object has, and whether it has a mask."""
    rows = returned[-1] if isinstance(returned, tuple) else returned
    if how.format != "dicts" or not is_list_of_dicts(rows):
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
        boxes, scores = (_of(tensors, how, key, what) for key in ("boxes", "scores"))
        labels = _of(tensors, how, "labels", what) if how.labels else tensors.get("labels")
        count = _of(tensors, how, "count", what) if how.count else None
        if batch == 1 and boxes.dim() == 2:
            boxes, scores = boxes[None], scores[None]
            labels = None if labels is None else labels[None]
        _fit(
            boxes.dim() == 3 and boxes.shape[0] == batch and boxes.shape[2] == 4, how, tensors, what
        )
        _fit(scores.shape[:2] == boxes.shape[:2] and scores.dim() in (2, 3), how, tensors, what)
        if how.anchors:
            boxes = _from_anchors(boxes, how, window, tensors, what)
        if scores.dim() == 3:
            _fit(not how.labels, how, tensors, what)
            _told_apart(boxes, scores, how, tensors, what)
            _check_scores(scores, how, what)
            best, classes = _best(_activated(scores, how), how)
        else:
            _fit(how.activation != "softmax", how, tensors, what)
            _all_named(scores, labels, how, tensors, what)
            best = _activated(scores[..., None], how)[..., 0]
            classes = torch.zeros_like(best) if labels is None else labels
        _fit(classes.shape == best.shape, how, tensors, what)
        classes = _whole(classes, how, what)
        found = [Found(b, s, c) for b, s, c in zip(boxes, best, classes, strict=True)]
        if count is None:
            return found
        each = count.reshape(-1).tolist()
        _fit(len(each) == batch, how, tensors, what)
        if any(n not in range(boxes.shape[1] + 1) for n in each):
            raise InputError(
                f"{what} returns {each} as the number of boxes per image, and holds"
                f" {boxes.shape[1]} of each.",
                tip="Name the output that counts them with `count`.",
            )
        return [
            Found(f.boxes[: int(n)], f.scores[: int(n)], f.labels[: int(n)])
            for f, n in zip(found, each, strict=True)
        ]

    return read


def _of(tensors: Mapping[str, Tensor], how: Declaration, key: str, what: str) -> Tensor:
    """The tensor that `how` names for `key`, by name or place; what the key says where it does
    not, and the first two where nothing has such a name."""
    name = getattr(how, key) or key
    if name in tensors:
        return tensors[name]
    places = list(tensors.values())
    default = {"boxes": "0", "scores": "1"}.get(key, name) if not getattr(how, key) else name
    if default.isdecimal() and int(default) < len(places):
        return places[int(default)]
    raise InputError(
        f"{how.source} names {name!r} for {key}, and {what} returns {_shapes(tensors)}.",
        tip=f"Set {key} to the name of an output.",
    )


def _end2end(how: Declaration, window: tuple[int, int], what: str) -> Read:
    def read(returned: Any, batch: int) -> list[Found]:
        rows = _raw(returned, batch, how, what)
        _fit(rows.shape[2] == 6, how, dict(named_tensors(returned)), what)
        labels = _whole(rows[..., 5], how, what)
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
        _fit(rows.shape[2] > first and rows.shape[1] >= rows.shape[2], how, returned, what)
        _fit(cells is None or len(cells) == rows.shape[1], how, returned, what)
        finite = _check_scores(rows[..., 4:], how, what)
        sure = _activated(rows[..., 4], one) if first == 5 else None
        found = []
        for i in range(batch):
            # Scores are 1 at most, so what is less sure than the threshold is below it. Where one
            # is not finite, that is to be seen.
            at = slice(None) if sure is None or not finite else _may_be(sure[i], how)
            kept = rows[i][at]
            best, labels = _best(_activated(kept[:, first:], how), how)
            best = best if sure is None else best * sure[i][at]
            boxes = kept[:, :4]
            if cells is not None:
                own = cells.to(rows.device)[at]
                centre = (boxes[:, :2] + own[:, :2]) * own[:, 2:]
                boxes = torch.cat([centre, boxes[:, 2:].exp() * own[:, 2:]], -1)
            found.append(Found(boxes, best, labels))
        return found

    return read


def _may_be(sure: Tensor, how: Declaration) -> Tensor:
    """Places of (A,) rows that may reach the threshold."""
    return torch.nonzero(sure * (1 + _ROUNDING) >= how.score_threshold)[:, 0]


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
    _fit(len(anchors) == boxes.shape[1], how, tensors, what)
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
        return [replace(f, labels=_whole(f.labels, how, what)) for f in found]

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
        scores = _of(tensors, how, "scores", "it")
        return scores.shape[-1] + last if scores.dim() == 3 else None
    named = tensors.get(how.output)
    raw = next(t for t in tensors.values() if t.dim() == 3) if named is None else named
    wide = raw.shape[1] if how.format == "columns" else raw.shape[2]
    return wide - _FIRST_SCORE[how.format] + last


def _activated(scores: Tensor, how: Declaration) -> Tensor:
    scores = scores.float()
    if how.activation == "sigmoid":
        return scores.sigmoid()
    return scores.softmax(-1) if how.activation == "softmax" else scores


def _check_scores(scores: Tensor, how: Declaration, what: str) -> bool:
    """Whether all are finite: NaN and infinity are the image's own fault, and are said of it.

    InputError where one that nothing activates is no probability: a logit, or something else.
    """
    low, high = torch.aminmax(scores) if scores.numel() else (scores.sum(),) * 2
    finite = bool(torch.isfinite(high - low))
    if how.activation != "none":
        return finite
    if finite:
        odd = bool(low < -_ROUNDING or high > 1 + _ROUNDING)
    else:
        odd = bool(((scores < -_ROUNDING) | (scores > 1 + _ROUNDING)).any())
    if odd:
        raise InputError(
            f"{how.source} says that {what} returns {FORMATS[how.format]}, and what would be scores"
            f" goes from {scores.amin().item():.3g} to {scores.amax().item():.3g}.",
            tip="activation = 'sigmoid' or 'softmax' makes scores of logits; columns behind the"
            " scores, as of masks and keypoints, are for a decoder.",
        )
    return finite


def _whole(labels: Tensor, how: Declaration, what: str) -> Tensor:
    """Labels as they are; InputError where one is between whole numbers."""
    rounded = labels.round() if labels.is_floating_point() else labels
    wrong = torch.isfinite(labels) & (labels != rounded)
    if wrong.any():
        raise InputError(
            f"{how.source} says that {what} returns {FORMATS[how.format]}, and a label would be"
            f" {labels[wrong][0].item():.6g}."
        )
    return labels


def _told_apart(
    boxes: Tensor, scores: Tensor, how: Declaration, tensors: Mapping[str, Tensor], what: str
) -> None:
    """InputError where scores of four classes may be the boxes as well."""
    named = all(getattr(how, key) or key in tensors for key in ("boxes", "scores"))
    if not named and boxes.shape == scores.shape:
        raise InputError(
            f"{what} returns {_shapes(tensors)}, and either may be the boxes.",
            tip="Name them with `boxes` and `scores`.",
        )


def _all_named(
    scores: Tensor,
    labels: Tensor | None,
    how: Declaration,
    tensors: Mapping[str, Tensor],
    what: str,
) -> None:
    """InputError where nothing is said of labels, and another output may be those."""
    alike = [t for t in tensors.values() if t.squeeze(0).shape == scores.squeeze(0).shape]
    if labels is None and len(alike) > 1:
        raise InputError(
            f"{how.source} names no labels, and {what} returns {_shapes(tensors)}.",
            tip="Name the output that holds them with `labels`.",
        )


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
            f"{how.source} names the output {how.output!r}, and {what} returns {_shapes(tensors)}."
        )
    named = tensors[how.output] if how.output else None
    found = next((t for t in tensors.values() if t.dim() == 3), None) if named is None else named
    if found is None or found.dim() != 3 or found.shape[0] != batch:
        raise _misfit(how, returned, what)
    return found


def _fit(holds: bool, how: Declaration, returned: Any, what: str) -> None:
    if not holds:
        raise _misfit(how, returned, what)


def _misfit(how: Declaration, returned: Any, what: str) -> InputError:
    strides = f" for strides {list(how.strides)}" if how.strides else ""
    return InputError(
        f"{how.source} says that {what} returns {FORMATS[how.format]}{strides}, and it returns"
        f" {_shapes(dict(named_tensors(returned)))}.",
        tip="docs/detection.md lists the formats; `output`, `boxes`, `scores` and `labels` name"
        " tensors.",
    )


def _shapes(tensors: Mapping[str, Tensor]) -> str:
    shown = [f"{name or 'output'} {tuple(t.shape)}" for name, t in tensors.items()]
    return ", ".join(shown[:8]) or "no tensor"
