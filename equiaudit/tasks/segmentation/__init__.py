"""A class per pixel."""

from equiaudit.tasks.segmentation.task import TASK

__all__ = ["TASK"]
