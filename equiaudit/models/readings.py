"""How a model's output is read: a decision with its reasons, or a refusal that names the flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch

from equiaudit.errors import InputError
from equiaudit.models.evidence import (
    DETECTION,
    LOOKS,
    POSITIONS,
    Look,
    Output,
    Seen,
    boxes_among,
    has_map_shape,
    is_whole,
    several_per_place,
    unlike_a_segmenter,
)
from equiaudit.models.layouts import fitting_layouts
from equiaudit.models.outputs import OutputChoice, sums_to_one
from equiaudit.models.types import Layout
from equiaudit.tasks import TASKS

LayoutChoice = Literal["auto", "NCHW", "NHWC"]

_SCORES, _MAPS = (
    next(task.name for task in TASKS.values() if task.guessed and task.maps is maps)
    for maps in (False, True)
)
"""What numbers and what maps are taken for where no task was named."""
_INSIST = "--task classification reads it as scores all the same"
_STATED = {"detect": "a detector", "segment": "a segmenter of objects", "pose": "a pose estimator"}
"""The tasks that Ultralytics writes into the metadata of a file, where nothing here audits them."""


class AmbiguousOutput(InputError):
    """An output that can be read in more than one way: another batch says nothing against it."""


class _Doubt(Exception):
    """Why an output is not read as what its shape suggests, and what to say instead."""

    def __init__(self, why: str, tip: str) -> None:
        super().__init__(why)
        self.why, self.tip = why, tip


def choose_output(
    seen: Seen,
    *,
    task: str,
    layout: LayoutChoice,
    output: str | int | None,
    what: str,
    doubtful: bool = False,
) -> OutputChoice:
    """The output named `output` (or at that place), else the first that fits the task.

    What `task` and `layout` leave open is settled by evidence, and `notes` say how. With
    `doubtful`, for work that takes no labels from outputs, one that may be something else is
    taken where there is no other, and `doubt` says what. Raises InputError that lists the outputs
    and their shapes where none fits, and AmbiguousOutput that names the flags where more than one
    reading is possible.
    """
    places = [_place(output, seen, what)] if output is not None else range(len(seen.outputs))
    # Several classes before a single score: a second head often is one (depth, quality, ...).
    ordered = sorted(places, key=lambda place: seen.outputs[place].tensor.shape[1:2] == (1,))
    candidates = [seen.outputs[place] for place in ordered]
    seen = replace(seen, named=output is not None)
    doubts = _detector(candidates[0], seen) if task == "auto" and candidates else []
    told: OutputChoice | None = None
    for candidate in candidates if not doubts else ():
        try:
            choice = _read(candidate, seen, task, layout)
        except _Doubt as doubt:
            doubts.append(doubt)
            continue
        if choice is None or ((doubts or told) and _is_single(candidate, choice)):
            continue
        choice = replace(choice, notes=_said(choice, candidate, seen))
        if task != "auto" or TASKS[choice.task].guessed:
            return choice
        told = told or choice
    if told is not None:
        return told
    if doubts and doubtful:
        insisted = _insisted(candidates, seen, task, layout)
        if insisted is not None:
            return replace(insisted, doubt=doubts[0].why)
    if doubts:
        raise AmbiguousOutput(f"{what}: {doubts[0].why}.", tip=doubts[0].tip)
    raise _nothing_fits(seen, candidates, task, what)


def _insisted(
    candidates: Sequence[Output], seen: Seen, task: str, layout: LayoutChoice
) -> OutputChoice | None:
    """The first output that fits, whatever it looks like."""
    wanted: tuple[str, ...] = (_SCORES, _MAPS)
    for candidate in candidates:
        for reading in wanted if task == "auto" else (task,):
            try:
                choice = _read(candidate, seen, reading, layout)
            except _Doubt:
                choice = _read(candidate, seen, reading, "NCHW")
            if choice is not None:
                return replace(choice, notes=_said(choice, candidate, seen))
    return None


def _place(output: str | int, seen: Seen, what: str) -> int:
    names = [item.name for item in seen.outputs]
    if str(output) in names:
        return names.index(str(output))
    if str(output).isdecimal() and int(output) < len(names):
        return int(output)
    raise InputError(
        f"{what} has no output {str(output)!r}.", tip=f"Its outputs: {_listed(seen.outputs)}."
    )


def _listed(outputs: Sequence[Output]) -> str:
    return ", ".join(item.shown for item in outputs) or "no tensor"


def _is_single(output: Output, choice: OutputChoice) -> bool:
    """One score beside outputs that are no scores is a part of what they say, not a class."""
    return choice.task == _SCORES and not choice.labels and output.rows.shape[1] == 1


def _nothing_fits(seen: Seen, candidates: Sequence[Output], task: str, what: str) -> InputError:
    tip = "Choose another --output-name or --task." if len(seen.outputs) > 1 else None
    asked = [t for t in TASKS.values() if t.guessed] if task == "auto" else [TASKS.named(task)]
    if task == "auto" and len(candidates) == 1 and not is_whole(candidates[0].tensor):
        shape = candidates[0].tensor.shape
        if len(shape) == 1:
            tip = "--task classification reads (N,) as one score per image, regression as a number."
        elif len(shape) == 3 and fitting_layouts((shape[0], 0, *shape[1:]), seen.window):
            tip = "--task segmentation or image reads (N, H, W) as maps of one channel."
        elif len(shape) == 3:
            tip = (
                "If its rows are the boxes of a detector, --detector says how they are made (see"
                " docs/detection.md), and --task detection audits them."
            )
    return InputError(
        f"{what} returns no {' or '.join(each.output for each in asked)} for a batch of"
        f" {seen.batch}: {_listed(candidates)}.",
        tip=tip,
    )


def _detector(first: Output, seen: Seen) -> list[_Doubt]:
    """What speaks for a detector, if anything; a map that was named is the user's choice."""
    if seen.named and (has_map_shape(first.tensor) or not _is_of_boxes(first, seen)):
        return []
    stated = _STATED.get(seen.stated)
    why = f"its metadata say task {seen.stated!r}" if stated else DETECTION.rule(first, seen)
    if why is None:
        return []
    looks = f"it looks like {stated or DETECTION.name} ({why}): {DETECTION.loss}"
    return [_Doubt(f"{looks}; its outputs are {_listed(seen.outputs)}", _tip([DETECTION], seen))]


