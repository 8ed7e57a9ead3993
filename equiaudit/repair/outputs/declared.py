"""Where a detector's outputs hold positions, taken from its declaration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from equiaudit.errors import InputError
from equiaudit.models.detectors import Declaration, parse_detector
from equiaudit.models.types import Model
from equiaudit.repair.outputs.roles import Misfit
from equiaudit.repair.outputs.run import EveryRun
from equiaudit.sampling.positions import Positions, Role, Unit

__all__ = ["check_units", "declaration_of", "declared_as", "declared_roles", "made_outside"]

_Kind = Literal["boxes", "keypoints", "corner"]
_KINDS: Mapping[str, _Kind] = {"xyxy": "boxes", "cxcywh": "keypoints", "xywh": "corner"}
_SHARES, _BEYOND = 2.0, 4.0
"""Boxes that all lie within as many px are shares; those beyond as many windows are px."""


def declaration_of(model: Model) -> Declaration | None:
    """What is declared of the boxes of a model; None where it is no detector."""
    if not model.detector:
        return None
    return parse_detector(dict(model.detector), where=model.name, source="its declaration")


def made_outside(model: Model, *, told: bool = False) -> Misfit | None:
    """Why the positions of a model are not known: a function outside of it makes the boxes, and
    --positions has not `told` them; or masks and points are bound to rows."""
    how = declaration_of(model)
    if how is not None and (how.masks or how.points):
        what = "masks" if how.masks else "key points behind its scores"
        return Misfit(
            f"{model.name} returns {what}, which are moved back of modules that return a dict per"
            " image alone.",
            "Leave them out of the export and of the declaration.",
        )
    if how is None or how.format != "decoder" or told:
        return None
    return Misfit(
        f"The boxes of {model.name} are made by {how.decoder}, and nothing says which outputs hold"
        " positions.",
        "Add --positions OUTPUT=boxes, =keypoints or =none for each.",
    )


def declared_as(model: Model, every: EveryRun | None, *, named: bool) -> dict[str, Any]:
    """The declaration as the table for a file made of the model; {} where there is none.

    Where the file has not the names of the outputs (`named`), it tells their places.
    """
    how = declaration_of(model)
    if how is None:
        return {}
    if named or every is None or how.format in ("dicts", "decoder"):
        return how.plain
    if how.format in ("boxes", "anchors"):
        at: dict[str, Any] = {key: str(place) for key, place in _named(how, every).items()}
        return replace(how, **at).plain
    place = _place(how.output, every, _first_rows(every))
    return replace(how, output=str(place) if len(every.names) > 1 else "").plain


def declared_roles(model: Model, every: EveryRun) -> dict[int, Role]:
    """The role of each output, by place, that the declaration of a detector speaks of.

    {} where nothing is declared of outputs that are tensors.
    """
    how = declaration_of(model)
    if how is None or how.format in ("dicts", "decoder"):
        return {}
    if how.format in ("boxes", "anchors"):
        return _apart(how, every)
    return {_place(how.output, every, _first_rows(every)): _rows(how)}


def _rows(how: Declaration) -> Positions:
    """The role of the output with boxes."""
    if how.format == "grid":
        return Positions("cells", strides=how.strides)
    if how.format == "anchors":
        shares = how.variances[:2]
        return Positions("cells", strides=how.strides, anchors=how.anchors, variances=shares)
    return Positions(_kind(how), _unit(how), columns=how.format == "columns")


def _kind(how: Declaration) -> _Kind:
    return _KINDS[how.box]


def _unit(how: Declaration) -> Unit:
    return "share" if how.units == "share" else "px"


def _apart(how: Declaration, every: EveryRun) -> dict[int, Role]:
    """Boxes and key points, and beside them what says nothing about places."""
    places = _named(how, every)
    moved = {"boxes": _rows(how), "keypoints": Positions("keypoints", _unit(how))}
    return {place: moved.get(key) for key, place in places.items()}


def _named(how: Declaration, every: EveryRun) -> dict[str, int]:
    """Where boxes, scores, labels and their number are, those that there are."""
    said = {key: getattr(how, key) or key for key in ("boxes", "scores")}
    said["labels"] = how.labels or ("labels" if "labels" in every.names else "")
    said |= {key: getattr(how, key) for key in ("count", "keypoints")}
    defaults = {"scores": 1}
    return {key: _place(name, every, defaults.get(key, 0)) for key, name in said.items() if name}


def _place(name: str, every: EveryRun, default: int) -> int:
    """Of an output by name or place; the decoder has refused what is not there."""
    if name in every.names:
        return every.names.index(name)
    return int(name) if name.isdecimal() else default


def _first_rows(every: EveryRun) -> int:
    return next((k for k, shape in enumerate(every.shapes) if len(shape) == 3), 0)


def check_units(model: Model, images: Mapping[str, Tensor]) -> None:
    """InputError where the boxes found on `images` (C, H, W) are not in the units declared."""
    how = declaration_of(model)
    if how is None or not images:
        return
    with torch.no_grad():
        found = [model.run(x[None].to(model.device))[0].cpu() for x in images.values()]
    rows = torch.cat(found)
    corners = rows[(rows[:, 5] >= 0) & torch.isfinite(rows).all(1), :4].abs()
    if not len(corners):
        return
    height, width = model.preprocess.size
    furthest = corners.amax().item()
    near = corners.amax(1).median().item()
    decoded = how.format not in ("grid", "anchors")
    if how.units == "px" and decoded and furthest <= _SHARES < min(height, width) / 4:
        raise InputError(
            f"The boxes of {model.name} are declared in px, and all lie within {furthest:.3g} px of"
            " the corner, as shares of the image do.",
            tip="units = 'share' in the [detector] table says so.",
        )
    if how.units == "share" and near > _BEYOND * max(height, width):
        raise InputError(
            f"The boxes of {model.name} are declared as shares of the image, and reach"
            f" {near:.3g} px in a window of {height}x{width}, as px do.",
            tip="units = 'px' in the [detector] table says so.",
        )
