"""How a model's output is read, as far as its file says so: what `fix` and `scan` keep with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from equiaudit.models.detectors import Declaration, stated_detector
from equiaudit.models.preprocess import Given
from equiaudit.models.preprocess_values import READINGS
from equiaudit.models.readings import LayoutChoice
from equiaudit.models.types import Model, Preprocess
from equiaudit.tasks import TASKS


@dataclass(frozen=True)
class Asked:
    """What is said of the output, by flags or else by the file; "auto" or None: nothing is."""

    task: str = "auto"
    layout: LayoutChoice = "auto"
    output: str | int | None = None
    threshold: float | None = None
    source: str = ""
    """What named the task; "" where nothing did."""
    doubtful: bool = False
    """No label is taken from it: what else it may be is no matter."""
    detector: Declaration | None = None
    """What is declared of its boxes."""


def asked_of(flags: Asked, how: Preprocess, detector: str | None, *, trust: bool) -> Asked:
    """`flags`, and what they leave open from what the file of `how` says.

    What is said of one output holds for no other, nor the threshold of one task for another.
    `detector`, a flag, says how boxes are made, which names the task too.
    """
    boxes = detector is not None
    said, stated = dict(how.reading), "" if flags.task == "auto" else "flag --task"
    if flags.output is not None and str(flags.output) != said.get("output"):
        said = {}
    if boxes or flags.task not in ("auto", said.get("task")):
        said.pop("task", None)
        said.pop("threshold", None)
    source = "flag --detector" if boxes and not stated else how.source.get("task", "")
    table = how.reading.get("detector")
    given = None if table is None else Given(table, how.source["detector"])
    return replace(
        flags,
        task=said.get("task", "auto") if flags.task == "auto" else flags.task,
        layout=said.get("output_layout", "auto") if flags.layout == "auto" else flags.layout,
        output=said.get("output") if flags.output is None else flags.output,
        threshold=said.get("threshold") if flags.threshold is None else flags.threshold,
        source=stated or (source if boxes or "task" in said else ""),
        detector=stated_detector(detector, given, trust=trust),
    )


def known_reading(model: Model) -> dict[str, Any]:
    """What is known of the output of `model`, as its preprocessing file has it."""
    found: dict[str, Any] = {"task": model.task}
    if model.output:
        found["output"] = model.output
    if TASKS[model.task].maps and model.output_layout != "NCHW":
        found["output_layout"] = model.output_layout
    if model.threshold is not None:
        found["threshold"] = model.threshold
    if (stride := model.plan_stride) is not None:
        found["stride"] = list(stride)
    if model.detector:
        found["detector"] = dict(model.detector)
    return found


def with_reading(how: Preprocess, reading: Mapping[str, Any]) -> Preprocess:
    """`how` with `reading` in the order in which a file has it."""
    return replace(how, reading={key: reading[key] for key in READINGS if key in reading})
