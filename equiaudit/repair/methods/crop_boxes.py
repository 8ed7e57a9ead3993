"""crop-select for detectors: boxes of the chosen crop, moved to where it was taken from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from equiaudit.errors import NothingToDo
from equiaudit.models.types import Preprocess
from equiaudit.repair.methods.converted import Converted
from equiaudit.repair.methods.detectors import roles_in_graph
from equiaudit.repair.methods.rewrap import with_all_outputs
from equiaudit.repair.methods.subject import Subject
from equiaudit.repair.outputs.declared import made_outside
from equiaudit.repair.outputs.roles import Misfit, Refused, ragged
from equiaudit.repair.outputs.run import EveryRun
from equiaudit.repair.verify.crops import Moved
from equiaudit.repair.verify.real_shifts import expectations
from equiaudit.sampling.crop_select import CropSelect
from equiaudit.sampling.positions import Map, Positions

__all__ = ["Middle", "larger_input", "of_boxes", "with_boxes"]

_DECODED = "Export it with its boxes decoded, in px; canonical moves the others."


class Middle(nn.Module):
    """The unmodified net on the middle of the larger input."""

    def __init__(self, module: nn.Module, margin: int, window: tuple[int, int]) -> None:
        super().__init__()
        self.module = module
        self.first = margin // 2
        self.window = window

    def forward(self, x: torch.Tensor) -> Any:
        """What it returns."""
        rows = torch.narrow(x, 2, self.first, self.window[0])
        crop = torch.narrow(rows, 3, self.first, self.window[1])
        return self.module(crop.contiguous())


def larger_input(how: Preprocess, window: tuple[int, int], margin: int) -> str:
    """What is to be said of an input that a margin makes larger."""
    return (
        f"the fixed model takes {how.size[0]}x{how.size[1]} px, the window of"
        f" {window[0]}x{window[1]} and a margin of {margin}, and its preprocessing says so"
    )


def of_boxes(subject: Subject) -> Misfit | None:
    """Boxes that do not mean the same in the larger input, or images without real pixels there."""
    name, every = subject.model.name, subject.every
    if subject.keys:
        return ragged(name)
    if (outside := made_outside(subject.model)) is not None:
        return (
            outside if made_outside(subject.model, told=True) else Misfit(outside.reason, _DECODED)
        )
    if every is None:
        return Misfit(f"The outputs of {name} are not known.", _DECODED)
    if subject.model.preprocess.fit == "letterbox":
        return Misfit(
            f"{name} is given whole images, scaled to fit, and beyond such a window there are no"
            " real pixels to choose from.",
            "Give --preprocess with fit = 'crop' where images are larger than its window.",
        )
    try:
        roles = subject.outputs().roles
    except Refused as refusal:
        return refusal.misfit
    for role, output in zip(roles, every.names, strict=True):
        if isinstance(role, Map):
            return Misfit(f"Output {output!r} of {name} is a map beside boxes.", _DECODED)
        if isinstance(role, Positions) and (role.strides or role.unit == "share"):
            of = "shares of its window" if role.unit == "share" else "relative to cells or anchors"
            return Misfit(
                f"The boxes of {name} are {of}, and mean something else in a larger one.", _DECODED
            )
    return None


def with_boxes(inner: Converted, subject: Subject, how: Preprocess, margin: int) -> Converted:
    """The detector behind the choice, as one graph; the control sees the middle crop."""
    every, window, module = subject.every, inner.preprocess.size, subject.model.module
    if every is None:
        raise NothingToDo(f"The outputs of {subject.model.name} are not known.")
    roles = _roles(subject, every)
    whole = subject.graph if module is None else with_all_outputs(module, inner.preprocess)
    chosen = CropSelect(whole, margin, window, roles=roles)
    middle = Middle(whole, margin, window)
    return replace(
        inner,
        net=subject.net(with_all_outputs(chosen, how)),
        original=subject.net(with_all_outputs(middle, how)),
        preprocess=how,
        check=Moved(margin, window, False, roles=roles),
        margin=margin,
        agreement=expectations(margin, how.size),
        notes=(*inner.notes, *subject.outputs().notes, larger_input(how, window, margin)),
    )


def _roles(subject: Subject, every: EveryRun) -> tuple[Any, ...]:
    return roles_in_graph(subject, every)[0]
