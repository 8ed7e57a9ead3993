"""The tasks there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from equiaudit.registry import Registry
from equiaudit.tasks.base import Task

if TYPE_CHECKING:
    from equiaudit.results import Result

TASKS: Registry[Task] = Registry(
    "task",
    {
        "classification": "equiaudit.tasks.classification:TASK",
        "binary": "equiaudit.tasks.binary:TASK",
        "multilabel": "equiaudit.tasks.multilabel:TASK",
        "segmentation": "equiaudit.tasks.segmentation:TASK",
        "image": "equiaudit.tasks.image:TASK",
        "regression": "equiaudit.tasks.regression:TASK",
        "embedding": "equiaudit.tasks.embedding:TASK",
        "heatmap": "equiaudit.tasks.heatmap:TASK",
        "detection": "equiaudit.tasks.detection:TASK",
    },
)
"""Where the outputs of a model fit several, the first that is `guessed` is taken."""


def register(task: Task) -> None:
    """Make `task` known; InputError where its name is taken. `TASKS.remove` takes it back."""
    TASKS.add(task.name, task)


def of_result(result: Result) -> Task:
    """The task of `result`; where it is not known here, the first that shares a metric with it."""
    name = result.fingerprint.task
    if name in TASKS:
        return TASKS[name]
    found = {metric for shift in result.shifts.values() for metric in shift.metrics}
    every = tuple(TASKS.values())
    return next((t for t in every if found & {info.name for info in t.metrics}), every[0])
