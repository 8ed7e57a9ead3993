"""One net on the same images in two runtimes, as frozen values."""

from __future__ import annotations

from equiaudit.results.base import Measured


class Drift(Measured):
    """The first operation whose output is another in the other runtime by more than rounding."""

    node: str
    op: str
    error: float
    """Largest difference over the range of its output; of whole numbers, the share that differs."""
    inputs: float
    """The same of what it reads: the worst."""


class RuntimeComparison(Measured):
    """A file in `runtime` beside the same file in `reference`, on images that are not shifted."""

    runtime: str
    """With its version and settings, in words."""
    reference: str
    images: int
    labels: int
    label_changes: int
    worst_relative: float
    """Largest difference over the range of an image's output in `reference`."""
    bit_equal: int
    """Images whose outputs agree to the last bit."""
    tolerance: float
    """What counts as rounding in `drift`."""
    drift: Drift | None = None
    """None where no operation drifts by more than that."""
