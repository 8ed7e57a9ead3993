"""Numbers per image."""

from equiaudit.tasks.regression.task import TASK

__all__ = ["TASK"]
