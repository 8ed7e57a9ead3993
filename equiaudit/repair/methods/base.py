"""What a method of `fix` is: two small protocols, and the values they take and return."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

import torch
from torch import fx

from equiaudit.models.types import Preprocess
from equiaudit.repair.formats import Run
from equiaudit.repair.options import FixOptions
from equiaudit.repair.save import Saved
from equiaudit.results.repair import Agreement, Claim, TrainingRecord, Verification

if TYPE_CHECKING:
    from equiaudit.repair.methods.subject import Subject

__all__ = [
    "Check",
    "Converted",
    "FixOptions",
    "Method",
    "Misfit",
    "Net",
    "Recover",
    "Wrapper",
]

Recover: TypeAlias = Callable[
    [fx.GraphModule, fx.GraphModule], tuple[fx.GraphModule, TrainingRecord]
]
"""``recover(fixed, original) -> (fixed, record)``: gets accuracy back, before verification.

Both graphs map the same (N, C, H, W) to the same outputs. What comes back may be `fixed` itself
with other weights and statistics; it has to be a graph of the same operations.
"""


@dataclass(frozen=True)
class Misfit:
    """Why a method does not fit a model: a sentence each for the reason and the remedy."""

    reason: str
    remedy: str | None = None


class Net(Protocol):
    """Something that runs batches and can be written: a graph, or a file changed as a file."""

    @property
    def graph(self) -> fx.GraphModule | None:
        """The torch graph, None where there is none."""
        ...

    @property
    def parameters(self) -> int:
        """How many numbers it has learned."""
        ...

    def devices(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Those of `wanted` that it can run on, "cpu" always among them."""
        ...

    def on(self, device: str) -> Run:
        """What maps a batch on `device` to the main output there."""
        ...

    def save(
        self,
        path: Path,
        *,
        example: torch.Tensor,
        preprocess: Preprocess,
        check: Callable[[Run], str | None],
    ) -> Saved:
        """Write it, run what was written, compare and `check` it, rename it (see `save`)."""
        ...


class Check(Protocol):
    """The check that a conversion has to pass: what it promises, put to the test."""

    def __call__(
        self,
        run: Run,
        original: Run,
        images: Mapping[str, torch.Tensor],
        *,
        device: str,
        comparisons: int,
        seed: int,
        subject: str,
    ) -> Verification:
        """Compare `run` with itself under shifts of `images` (C, H, W), `original` as control."""
        ...


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


@runtime_checkable
class Method(Protocol):
    """A conversion of a net."""

    @property
    def name(self) -> str:
        """As in `--method`."""
        ...

    @property
    def understands(self) -> frozenset[str]:
        """The fields of `FixOptions` that it reads."""
        ...

    @property
    def trainable(self) -> bool:
        """Whether weights or statistics may be adjusted after it."""
        ...

    def claim(self, options: FixOptions) -> Claim:
        """Whether it is exact, under which condition, and what training it needs."""
        ...

    def misfit(self, subject: Subject, options: FixOptions) -> Misfit | None:
        """Why it does not fit this model, None where it does."""
        ...

    def convert(self, subject: Subject, options: FixOptions) -> Converted:
        """The converted net; only called where `misfit` is None."""
        ...


@runtime_checkable
class Wrapper(Protocol):
    """Something put around any net, converted or not, which leaves its ops as they are."""

    @property
    def name(self) -> str:
        """As in `--method`."""
        ...

    @property
    def understands(self) -> frozenset[str]:
        """The fields of `FixOptions` that it reads."""
        ...

    def claim(self, options: FixOptions) -> Claim:
        """Whether it is exact, under which condition; it holds whatever is inside."""
        ...

    def misfit(self, subject: Subject, options: FixOptions) -> Misfit | None:
        """Why it does not fit this model, None where it does."""
        ...

    def around(self, inner: Converted, subject: Subject, options: FixOptions) -> Converted:
        """`inner` with this around it; only called where `misfit` is None."""
        ...
