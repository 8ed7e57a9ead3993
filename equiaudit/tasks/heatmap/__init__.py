"""Maps whose highest places are what counts."""

from equiaudit.tasks.heatmap.task import TASK

__all__ = ["TASK"]
