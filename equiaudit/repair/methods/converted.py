"""What a method of `fix` makes of a net, and what gets accuracy back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from torch import fx

from equiaudit.models.types import Preprocess
from equiaudit.repair.save.net import Net
from equiaudit.repair.verify.check import Check
from equiaudit.results.repair import Agreement, TrainingRecord

Recover: TypeAlias = Callable[
    [fx.GraphModule, fx.GraphModule], tuple[fx.GraphModule, TrainingRecord]
]
"""``recover(fixed, original) -> (fixed, record)``: gets accuracy back, before verification.

Both graphs map the same (N, C, H, W) to the same outputs. What comes back may be `fixed` itself
with other weights and statistics; it has to be a graph of the same operations.
"""


@dataclass(frozen=True)
class Converted:
    """What a method made of a model."""

    net: Net
    original: Net
    """The unmodified model behind the same input as `net`: the control."""
    preprocess: Preprocess
    """What `net` takes; its size may differ from the model's."""
    check: Check
    notes: tuple[str, ...] = ()
    """What is worth saying of this conversion, a sentence each."""
    training: TrainingRecord | None = None
    margin: int = 0
    """How many px the input is larger than the window that the net sees."""
    agreement: tuple[Agreement, ...] = ()
    """How often a real shift should keep the choice of a crop, where one is chosen."""
