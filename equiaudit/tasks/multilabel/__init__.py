"""Several labels per image."""

from equiaudit.tasks.multilabel.task import TASK

__all__ = ["TASK"]
