"""The threshold of tasks that decide yes or no."""

from __future__ import annotations

from dataclasses import replace

from equiaudit.errors import InputError
from equiaudit.models.types import Model
from equiaudit.tasks import TASKS


def deciding(model: Model, threshold: float | None, source: str = "") -> Model:
    """With the threshold, which a file (`source`) may have stated; InputError for a task that
    reads none, and for what is none."""
    if threshold is None:
        return model
    if not TASKS[model.task].decides:
        tasks = " or ".join(name for name, task in TASKS.items() if task.decides)
        what = f"The threshold of {source}" if source else "--threshold"
        raise InputError(
            f"{what} decides yes or no, and {model.name} is read as {model.task}.",
            tip=f"Leave it out, or give --task {tasks}.",
        )
    if not 0 < threshold < 1:
        raise InputError(
            f"--threshold is {threshold:g}; it is a probability between 0 and 1.",
            tip="Logits are held against its logit, ln(t / (1 - t)).",
        )
    return replace(model, threshold=threshold)
