"""How the outputs of a model are judged."""

from __future__ import annotations

from typing import Any

from equiaudit.audit.options import ScanOptions
from equiaudit.audit.task import TaskAudit
from equiaudit.data import Dataset
from equiaudit.models.types import Model
from equiaudit.shifts import ShiftPlan
from equiaudit.tasks import TASKS


def task_of(
    model: Model, dataset: Dataset, plan: ShiftPlan, options: ScanOptions
) -> TaskAudit[Any]:
    """What the engine is told about the outputs of `model`."""
    return TASKS.named(model.task).audit(model, dataset, plan, options)
