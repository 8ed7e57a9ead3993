"""How outputs are compared, and adding up how far they are from what they should equal."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch

from equiaudit.errors import InputError
from equiaudit.graphs.outputs import main_output
from equiaudit.models.outputs import Decisions, decisions_of
from equiaudit.models.types import Layout, Model
from equiaudit.results.base import Mismatch
from equiaudit.results.repair import ShiftErrors
from equiaudit.tasks import TASKS

Threshold = float | Decisions | Literal["ids"] | None
"""Above it a single score or channel is another label; "ids" where it is the label itself, None
where it has none, as the values of images."""


def output_per_image(
    run: Callable[[torch.Tensor], object],
    batch: torch.Tensor,
    dense: bool,
    layout: Layout = "NCHW",
) -> torch.Tensor:
    """The main output of `run` for batch (N, C, H, W): (N, ...), with `dense` maps (N, C, h, w).

    `layout` is that of the maps as `run` returns them; those without channels get one.
    Raises InputError where it is something else.
    """
    output = main_output(run(batch))
    if not isinstance(output, torch.Tensor) or len(output) != len(batch):
        raise InputError("The model does not return one output per image.")
    if dense:
        output = channels_first(output, layout)
    if dense and output.dim() != 4:
        raise InputError(f"The model returns {output.dim()}-D outputs, which are not maps.")
    return output


def channels_first(output: torch.Tensor, layout: Layout) -> torch.Tensor:
    """A map of `layout`, or (N, h, w), as (N, C, h, w)."""
    if output.dim() == 3:
        return output.unsqueeze(1)
    return output.permute(0, 3, 1, 2) if layout == "NHWC" and output.dim() == 4 else output


def label_threshold(model: Model) -> Threshold:
    """How a single score or channel becomes a label, as in a scan."""
    if not TASKS[model.task].scores:
        return None
    if model.outputs_labels:
        return "ids"
    if decide := decisions_of(model):
        return decide
    return 0.5 if model.outputs_probabilities else 0.0


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
        if isinstance(self.threshold, Decisions):
            return self.threshold(output[None])[0]
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
