"""Yes or no per image."""

from equiaudit.tasks.binary.task import TASK

__all__ = ["TASK"]
