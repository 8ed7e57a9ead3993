"""A run over noise, looked at as a detector's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from equiaudit.errors import InputError
from equiaudit.graphs.outputs import named_tensors
from equiaudit.models.artefact import Artefact
from equiaudit.models.detectors.declaration import Declaration
from equiaudit.models.detectors.decoding import decoder
from equiaudit.models.detectors.found import find_detector
from equiaudit.models.detectors.inputs import Listed, normalises_itself, takes_list
from equiaudit.models.detectors.readers import held_by, label_count
from equiaudit.models.outputs import OutputChoice
from equiaudit.models.preprocess import Given, Hints
from equiaudit.tasks import TASKS

_TASK = next(task.name for task in TASKS.values() if task.declared)


def prepared(artefact: Artefact) -> Artefact:
    """One that takes a list of images takes a batch; one that normalises is not given mean, std."""
    module = artefact.module
    if module is None:
        return artefact
    if takes_list(module):
        said = "takes a list of images, and is given each batch as one"
        artefact = replace(artefact, module=Listed(module), notes=(*artefact.notes, said))
    if not normalises_itself(module):
        return artefact
    values = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    own = {key: Given(value, "its own transform normalises") for key, value in values.items()}
    hints = Hints({**artefact.hints.stated, **own}, artefact.hints.fixed)
    return replace(artefact, hints=hints)


def as_detector(
    returned: Any,
    window: tuple[int, int],
    declared: Declaration | None,
    *,
    task: str,
    stated: str,
    what: str,
) -> OutputChoice | None:
    """How boxes are made of what a model returned; None where nothing says that it is a detector.

    `stated` is the task that the file's metadata state. InputError where `task` is that of
    detectors and nothing says how boxes are made, or where what was declared does not fit.
    """
    if task not in ("auto", _TASK):
        if declared is not None and declared.source.startswith("--"):
            raise InputError(
                f"{declared.source} reads boxes, and --task {task} does not.",
                tip="Leave one of them out.",
            )
        return None
    how = find_detector(declared, returned, stated)
    if how is None:
        if task == "auto":
            return None
        tensors = [f"{n or 'output'} {tuple(t.shape)}" for n, t in named_tensors(returned)]
        raise InputError(
            f"Nothing says how boxes are made of what {what} returns: {', '.join(tensors)}.",
            tip="Name a preset with --detector, or write a [detector] table; see"
            " docs/detection.md.",
        )
    notes = [f"a detector, by {how.source}: {how.said}"]
    points, masks = held_by(how, returned)
    if points:
        notes.append(f"{points} key points per object are compared")
    if masks:
        notes.append("masks of objects are compared, from a probability of 0.5 on")
    read = decoder(how, window, what=what)
    try:
        classes = label_count(how, returned)
    except (InputError, StopIteration):  # what does not fit is said by who reads it
        classes = None
    return OutputChoice(
        "",
        0,
        _TASK,
        classes=classes,
        read=read,
        declared=how.plain,
        points=points,
        masks=masks,
        notes=tuple(notes),
    )
