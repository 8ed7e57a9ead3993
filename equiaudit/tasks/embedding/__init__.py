"""A vector per image."""

from equiaudit.tasks.embedding.task import TASK

__all__ = ["TASK"]
