"""Which of many figures stand for a model as a whole."""

from __future__ import annotations

from collections.abc import Mapping

from equiaudit.results import Estimate, MetricInfo
from equiaudit.tasks.catalog import METRICS

Figures = Mapping[str, Estimate]
"""By ``<kind>.<metric>``."""


def info_of(name: str) -> MetricInfo | None:
    """What is known of ``<kind>.<metric>``; None where nothing is."""
    return METRICS.get(name.rpartition(".")[2])


def consistency_of(figures: Figures, kind: str) -> Estimate | None:
    """Consistency under shifts of `kind`, by which methods are compared; None if not measured."""
    names = (f"{kind}.{info.name}" for info in METRICS.values() if info.compares)
    return next((figures[name] for name in names if name in figures), None)


def accuracy_name(figures: Figures) -> str | None:
    """The figure that a fixed model may lose only so much of; None where there is no truth."""
    return next((name for name in figures if (info := info_of(name)) and info.accuracy), None)


def accuracy_of(figures: Figures) -> Estimate | None:
    """Accuracy on unshifted images, where those have labels; of a segmentation the mIoU."""
    name = accuracy_name(figures)
    return None if name is None else figures[name]
