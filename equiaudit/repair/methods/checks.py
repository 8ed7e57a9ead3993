"""What conversions promise, put to the test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import fx

from equiaudit.repair.formats import Run
from equiaudit.repair.margins import selection_margin
from equiaudit.repair.verify import verify
from equiaudit.results.repair import Verification

__all__ = ["Circular"]


@dataclass(frozen=True)
class Circular:
    """Exactly equivariant to circular shifts."""

    total_stride: tuple[int, int]
    """Shifts by multiples of it may be left out; the input's size where all count."""
    dense: bool
    margins: bool = False
    """The graph chooses origins from features: say how clearly it did."""

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
        """`verify` over every phase of the stride."""
        # Only a graph rewritten in this process marks the nodes that say how clear a choice was.
        watched = run if self.margins and isinstance(run, fx.GraphModule) else None
        return verify(
            run,
            original,
            images,
            total_stride=self.total_stride,
            dense=self.dense,
            device=device,
            comparisons=comparisons,
            seed=seed,
            margin=partial(selection_margin, watched) if watched is not None else None,
            subject=subject,
        )
