"""Which `Task` a model has."""

from __future__ import annotations

from typing import Any

from equiaudit.audit.classification import ClassificationTask
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.task import Task
from equiaudit.data import Dataset
from equiaudit.models.types import Model
from equiaudit.shifts import ShiftPlan

__all__ = ["task_of"]


def task_of(model: Model, dataset: Dataset, plan: ShiftPlan, options: ScanOptions) -> Task[Any]:
    """What the engine is told about the outputs of `model`."""
    if model.task == "classification":
        return ClassificationTask(model, dataset, plan, options)
    from equiaudit.audit.dense import ImageTask, SegmentationTask  # torchmetrics takes a second

    if model.task == "segmentation":
        return SegmentationTask(model, dataset, plan, options)
    return ImageTask(model, dataset, plan, options)