def _is_of_boxes(output: Output, seen: Seen) -> bool:
    """Whether it has a row or a number for each of the boxes."""
    counts = {box.tensor.shape[-2] for box in boxes_among(seen) if box.tensor.dim() > 1}
    return output in boxes_among(seen) or output.tensor.shape[1:2] in {(n,) for n in counts}


def _tip(looks: Sequence[Look], seen: Seen) -> str:
    """The flag of each reading."""
    found = {look.task: look.name for look in looks if look.task in TASKS}
    flags = [
        f"--task {task} audits it as {'what it is' if task == looks[0].task else name}"
        for task, name in found.items()
    ]
    flags.append(_INSIST)
    if len(seen.outputs) > 1:
        flags.append("--output-name takes another output")
    return "; ".join(flags) + "."


def _read(output: Output, seen: Seen, task: str, layout: LayoutChoice) -> OutputChoice | None:
    """How the output is read; None where it does not fit, `_Doubt` where that is not certain."""
    tensor = output.tensor
    if not tensor.dim() or tensor.shape[0] != seen.batch or tensor.dtype.is_complex:
        return None
    places = tensor.dim() == 3 or has_map_shape(tensor)
    if task not in ("auto", _SCORES) and not TASKS.named(task).maps:
        return _read_as(task, output, seen)
    if not places:
        return _read_numbers(output, seen, task) if task in ("auto", _SCORES) else None
    if task == _SCORES:
        return None
    if tensor.dim() == 3:
        return _read_flat_map(output, seen, task)
    return _read_map(output, seen, task, layout) if tensor.dim() == 4 else None


