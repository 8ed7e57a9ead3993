"""Adding up how far outputs are from what they should equal."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from equiaudit.graphs.outputs import Threshold
from equiaudit.results.repair import Mismatch, ShiftErrors

__all__ = ["Tally", "largest"]


def largest(difference: torch.Tensor) -> float:
    """Largest magnitude; infinite where something is not a number."""
    found = difference.abs().max().item()
    return math.inf if math.isnan(found) else float(found)


@dataclass
class Tally:
    """Adds comparisons up to `ShiftErrors`."""

    threshold: Threshold = 0.0
    """Where a single score is another label: above it. None where a single channel is none."""
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            (
                "comparisons",
                "comparisons_exact",
                "values",
                "values_exact",
                "labels",
                "label_changes",
            ),
            0,
        )
    )
    worst_absolute: float = 0.0
    worst_relative: float = 0.0
    worst_at: Mismatch | None = None

    def add(self, where: Mismatch, before: torch.Tensor, after: torch.Tensor) -> None:
        """Compare one image's outputs (C, ...), `before` already moved to where it should be."""
        equal = before == after
        changed = self._labels(before) != self._labels(after)
        exact = bool(equal.all())
        n_equal, n_changed = int(equal.sum()), int(changed.sum())
        found = (1, int(exact), equal.numel(), n_equal, changed.numel(), n_changed)
        for key, count in zip(self.counts, found, strict=True):
            self.counts[key] += count
        if not exact:
            self._widen(where, before, after)

    def _labels(self, output: torch.Tensor) -> torch.Tensor:
        """Of an output (C, ...): (...), or nothing where it has none."""
        if self.threshold == "ids":
            return output
        if output.shape[:1] > (1,):
            return output.argmax(0)
        return output[:0] if self.threshold is None else output[:1] > self.threshold

    def _widen(self, where: Mismatch, before: torch.Tensor, after: torch.Tensor) -> None:
        absolute = largest(before.double() - after.double())
        spread = float(before.double().max() - before.double().min())
        relative = absolute / spread if spread > 0 else math.inf
        self.worst_absolute = max(self.worst_absolute, absolute)
        if relative > self.worst_relative or self.worst_at is None:
            self.worst_relative, self.worst_at = relative, where

    def figures(self) -> ShiftErrors:
        """The sums as a result."""
        return ShiftErrors(
            **self.counts,
            worst_absolute=self.worst_absolute,
            worst_relative=self.worst_relative,
            worst_at=self.worst_at,
        )
