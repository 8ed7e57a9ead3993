"""Verify a choice of crops: where it goes with the content, so do the outputs, to the bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
import torch

from equiaudit.models.types import Layout
from equiaudit.repair.verify.compare import Threshold, output_per_image
from equiaudit.repair.verify.engine import Matching, Run, Shift, Trial, rolled, some
from equiaudit.repair.verify.every_output import Roles
from equiaudit.repair.verify.exactness import exact_arithmetic
from equiaudit.repair.verify.schedule import Schedule
from equiaudit.results.repair import CRITERION, Verification
from equiaudit.sampling.crop_select import CropPosition
from equiaudit.sampling.positions import Role

_CONTROL_ROUNDS = 4
_LEAST_ROUNDS = 4
"""About a quarter of the moves keep the choice, and only those are compared."""
_STILL = "The same crop was chosen after none of the moves, so nothing was compared."


@dataclass(frozen=True)
class Moved:
    """The same outputs wherever the crops, chosen by `CropPosition`, move with the content.

    The net takes images (C, H + margin, W + margin) with `window` = (H, W). New content enters at
    the border as they are rolled by up to `margin`, or the pitch of the lattice of `votes`. A move
    is compared where the choice moved as the content did, since only then the claim says something;
    `coverage` tells how many those were. Maps (`dense`, of `layout`) are compared on the crops;
    `threshold` as for `verify`.
    """

    margin: int
    window: tuple[int, int]
    dense: bool
    threshold: Threshold = 0.0
    layout: Layout = "NCHW"
    votes: int = 1
    roles: tuple[Role, ...] = ()
    """Of all outputs, where some hold boxes: those move with the content."""

    def __call__(
        self,
        run: Run,
        original: Run | None,
        images: Mapping[str, torch.Tensor],
        *,
        device: str,
        comparisons: int,
        seed: int,
        subject: str,
        until: float = inf,
    ) -> Verification:
        """Over random places of the margin."""
        stack = torch.stack(list(some(images).values())).to(device)
        with exact_arithmetic():
            position = CropPosition(self.margin, votes=self.votes)
            offsets = position(stack)
            count = max(_LEAST_ROUNDS, comparisons // len(images))
            shifts, kept = _moves(stack, offsets, position, count, seed)
            places = (2 * position.pitch - 1) ** 2 - 1
            plan = Schedule(shifts, len({*map(tuple, shifts[kept])}), places, "")
            trial = Trial(list(images), stack, plan, kept, until=until)
            figures, done = trial.compared(run, self._matching(offsets))
            first = trial.first(_CONTROL_ROUNDS * len(images))
            control = None if original is None else first.errors(original, self._matching(None))
        return trial.record(
            figures,
            control,
            [] if kept.any() else [_STILL],
            plan=done,
            subject=subject,
            criterion=f"where the same {_crops(self.votes)} chosen, {CRITERION}",
            shifts="crop",
            total_stride=(1, 1),
            coverage=(
                f"{figures.comparisons:,} of {kept.size:,} moves of up to {position.pitch - 1} px"
                " within the margin kept the choice, and those are compared"
            ),
            dense=self.dense,
        )

    def _matching(self, offsets: torch.Tensor | None) -> Matching:
        if not self.roles:
            position = CropPosition(self.margin, votes=self.votes)
            more = position.pitch * (position.side - 1)
            covered = self.window[0] + more, self.window[1] + more
            return _Crops(covered, offsets, self.dense, self.layout, self.threshold)
        size = (self.window[0] + self.margin, self.window[1] + self.margin)
        return Roles(size, self.roles, declared=range(len(self.roles)), torus=False)


def _crops(votes: int) -> str:
    return "crop is" if votes == 1 else "crops are"


def _moves(
    stack: torch.Tensor,
    offsets: torch.Tensor,
    position: CropPosition,
    count: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """(rounds, N, 2) moves that take each crop to a random place that may be chosen, other than its
    own, and (rounds, N) whether the choice went along."""
    rng = np.random.default_rng(seed)
    places = offsets.cpu().numpy()
    sides = position.pitch
    own = (places[:, 0] - position.first) * sides + places[:, 1] - position.first
    moves, kept = [], []
    for _ in range(count):
        drawn = (own + rng.integers(1, sides**2, len(own))) % sides**2
        moves.append(np.stack([drawn // sides, drawn % sides], 1) + position.first - places)
        after = position(rolled(stack, moves[-1].tolist())).cpu().numpy()
        kept.append((after == places + moves[-1]).all(1))
    return np.stack(moves), np.stack(kept)


@dataclass(frozen=True)
class _Crops:
    """The main output; of maps the part that shows the same content.

    `offsets` (N, 2) is where maps hold what crops of `window` cover; None where they are the window
    of the net itself.
    """

    window: tuple[int, int]
    offsets: torch.Tensor | None
    dense: bool
    layout: Layout
    threshold: Threshold

    def outputs(self, run: Run, batch: torch.Tensor) -> torch.Tensor:
        return output_per_image(run, batch, self.dense, self.layout)

    def pairs(
        self, images: slice, shifts: Sequence[Shift], before: torch.Tensor, after: torch.Tensor
    ) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        at = None if self.offsets is None else self.offsets[images].tolist()
        for i, (shift, old, new) in enumerate(zip(shifts, before, after, strict=True)):
            if not self.dense:
                yield i, old, new
            else:
                yield i, *_common(old, new, shift, None if at is None else at[i], self.window)


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
