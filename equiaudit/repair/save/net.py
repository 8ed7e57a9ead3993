"""What is converted, run and written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import fx

from equiaudit.models.types import Preprocess
from equiaudit.repair.save.formats import Run
from equiaudit.repair.save.write import Saved


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
