"""Scans of models whose output is a map: a class per pixel, or an image."""

from equiaudit.audit.dense.image_task import ImageTask
from equiaudit.audit.dense.segmentation_task import SegmentationTask

__all__ = ["ImageTask", "SegmentationTask"]
