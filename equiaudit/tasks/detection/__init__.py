"""The task of detectors: boxes, each with a class and a score."""

from equiaudit.tasks.detection.task import TASK

__all__ = ["TASK"]