def _read_as(task: str, output: Output, seen: Seen) -> OutputChoice | None:
    """For a task that was named, by what it says of itself."""
    tensor, named = output.tensor, TASKS.named(task)
    shaped = tensor[:, None] if tensor.dim() == 1 else tensor
    if shaped.dim() == 4 and shaped.shape[1:3] == (1, 1):
        shaped = shaped.flatten(1)
    if (is_whole(tensor) and not named.whole_numbers) or not named.fits(shaped):
        return None
    why = None if named.scores else POSITIONS.rule(output, seen)
    notes = () if why is None else (_of_positions(why),)
    return OutputChoice(output.name, output.place, task, tensor.dim(), notes=notes)


def _of_positions(why: str) -> str:
    return (
        f"it looks like positions in the image ({why}), which should move with it: what is measured"
        " is what stays; fix and verify hold positions against the shift (--positions)"
    )


# Numbers per image


def _read_numbers(output: Output, seen: Seen, task: str) -> OutputChoice | None:
    tensor, rows, origin = output.tensor, output.rows, output.origin
    choice = OutputChoice(output.name, output.place, _SCORES, tensor.dim())
    if origin.maker == "topk-index":
        return replace(choice, labels=True, classes=origin.length)
    if rows.shape[1] == 1 and (origin.maker == "argmax" or is_whole(tensor)):
        if task == "auto" and origin.maker not in ("argmax", "compare"):
            raise _Doubt(
                f"{output.shown} holds a whole number per image, a label or a count",
                "--task classification reads it as the label, --task regression as a number.",
            )
        classes = 2 if origin.maker == "compare" else origin.length
        return replace(choice, labels=True, classes=classes)
    if is_whole(tensor) and tensor.dtype != torch.uint8:
        return None
    if task == "auto":
        if tensor.dim() == 1 and origin.maker != "sigmoid":
            return None
        if (told := _doubt_scores(output, seen)) is not None:
            look, why = told
            return replace(choice, task=look.task, notes=(f"taken for {look.name}: {why}",))
    elif not seen.named and _looks(output, seen) and _others_fit(output, seen):
        return None
    return choice


def _others_fit(output: Output, seen: Seen) -> bool:
    """Whether another output would be read as scores without being asked to."""
    for other in seen.per_image:
        if other is output or other.tensor.dim() > 2 or is_whole(other.tensor):
            continue
        if other.rows.shape[1] > 1 and not _looks(other, seen):
            return True
    return False


def _looks(output: Output, seen: Seen) -> list[tuple[Look, str]]:
    found = ((look, look.rule(output, seen)) for look in LOOKS)
    return [(look, why) for look, why in found if why]


def _doubt_scores(output: Output, seen: Seen) -> tuple[Look, str] | None:
    """What it certainly is, and why; None where nothing speaks against scores."""
    found = _looks(output, seen)
    for look, why in found:
        if look.certain(output, seen) and look.task in TASKS:
            return look, why
    if not found:
        return None
    look, why = found[0]
    tip = _tip([look for look, _ in found], seen)
    raise _Doubt(f"{output.shown} looks like {look.name} ({why}): {look.loss}", tip)


# Maps


def _read_flat_map(output: Output, seen: Seen, task: str) -> OutputChoice | None:
    """(N, H, W): labels, or, where the task is given, a map of one channel."""
    tensor, maker = output.tensor, output.origin.maker
    if not fitting_layouts((seen.batch, 0, *tensor.shape[1:]), seen.window):
        return None
    labels = _holds_labels(output, seen, task)
    if task == "auto" and not labels and maker != "compare":
        return None
    wanted = _MAPS if task == "auto" else task
    choice = OutputChoice(output.name, output.place, wanted, 3, labels=labels)
    return replace(choice, classes=output.origin.length if labels else None)


