"""One label per image."""

from equiaudit.tasks.classification.task import TASK

__all__ = ["TASK"]
