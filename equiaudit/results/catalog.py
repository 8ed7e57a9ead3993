"""What is known of a metric: its name, its direction, its bounds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricInfo:
    """What a metric is: `name` as in ``circular.consistency`` after the dot."""

    name: str
    title: str
    meaning: str
    higher_is_better: bool
    lower_bound: float = 0.0
    upper_bound: float | None = 1.0
    is_share: bool = True
    """Shown as a percentage."""
    unit: str = ""
    kinds: tuple[str, ...] = ()
    """The shift kinds it exists for; empty for all."""
    needs_truth: bool = False
    """It exists only where labels, masks or targets do."""
    needs_scores: bool = False
    """It exists only where the model returns scores, not labels alone."""
    yes_or_no: bool = False
    """Each image meets it or does not."""
    of_pixels: bool = False
    """A share of pixels, few of which change."""
    accuracy: str = ""
    """What it is called where a fixed model may lose only so much of it: "Accuracy"."""
    compares: bool = False
    """Methods are compared by it."""
    unshifted: bool = False
    """Of the unshifted images against their truth."""
    in_short: bool = False
    """A table of before and after has a row for it under every kind."""
