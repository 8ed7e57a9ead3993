"""An image per image."""

from equiaudit.tasks.image.task import TASK

__all__ = ["TASK"]
