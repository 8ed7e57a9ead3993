"""Scans of classifiers: one label per image."""

from equiaudit.audit.classification.task import ClassificationTask

__all__ = ["ClassificationTask"]
