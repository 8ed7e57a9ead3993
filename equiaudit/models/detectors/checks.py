"""What returned tensors have to be for a declaration to fit them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from equiaudit.errors import InputError
from equiaudit.graphs.outputs import named_tensors
from equiaudit.models.detectors.declaration import FORMATS, Declaration

ROUNDING = 1e-2
"""By which a probability of half precision may leave 0..1."""


def tensor_of(tensors: Mapping[str, Tensor], how: Declaration, key: str, what: str) -> Tensor:
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
        f"{how.source} names {name!r} for {key}, and {what} returns {shapes(tensors)}.",
        tip=f"Set {key} to the name of an output.",
    )


def check_scores(scores: Tensor, how: Declaration, what: str) -> bool:
    """Whether all are finite: NaN and infinity are the image's own fault, and are said of it.

    InputError where one that nothing activates is no probability: a logit, or something else.
    """
    low, high = torch.aminmax(scores) if scores.numel() else (scores.sum(),) * 2
    finite = bool(torch.isfinite(high - low))
    if how.activation != "none":
        return finite
    if finite:
        odd = bool(low < -ROUNDING or high > 1 + ROUNDING)
    else:
        odd = bool(((scores < -ROUNDING) | (scores > 1 + ROUNDING)).any())
    if odd:
        raise InputError(
            f"{how.source} says that {what} returns {FORMATS[how.format]}, and what would be scores"
            f" goes from {scores.amin().item():.3g} to {scores.amax().item():.3g}.",
            tip="activation = 'sigmoid' or 'softmax' makes scores of logits; columns behind the"
            " scores, as of masks and keypoints, are for a decoder.",
        )
    return finite


def whole(labels: Tensor, how: Declaration, what: str) -> Tensor:
    """Labels as they are; InputError where one is between whole numbers."""
    rounded = labels.round() if labels.is_floating_point() else labels
    wrong = torch.isfinite(labels) & (labels != rounded)
    if wrong.any():
        raise InputError(
            f"{how.source} says that {what} returns {FORMATS[how.format]}, and a label would be"
            f" {labels[wrong][0].item():.6g}."
        )
    return labels


def told_apart(
    boxes: Tensor, scores: Tensor, how: Declaration, tensors: Mapping[str, Tensor], what: str
) -> None:
    """InputError where scores of four classes may be the boxes as well."""
    named = all(getattr(how, key) or key in tensors for key in ("boxes", "scores"))
    if not named and boxes.shape == scores.shape:
        raise InputError(
            f"{what} returns {shapes(tensors)}, and either may be the boxes.",
            tip="Name them with `boxes` and `scores`.",
        )


def all_named(
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
            f"{how.source} names no labels, and {what} returns {shapes(tensors)}.",
            tip="Name the output that holds them with `labels`.",
        )


def fit(holds: bool, how: Declaration, returned: Any, what: str) -> None:
    """InputError where it does not hold."""
    if not holds:
        raise misfit(how, returned, what)


def misfit(how: Declaration, returned: Any, what: str) -> InputError:
    """That what was returned is not what the declaration says, with the shapes that were met."""
    strides = f" for strides {list(how.strides)}" if how.strides else ""
    return InputError(
        f"{how.source} says that {what} returns {FORMATS[how.format]}{strides}, and it returns"
        f" {shapes(dict(named_tensors(returned)))}.",
        tip="docs/detection.md lists the formats; `output`, `boxes`, `scores` and `labels` name"
        " tensors.",
    )


def shapes(tensors: Mapping[str, Tensor]) -> str:
    """Names and shapes of tensors."""
    shown = [f"{name or 'output'} {tuple(t.shape)}" for name, t in tensors.items()]
    return ", ".join(shown[:8]) or "no tensor"
