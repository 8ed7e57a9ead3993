"""Verify: is a model exactly equivariant to circular shifts, and does the check mean anything?"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf

import torch
from torch import fx

from equiaudit.models.types import Layout
from equiaudit.repair.verify.borders import borders_of
from equiaudit.repair.verify.compare import Threshold, largest, output_per_image
from equiaudit.repair.verify.engine import Run, Shift, Trial, some
from equiaudit.repair.verify.exactness import exact_arithmetic
from equiaudit.repair.verify.margins import selection_margin
from equiaudit.repair.verify.schedule import breaking_period, schedule
from equiaudit.results.repair import Verification

_CONTROL_COMPARISONS = (32, 512)
"""At least and at most: a quarter of the work, for the control has to fail only once."""
_PERIODIC_SHARE = 8
"""Of images that nobody can make equivariant, a sample is enough."""


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
        until: float = inf,
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
            until=until,
        )
        if not self.borders:
            return found
        return found.model_copy(update={"borders": borders_of(images.items())})


def verify(
    fixed: Run,
    original: Run | None,
    images: Mapping[str, torch.Tensor],
    *,
    total_stride: tuple[int, int],
    dense: bool = False,
    layout: Layout = "NCHW",
    threshold: Threshold = 0.0,
    device: torch.device | str = "cpu",
    comparisons: int = 4096,
    seed: int = 0,
    margin: Callable[[torch.Tensor], torch.Tensor] | None = None,
    subject: str = "converted graph",
    until: float = inf,
) -> Verification:
    """Compare `fixed` on images with `fixed` on their circular shifts, bit for bit.

    `fixed` and `original` map a batch (N, C, H, W) on `device` to their output; `images` are
    (C, H, W), as the model receives them. `total_stride` is (rows, columns). With `dense`
    (maps of `layout`), the output of the shifted image is compared with the shifted output; where
    the output is coarser than the input, a shift that is no whole number of its steps may come
    out as either neighbouring step. Batches mix images that are each shifted differently, and
    both members of a pair lie at the same place of a batch of the same size.

    `comparisons` bounds the work, one pass each, and a quarter of it more for the control;
    `coverage` in the result says which phases that paid for. After `until` (`time.monotonic`) no
    batch begins, but for the phases of the powers of two along the axes. With `dense`, images that
    equal a shift of themselves which the stride does not divide are compared and counted apart: no
    choice of a grid can respect such a symmetry. A single score or channel is one label up to
    `threshold` and another above it; with None it is no label. `margin` maps a batch to (N,)
    relative gaps between the best and the second-best origin.

    Raises InputError where there are no images, or where `dense` contradicts the output.
    """
    names, size = list(some(images)), next(iter(images.values())).shape[-2:]
    stack = torch.stack(list(images.values())).to(device)
    unable = _periodic(images, total_stride) if dense else []

    def part(apart: bool, count: int) -> Trial:
        places = [i for i, name in enumerate(names) if (name in unable) == apart]
        sides = (size[0], size[1])
        plan = schedule(len(places), sides, total_stride, count, seed, bounded=until < inf)
        return Trial([names[i] for i in places], stack[places], plan, until=until)

    matching = _Outputs((size[0], size[1]), dense, layout, threshold)
    main, rest = part(False, comparisons), part(True, comparisons // _PERIODIC_SHARE)
    with exact_arithmetic():
        # The control first: without it the rest says nothing.
        shorter = main.first(_control_comparisons(comparisons))
        control = None if original is None else shorter.errors(original, matching)
        figures, done = main.compared(fixed, matching)
        unfixable = rest.errors(fixed, matching)
        gap = float(margin(stack).min()) if margin is not None else None
    return main.record(
        figures,
        control,
        plan=done,
        subject=subject,
        periodic=unfixable if unable else None,
        periodic_images=tuple(unable),
        total_stride=total_stride,
        images=tuple(images),
        smallest_margin=gap,
        dense=dense,
    )


def _periodic(images: Mapping[str, torch.Tensor], stride: tuple[int, int]) -> list[str]:
    return [name for name, image in images.items() if breaking_period(image, stride) is not None]


def _control_comparisons(comparisons: int) -> int:
    low, high = _CONTROL_COMPARISONS
    return min(high, max(low, comparisons // 4)) if comparisons > low else 1


@dataclass(frozen=True)
class _Outputs:
    """The main output: the same after a shift, or moved as the image of `size` was."""

    size: tuple[int, int]
    dense: bool
    layout: Layout
    threshold: Threshold

    def outputs(self, run: Run, batch: torch.Tensor) -> torch.Tensor:
        return output_per_image(run, batch, self.dense, self.layout)

    def pairs(
        self, images: slice, shifts: Sequence[Shift], before: torch.Tensor, after: torch.Tensor
    ) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        for i, (shift, old, new) in enumerate(zip(shifts, before, after, strict=True)):
            yield i, shifted_like(old, new, shift, self.size) if self.dense else old, new


def shifted_like(
    before: torch.Tensor, after: torch.Tensor, shift: Sequence[int], size: Sequence[int]
) -> torch.Tensor:
    """`before` (C, h, w) rolled as the image of `size` was, to the step nearest to `after`."""
    steps = [
        _whole_steps(d, n_out, n_in)
        for d, n_out, n_in in zip(shift, before.shape[-2:], size, strict=True)
    ]
    rolled = [torch.roll(before, s, (-2, -1)) for s in itertools.product(*steps)]
    if len(rolled) == 1:
        return rolled[0]
    return min(rolled, key=lambda y: largest((y - after).double()))


def _whole_steps(shift: int, n_out: int, n_in: int) -> tuple[int, ...]:
    """`shift` px of the input in steps of the output; both neighbours where it is between."""
    low, rest = divmod(shift * n_out, n_in)
    return (low, low + 1) if rest else (low,)
