"""Verify a choice of crops: where it goes with the content, so do the outputs, to the bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from equiaudit.errors import InputError
from equiaudit.models.types import Layout
from equiaudit.repair.verify.compare import Tally, Threshold, output_per_image
from equiaudit.repair.verify.exactness import SETTINGS, exact_arithmetic
from equiaudit.results.repair import CRITERION, Mismatch, ShiftErrors, Verification

__all__ = ["verify_moves"]

_BLOCK = 8
_CONTROL_ROUNDS = 4
_LEAST_ROUNDS = 4
"""About a quarter of the moves keep the choice, and only those are compared."""
_STILL = "The same crop was chosen after none of the moves, so nothing was compared."
_PROVES_NOTHING = (
    "The unmodified model passes the same check, so passing proves nothing about the conversion."
)

Run = Callable[[torch.Tensor], object]
Shift = tuple[int, int]


@dataclass(frozen=True)
class _Round:
    """One move of every image: by how much, and whether the choice went along."""

    shifts: tuple[Shift, ...]
    kept: tuple[bool, ...]


def verify_moves(
    fixed: Run,
    original: Run,
    images: Mapping[str, torch.Tensor],
    position: Callable[[torch.Tensor], torch.Tensor],
    *,
    margin: int,
    window: tuple[int, int],
    dense: bool = False,
    layout: Layout = "NCHW",
    threshold: Threshold = 0.0,
    device: torch.device | str = "cpu",
    comparisons: int = 4096,
    seed: int = 0,
    subject: str = "converted graph",
) -> Verification:
    """Compare `fixed` on images with `fixed` on the same content, moved within the margin.

    `images` are (C, H + margin, W + margin) with `window` = (H, W); new content enters at the
    border as they are rolled. `position` maps a batch to the offsets (N, 2) of the crops. A move
    is compared where the offset moved as the content did, since only then the claim says
    something; `coverage` tells how many those were. Maps (`dense`) are compared on the crop;
    `threshold` as for `verify`.
    """
    if not images:
        raise InputError("There are no images to verify on.")
    names, stack = list(images), torch.stack(list(images.values())).to(device)
    with exact_arithmetic():
        offsets = position(stack)
        count = max(_LEAST_ROUNDS, comparisons // len(names))
        rounds = _rounds(stack, offsets, position, margin, count, seed)
        compare = _Comparison(names, stack, rounds, window, dense, layout, threshold)
        figures = compare.errors(fixed, offsets)
        control = compare.first(_CONTROL_ROUNDS).errors(original, None)
    tried, kept = len(rounds) * len(names), figures.comparisons
    return Verification(
        subject=subject,
        passed=figures.passed,
        criterion=f"where the same crop is chosen, {CRITERION}",
        shifts="crop",
        figures=figures,
        control=control,
        total_stride=(1, 1),
        phases=len({s for r in rounds for s, k in zip(r.shifts, r.kept, strict=True) if k}),
        phases_total=(2 * margin + 1) ** 2 - 1,
        coverage=(
            f"{kept:,} of {tried:,} moves of up to {margin} px within the margin kept the choice,"
            " and those are compared"
        ),
        images=tuple(names),
        dense=dense,
        dtype=str(stack.dtype).removeprefix("torch."),
        device=stack.device.type,
        torch_version=torch.__version__,
        threads=torch.get_num_threads(),
        settings=SETTINGS,
        warnings=(*([] if kept else [_STILL]), *([_PROVES_NOTHING] if control.passed else [])),
    )


def _rounds(
    stack: torch.Tensor,
    offsets: torch.Tensor,
    position: Callable[[torch.Tensor], torch.Tensor],
    margin: int,
    count: int,
    seed: int,
) -> list[_Round]:
    """Moves that take each crop to a random place of the margin, other than its own."""
    rng = np.random.default_rng(seed)
    places = offsets.cpu().numpy()
    sides = margin + 1
    own = places[:, 0] * sides + places[:, 1]
    found = []
    for _ in range(count):
        drawn = (own + rng.integers(1, sides**2, len(own))) % sides**2
        moves = np.stack([drawn // sides, drawn % sides], 1) - places
        after = position(_moved(stack, moves.tolist())).cpu().numpy()
        kept = (after == places + moves).all(1)
        found.append(_Round(tuple((int(a), int(b)) for a, b in moves), tuple(map(bool, kept))))
    return found


def _moved(batch: torch.Tensor, shifts: list[Shift] | tuple[Shift, ...]) -> torch.Tensor:
    return torch.stack(
        [torch.roll(x, tuple(s), (-2, -1)) for x, s in zip(batch, shifts, strict=True)]
    )


@dataclass(frozen=True)
class _Comparison:
    """The same images and moves, for whichever net."""

    names: list[str]
    stack: torch.Tensor
    rounds: list[_Round]
    window: tuple[int, int]
    dense: bool
    layout: Layout
    threshold: Threshold

    def first(self, count: int) -> _Comparison:
        return replace(self, rounds=self.rounds[:count])

    def errors(self, run: Run, offsets: torch.Tensor | None) -> ShiftErrors:
        """`offsets` is where maps hold the crop; None where they are the window itself."""
        tally = Tally(self.threshold)
        for start in range(0, len(self.names), _BLOCK):
            block = slice(start, min(start + _BLOCK, len(self.names)))
            before = output_per_image(run, self.stack[block], self.dense, self.layout)
            for moves in self.rounds:
                if any(moves.kept[block]):
                    self._add(tally, run, block, moves, before, offsets)
        return tally.figures()

    def _add(
        self,
        tally: Tally,
        run: Run,
        block: slice,
        moves: _Round,
        before: torch.Tensor,
        offsets: torch.Tensor | None,
    ) -> None:
        shifts = moves.shifts[block]
        moved = _moved(self.stack[block], shifts)
        after = output_per_image(run, moved, self.dense, self.layout)
        for i, (shift, kept) in enumerate(zip(shifts, moves.kept[block], strict=True)):
            if not kept:
                continue
            pair = (before[i], after[i])
            if self.dense:
                at = None if offsets is None else offsets[block][i].tolist()
                pair = _common(*pair, shift, at, self.window)
            tally.add(Mismatch(image=self.names[block][i], shift=shift), *pair)


def _common(
    before: torch.Tensor,
    after: torch.Tensor,
    shift: Shift,
    at: list[int] | None,
    window: tuple[int, int],
) -> tuple[torch.Tensor, torch.Tensor]:
    """The part of both maps (C, h, w) that shows the same content.

    The crop lies at `at` before and at `at` + `shift` after; without `at` both maps are the
    window, and the content in it moved by `shift`.
    """
    first, second = [], []
    for i in range(2):
        if at is not None:
            first.append(slice(at[i], at[i] + window[i]))
            second.append(slice(at[i] + shift[i], at[i] + shift[i] + window[i]))
        else:
            n = before.shape[1 + i]
            first.append(slice(max(0, -shift[i]), min(n, n - shift[i])))
            second.append(slice(max(0, shift[i]), min(n, n + shift[i])))
    return before[:, first[0], first[1]], after[:, second[0], second[1]]
