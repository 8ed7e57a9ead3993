"""What conversions promise, put to the test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import fx

from equiaudit.models.types import Layout
from equiaudit.repair.save.formats import Run
from equiaudit.repair.verify.borders import borders_of
from equiaudit.repair.verify.circular import verify
from equiaudit.repair.verify.compare import Threshold
from equiaudit.repair.verify.margins import selection_margin
from equiaudit.repair.verify.moves import verify_moves
from equiaudit.results.repair import Verification
from equiaudit.sampling.crop_select import CropPosition

__all__ = ["Circular", "Moved"]


@dataclass(frozen=True)
class Circular:
    """Exactly equivariant to circular shifts."""

    total_stride: tuple[int, int]
    """Shifts by multiples of it may be left out; the input's size where all count."""
    dense: bool
    margins: bool = False
    """The graph chooses origins from features: say how clearly it did."""
    borders: bool = False
    """The graph rolls its input: say whether the images had a border to be cut at."""
    threshold: Threshold = 0.0
    """Above it a single score is another label; None where it is none."""
    layout: Layout = "NCHW"
    """Of the maps that are returned."""

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
        found = verify(
            run,
            original,
            images,
            total_stride=self.total_stride,
            dense=self.dense,
            layout=self.layout,
            threshold=self.threshold,
            device=device,
            comparisons=comparisons,
            seed=seed,
            margin=partial(selection_margin, watched) if watched is not None else None,
            subject=subject,
        )
        if not self.borders:
            return found
        return found.model_copy(update={"borders": borders_of(images.items())})


@dataclass(frozen=True)
class Moved:
    """The same outputs wherever the chosen crop moves with the content."""

    margin: int
    window: tuple[int, int]
    dense: bool
    threshold: Threshold = 0.0
    layout: Layout = "NCHW"
    """Of the maps that are returned."""

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
        """`verify_moves` over the places of the margin."""
        return verify_moves(
            run,
            original,
            images,
            CropPosition(self.margin),
            margin=self.margin,
            window=self.window,
            dense=self.dense,
            layout=self.layout,
            threshold=self.threshold,
            device=device,
            comparisons=comparisons,
            seed=seed,
            subject=subject,
        )
