"""crop-select: a larger input, of which the net sees the crop that a landmark in it chooses."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from equiaudit.errors import InputError
from equiaudit.models.types import Preprocess
from equiaudit.repair.methods.converted import Converted
from equiaudit.repair.methods.crop_boxes import Middle, larger_input, of_boxes, with_boxes
from equiaudit.repair.methods.rewrap import graph_inside, of_layout, recaptured, with_channels_first
from equiaudit.repair.methods.subject import Subject
from equiaudit.repair.options import FixOptions
from equiaudit.repair.outputs.roles import Misfit, looks_like_positions
from equiaudit.repair.verify.crops import Moved
from equiaudit.repair.verify.real_shifts import expectations
from equiaudit.results.repair import Claim
from equiaudit.sampling.crop_select import CropSelect


@dataclass(frozen=True)
class CropSelectInput:
    """For real shifts: exact wherever the choice goes with the content, which is bounded."""

    name: str = "crop-select"
    understands: frozenset[str] = frozenset({"margin", "positions"})

    def claim(self, options: FixOptions) -> Claim:
        """About real shifts, and only where the same crop is chosen again."""
        return Claim(
            exact=True,
            shifts="crop",
            condition=(
                "wherever a real move by whole pixels keeps the choice of the crop, and not on"
                " circular shifts"
            ),
            training="none",
        )

    def misfit(self, subject: Subject, options: FixOptions) -> Misfit | None:
        """A model without a torch graph, or images resized to less than the larger input."""
        if options.margin < 1:
            raise InputError(f"--margin is {options.margin}.", tip="It is 1 px or more.")
        refused = of_boxes(subject) if subject.model.detector else None
        if refused is not None:
            return refused
        _ = subject.captured  # raises where there is no graph
        how = subject.model.preprocess
        sides = (how.resize,) * 2 if isinstance(how.resize, int) else how.resize
        room = None if sides is None else min(a - b for a, b in zip(sides, how.size, strict=True))
        if room is None or room >= options.margin:
            told = subject.dense or bool(subject.model.detector)
            return None if told else _positions(subject, options)
        return Misfit(
            f"A margin of {options.margin} px needs images of"
            f" {max(how.size) + options.margin} px, and {subject.model.name} is given images"
            f" resized to {how.resize_text}.",
            f"Give --preprocess with resize = {max(how.size) + options.margin} or more"
            + (f", or --margin {room} at most." if room > 0 else "."),
        )

    def around(self, inner: Converted, subject: Subject, options: FixOptions) -> Converted:
        """The net behind the choice, as one graph; the control sees the middle crop."""
        margin, window = options.margin, inner.preprocess.size
        how = _larger(inner.preprocess, margin)
        if subject.model.detector:
            return with_boxes(inner, subject, how, margin)
        inside = graph_inside(inner.net)
        chosen: nn.Module = CropSelect(inside, margin, window)
        if subject.dense:
            maps = with_channels_first(inside, subject.layout)
            chosen = CropSelect(maps, margin, window, dense=True)
            chosen = of_layout(chosen, inside, subject.layout)
        middle = Middle(inner.original.graph or subject.graph, margin, window)
        return replace(
            inner,
            net=subject.net(recaptured(chosen, how, self.name)),
            original=subject.net(recaptured(middle, how, self.name)),
            preprocess=how,
            check=Moved(margin, window, subject.dense, subject.threshold),
            margin=margin,
            agreement=expectations(margin, how.size),
            notes=(*inner.notes, larger_input(how, window, margin)),
        )


def _positions(subject: Subject, options: FixOptions) -> Misfit | None:
    """Outputs that look like positions are refused; nothing maps them back to the larger input."""
    told = [(name, kind) for name, kind in options.positions if kind == "none"]
    found = looks_like_positions(subject.every, told, subject.model.name)
    if found is None and len(told) == len(options.positions):
        return None
    reason = "crop-select does not map positions back." if found is None else found.reason
    return Misfit(reason, "canonical does that, with --positions OUTPUT=boxes|keypoints.")


def _larger(how: Preprocess, margin: int) -> Preprocess:
    source = how.source | {"size": f"{how.size[0]}x{how.size[1]} and a margin of {margin}"}
    return replace(how, size=(how.size[0] + margin, how.size[1] + margin), source=source)
