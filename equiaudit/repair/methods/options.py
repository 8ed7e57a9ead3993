"""What methods of `fix` take and give: the options, and a converted net with its promise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import fx

from equiaudit.models.types import Preprocess
from equiaudit.repair.rewrite.spec import Window
from equiaudit.repair.save.formats import Pad
from equiaudit.repair.save.net import Net
from equiaudit.repair.verify.check import Check
from equiaudit.results.repair import Agreement, TrainingRecord

__all__ = ["Converted", "FixOptions", "Recover", "Select"]

Select = Literal["features", "input"]

Recover: TypeAlias = Callable[
    [fx.GraphModule, fx.GraphModule], tuple[fx.GraphModule, TrainingRecord]
]
"""``recover(fixed, original) -> (fixed, record)``: gets accuracy back, before verification.

Both graphs map the same (N, C, H, W) to the same outputs. What comes back may be `fixed` itself
with other weights and statistics; it has to be a graph of the same operations.
"""


@dataclass(frozen=True)
class FixOptions:
    """How to convert and how hard to check.

    Each method names the fields it `understands`; one that no part of the method understands has
    to keep its default. `only` and `skip` are globs over node names and module paths; `margin` is
    how many px the input of `crop-select` is larger than the window; `positions` pairs
    the name or place of an output with "boxes", "keypoints" or "none"; `window` is how many px of a
    map's border are left out of choices (see `equiaudit.sampling.windowing`).
    `comparisons` bounds each verification (see `verify`); where it is None, as many are made as
    take about `seconds` for all of them together. `devices` are those to verify on; None means the
    CPU, and CUDA where there is one. `pad` is how an ONNX file pads circularly.
    """

    method: str = "mass"
    select: Select = "features"
    only: str | Sequence[str] | None = None
    skip: str | Sequence[str] | None = None
    margin: int = 16
    positions: tuple[tuple[str, str], ...] = ()
    window: Window = None
    comparisons: int | None = None
    seconds: float = 20.0
    seed: int = 0
    devices: tuple[str, ...] | None = None
    pad: Pad = "wrap"
    dry_run: bool = False


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
