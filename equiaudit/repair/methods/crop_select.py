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
from equiaudit.sampling.crop_select import CropSelect, votes_side


@dataclass(frozen=True)
class CropSelectInput:
    """For real shifts: exact wherever the choice goes with the content, which is bounded."""

    name: str = "crop-select"
    understands: frozenset[str] = frozenset({"margin", "votes", "positions"})

    def claim(self, options: FixOptions) -> Claim:
        """About real shifts, and only where the same crop is chosen again."""
        return Claim(
            exact=True,
            shifts="crop",
            condition=(
                "wherever a real move by whole pixels keeps the choice of the"
                f" {'crop' if options.votes == 1 else 'crops'}, and not on circular shifts"
            ),
            training="none",
        )

    def misfit(self, subject: Subject, options: FixOptions) -> Misfit | None:
        """A model without a torch graph, or images resized to less than the larger input."""
        if options.margin != "auto" and options.margin < 1:
            raise InputError(f"--margin is {options.margin}.", tip="It is 1 px or more.")
        refused = of_boxes(subject) if subject.model.detector else None
        if refused is not None:
            return refused
        _ = subject.captured  # raises where there is no graph
        how = subject.model.preprocess
        margin = _margin(how, options)
        if options.votes > 1:
            uncountable = _no_vote(subject, margin, options.votes)
            if uncountable is not None:
                return uncountable
        room = _room(how)
        if room is None or room >= margin:
            told = subject.dense or bool(subject.model.detector)
            return None if told else _positions(subject, options)
        return Misfit(
            f"A margin of {margin} px needs images of"
            f" {max(how.size) + margin} px, and {subject.model.name} is given images"
            f" resized to {how.resize_text}.",
            f"Give --preprocess with resize = {max(how.size) + margin} or more"
            + (f", or --margin {room} at most." if room > 0 else "."),
        )

    def around(self, inner: Converted, subject: Subject, options: FixOptions) -> Converted:
        """The net behind the choice, as one graph; the control sees the middle crop."""
        margin, votes = _margin(inner.preprocess, options), options.votes
        window = inner.preprocess.size
        how = _larger(inner.preprocess, margin)
        if subject.model.detector:
            return with_boxes(inner, subject, how, margin)
        how = replace(how, crop_margin=margin, crop_votes=votes)
        inside = graph_inside(inner.net)
        chosen: nn.Module = CropSelect(inside, margin, window, votes=votes)
        if subject.dense:
            maps = with_channels_first(inside, subject.layout)
            chosen = CropSelect(maps, margin, window, dense=True, votes=votes)
            chosen = of_layout(chosen, inside, subject.layout)
        middle = Middle(inner.original.graph or subject.graph, margin, window)
        note = larger_input(how, window, margin)
        if how.size == _resized(how):
            note += (
                "; that is the picture as it is resized for the model, of which it took the middle"
            )
        return replace(
            inner,
            net=subject.net(recaptured(chosen, how, self.name)),
            original=subject.net(recaptured(middle, how, self.name)),
            preprocess=how,
            check=Moved(margin, window, subject.dense, subject.threshold, votes=votes),
            margin=margin,
            agreement=expectations(margin, how.size, votes),
            notes=(*inner.notes, note),
        )


def _resized(how: Preprocess) -> tuple[int, int] | None:
    """Sides of the largest window of any resized image, px; None where images keep their pixels."""
    return (how.resize,) * 2 if isinstance(how.resize, int) else how.resize


def _room(how: Preprocess) -> int | None:
    """px that resized images have more than the window, None where they are not resized."""
    sides = _resized(how)
    return None if sides is None else min(a - b for a, b in zip(sides, how.size, strict=True))


def _margin(how: Preprocess, options: FixOptions) -> int:
    """The margin asked for; of "auto" what there is, and InputError where that is nothing."""
    if options.margin != "auto":
        return options.margin
    room, boxed = _room(how), how.fit == "letterbox"
    if room is not None and room > 0 and not boxed:
        return room
    why = (
        "images are letterboxed, which leaves nothing out"
        if boxed
        else "nothing says that images are resized"
        if room is None
        else f"images are resized to {how.resize_text}, which is no larger"
    )
    raise InputError(
        f"--margin auto takes what the model's resize has more than its window of"
        f" {how.size[0]}x{how.size[1]} px, and {why}.",
        tip="Give --margin M, or --preprocess with a larger resize.",
    )


def _no_vote(subject: Subject, margin: int, votes: int) -> Misfit | None:
    """Why the outputs for several crops cannot be averaged."""
    if margin + 1 < votes_side(votes):
        return Misfit(f"{votes} votes need a margin of {votes_side(votes) - 1} px.", "Fewer votes.")
    if subject.model.detector:
        return Misfit("Boxes of several crops have no mean.", "Leave --votes out.")
    if subject.model.outputs_labels:
        return Misfit(
            f"{subject.model.name} returns labels, and votes are means of scores.",
            "Export it without its argmax, or leave --votes out.",
        )
    every = subject.every
    if every is not None and every.probed > 1 and not every.per_image:
        return Misfit(
            "Votes are averaged image by image, and an output has no row per image.",
            "Leave --votes out.",
        )
    return None


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