def _read_map(output: Output, seen: Seen, task: str, layout: LayoutChoice) -> OutputChoice | None:
    found = layout if layout != "auto" else _layout(output, seen)
    if task == "auto":
        _doubt_map(output, found, seen)
    channels = output.tensor.shape[1 if found == "NCHW" else 3]
    if channels > 1 and is_whole(output.tensor) and output.tensor.dtype != torch.uint8:
        return None
    labels = channels == 1 and _holds_labels(output, seen, task)
    wanted = _MAPS if task == "auto" else task
    choice = OutputChoice(output.name, output.place, wanted, 4, found, labels=labels)
    if task == "auto" and (why := several_per_place(output, found, seen)):
        doubt = f"the channels of {output.shown} may be right together at one place ({why})"
        return replace(choice, doubt=f"{doubt}: only the likeliest would count")
    return replace(choice, classes=output.origin.length if labels else None)


def _layout(output: Output, seen: Seen) -> Layout:
    """By the proportions of the window, and by a run where several layouts have them."""
    fitting = fitting_layouts(output.tensor.shape, seen.window)
    if len(fitting) == 1:
        return fitting[0]
    followed = seen.follows(output.place)
    if followed is not None:
        return followed
    if not fitting:
        return "NCHW"
    raise _Doubt(
        f"{output.shown} may have its channels first or last: both fit the window of "
        f"{seen.window[0]}x{seen.window[1]}, and a changed patch of the image shows in neither",
        "--output-layout NCHW or NHWC says which.",
    )


def _holds_labels(output: Output, seen: Seen, task: str) -> bool:
    """Whether a map of one channel holds ids of classes, not a score or the value of a pixel."""
    tensor, maker = output.tensor, output.origin.maker
    scored = task == "auto" or TASKS.named(task).scores
    if not scored or maker == "compare" or tensor.dtype == torch.bool:
        return False
    if maker in ("argmax", "topk-index"):
        return True
    if is_whole(tensor) and tensor.dtype != torch.uint8:
        return True
    values = tensor.float()
    if not is_whole(tensor) and not bool((values == values.round()).all()):
        return False
    if not is_whole(tensor) and len(torch.unique(values)) <= 2:
        return False
    if task == "auto":
        raise _Doubt(
            f"{output.shown} holds whole numbers, ids of classes or the grey of pixels",
            "--task segmentation reads them as ids, --task image as grey.",
        )
    return True


def _doubt_map(output: Output, layout: Layout, seen: Seen) -> None:
    why = unlike_a_segmenter(output, layout, seen)
    if why is None:
        return
    flags = ["--task segmentation or image reads it as maps all the same"]
    if len(seen.outputs) > 1:
        flags.append("--output-name takes another output")
    raise _Doubt(
        f"{output.shown} looks like a feature map ({why}), whose channels are no classes",
        "; ".join(flags) + ".",
    )


# What is said


def _said(choice: OutputChoice, output: Output, seen: Seen) -> tuple[str, ...]:
    notes = []
    if choice.name:
        others = f", of {_listed(seen.outputs)}" if len(seen.outputs) > 1 else ""
        notes.append(f"output {choice.name!r} taken{others}")
    notes.append(f"read as {_reading(choice, output)}")
    if choice.layout == "NHWC":
        notes.append("its channels are the last axis (NHWC)")
    return (*notes, *choice.notes)


def _reading(choice: OutputChoice, output: Output) -> str:
    if choice.labels:
        which = "" if choice.classes is None else f" of {choice.classes} classes"
        made = {"argmax": ", behind an argmax", "topk-index": ", the first of a top-k"}
        per = "image" if choice.task == _SCORES else "pixel"
        return f"one label per {per}{which}{made.get(output.origin.maker, '')}: there are no scores"
    if TASKS[choice.task].maps:
        channels = output.tensor.shape[1 if choice.layout == "NCHW" else -1]
        return f"maps of {channels} channel{'' if channels == 1 else 's'}"
    count = output.rows.shape[1]
    if not TASKS[choice.task].scores:
        return f"{TASKS[choice.task].returns} ({count} numbers per image)"
    if count == 1:
        return "one score per image, for the second of two classes"
    if not TASKS[choice.task].exclusive:
        return f"scores of {count} classes, several of which may be right"
    if sums_to_one(output.rows):
        return f"probabilities of {count} classes"
    return f"scores of {count} classes, which nothing contradicts"
