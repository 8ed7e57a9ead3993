"""Whether the numbers that a model returns follow its image: an independent look at positions.

The unmodified model is run on images and on small shifts of them. Where a landmark or a corner lies
in an output, that number changes by as many px, or shares of the image, as the image moved; a score
does not. What a method claims of an output is held against this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equiaudit.sampling.positions import Form, Positions, Unit

__all__ = ["Following", "every_following"]

_PARTS = (16, 8)
"""Shifts by these parts of a side, both ways."""
_STEADY = 0.5
"""A number follows where the median change per px is twice the median distance from it."""
_SHARE, _PX = 2.0, 4.0
"""Numbers up to the first may be shares of the image, those above the second may not."""
_DISORDER = 0.05

Run = Callable[[Tensor], Sequence[Tensor]]


@dataclass(frozen=True)
class Following:
    """How the numbers of one output (N, D), or in its rows (N, ..., n), answer to shifts.

    `rows` and `columns` have the change per px down and to the right for each number, 0 where it
    does not follow. `values` is all that was returned, (numbers in a row, any count).
    """

    rows: tuple[float, ...]
    columns: tuple[float, ...]
    values: Tensor
    flat: bool
    """One row per image."""

    def span(self, kind: Form) -> tuple[float, float]:
        """Smallest and largest of the finite values that are places."""
        every = self.flat and kind == "keypoints"
        places = self.values if every else self.values[: 2 * Positions(kind).corners]
        finite = places[torch.isfinite(places)]
        return (float(finite.min()), float(finite.max())) if finite.numel() else (0.0, 0.0)

    @property
    def moving(self) -> int:
        """How many numbers follow one axis and not the other."""
        return sum(bool(a) != bool(b) for a, b in zip(self.rows, self.columns, strict=True))

    @property
    def like_positions(self) -> bool:
        """Half of the numbers follow the image, some down and some across."""
        enough = self.moving >= 2 and 2 * self.moving >= len(self.rows)
        return enough and any(self.rows) and any(self.columns)

    def unit(self, kind: Form) -> Unit | None:
        """px or share, by the range of the values that are places; None where it does not tell."""
        largest = max(map(abs, self.span(kind)))
        if largest <= 0 or _SHARE < largest <= _PX:
            return None
        return "share" if largest <= _SHARE else "px"

    def contradiction(self, role: Positions, size: tuple[int, int]) -> str | None:
        """What speaks against reading the output as `role`, in words."""
        return self._of_range(role) or self._of_order(role) or self._of_moves(role, size)

    def _of_range(self, role: Positions) -> str | None:
        low, high = self.span(role.kind)
        found = self.unit(role.kind)
        if found is None or found == role.unit:
            return None
        are = "shares of the image are" if found == "share" else "px are"
        return f"its values lie in {low:.3g}..{high:.3g}, as {are}"

    def _of_order(self, role: Positions) -> str | None:
        if role.kind != "boxes" or len(self.values) < 4:
            return None
        x1, y1, x2, y2 = self.values[:4]
        wrong = ((x2 < x1) | (y2 < y1)).double().mean().item()
        if wrong <= _DISORDER:
            return None
        return (
            f"in {wrong:.0%} of its rows the third and fourth numbers are below the first and"
            " second, so they are no second corner (centre and size are keypoints)"
        )

    def _of_moves(self, role: Positions, size: tuple[int, int]) -> str | None:
        count = len(self.rows) if self.flat and role.kind == "keypoints" else 2 * role.corners
        own = [(self.rows if k % 2 else self.columns)[k] for k in range(count)]
        other = [(self.columns if k % 2 else self.rows)[k] for k in range(count)]
        if 2 * sum(map(bool, (*own, *other))) < count:
            return None  # it hardly answers to shifts: nothing to learn from
        for k, (mine, theirs) in enumerate(zip(own, other, strict=True)):
            step = 1.0 if role.unit == "px" else 1 / size[1 - k % 2]
            if theirs and not mine:
                return f"its number {k + 1} follows the {'columns' if k % 2 else 'rows'}"
            if not mine:
                return f"its number {k + 1} does not follow the image, and others do"
            if not 0.5 < mine / step < 2:
                return f"its number {k + 1} moves by {mine:.2g} per px, not {step:.2g}"
        return None


@torch.no_grad()
def every_following(
    run: Run, images: Mapping[str, Tensor], places: Sequence[int], block: int
) -> dict[int, Following]:
    """What is found of the outputs at `places`, on `images` (C, H, W).

    `run` maps `block` images at most. Images that no shift changes are left out, and so are outputs
    whose rows are not always as long.
    """
    changing = [x for x in images.values() if not _is_plain(x)]
    if not changing or not places:
        return {}
    stack = torch.stack(changing)
    still = _outputs(run, stack, block)
    moved = {
        (axis, by): _outputs(run, torch.roll(stack, by, 2 + axis), block)
        for axis in (0, 1)
        for by in _shifts(stack.shape[2 + axis])
    }
    every = [*still, *(outputs for shifted in moved.values() for outputs in shifted)]
    steady = [p for p in places if len({outputs[p].shape[-1:] for outputs in every}) == 1]
    return {place: _following(place, still, moved) for place in steady}


def _is_plain(image: Tensor) -> bool:
    """Whether rows or columns are all the same, so that a shift along them is none."""
    return any(torch.equal(image, torch.roll(image, 1, axis)) for axis in (1, 2))


def _shifts(side: int) -> list[int]:
    sizes = {max(1, side // part) for part in _PARTS}
    return sorted({sign * size for size in sizes for sign in (1, -1)})


def _outputs(run: Run, stack: Tensor, block: int) -> list[Sequence[Tensor]]:
    return [run(part) for part in torch.split(stack, block)]


def _following(
    place: int,
    still: Sequence[Sequence[Tensor]],
    moved: Mapping[tuple[int, int], Sequence[Sequence[Tensor]]],
) -> Following:
    flat = still[0][place].dim() == 2
    before = [_numbers(outputs[place]) for outputs in still]
    slopes = []
    for axis in (0, 1):
        changes = []
        for (along, by), outputs in moved.items():
            if along != axis:
                continue
            pairs = zip(before, (_numbers(each[place]) for each in outputs), strict=True)
            changes += [(y - x) / by for x, y in pairs if x.shape == y.shape]
        slopes.append(_slopes(changes))
    return Following(slopes[0], slopes[1], torch.cat(before, 1), flat)


def _numbers(output: Tensor) -> Tensor:
    """(n, rows): each number of a row with all its values."""
    return output.double().reshape(-1, output.shape[-1]).T


def _slopes(changes: Sequence[Tensor]) -> tuple[float, ...]:
    if not changes:
        return ()
    every = torch.cat(list(changes), 1)
    middle = every.median(1).values
    spread = (every - middle[:, None]).abs().median(1).values
    follows = (middle != 0) & (spread < _STEADY * middle.abs())
    return tuple(torch.where(follows, middle, 0.0).tolist())
