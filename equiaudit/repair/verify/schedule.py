"""Which image is compared at which shift, within a stated number of comparisons, and which images
equal a shift of themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

_PROBES = 64


@dataclass(frozen=True)
class Schedule:
    """Rounds in which every image is shifted once, each by another shift.

    `shifts` is (rounds, images, 2) int64, rows and columns in px; `phases` counts the
    distinct (dy mod S, dx mod S) in it. `stride` is S; None where a shift is its own phase.
    """

    shifts: np.ndarray[tuple[int, int, int], np.dtype[np.int64]]
    phases: int
    phases_total: int
    coverage: str
    stride: tuple[int, int] | None = None
    least: int = 1
    """Rounds that are done whatever they cost."""

    @property
    def comparisons(self) -> int:
        """Images times rounds."""
        return self.shifts.shape[0] * self.shifts.shape[1]

    def first(self, comparisons: int) -> Schedule:
        """The rounds that hold about the first `comparisons`, at least one."""
        rounds = max(1, comparisons // max(1, self.shifts.shape[1]))
        return replace(self, shifts=self.shifts[:rounds])

    def as_far_as(self, done: np.ndarray) -> Schedule:  # type: ignore[type-arg]
        """What was covered where only the shifts that are `done` (rounds, images) were."""
        if done.all():
            return self
        met = self.shifts[done] % (self.stride or np.iinfo(np.int64).max)
        phases = len({*map(tuple, met.tolist())} - {(0, 0)})
        coverage = f"{phases} of {self.phases_total} phases, when the time was up"
        return replace(self, phases=phases, coverage=coverage)


def schedule(
    images: int,
    size: tuple[int, int],
    stride: tuple[int, int],
    comparisons: int,
    seed: int,
    *,
    bounded: bool = False,
) -> Schedule:
    """Cover the phases of `stride` with about `comparisons` comparisons of `images` images.

    Every phase but (0, 0) meets every image where that is affordable; else every phase meets
    some image; else every phase along each axis does, whatever it costs, and a random sample
    of the others. Where time is `bounded`, those along the axes are saved on too, but for 1, 2, 4,
    8, ... px, which come first: each level of a net halves the map. A phase is reached by a random
    shift with that remainder, anywhere on the torus of `size`. Without images there is nothing to
    cover.
    """
    rng = np.random.default_rng(seed)
    every = _phases(stride, rng)
    if bounded:
        others = [not _is_power(phase) for phase in every.tolist()]
        every = every[np.argsort(others, kind="stable")]
    if images == 0:
        return Schedule(np.zeros((0, 0, 2), np.int64), 0, len(every), "no image")
    along = max(1, stride[0] + stride[1] - 2)
    if bounded and comparisons < along:
        along = sum(map(_is_power, every.tolist()))
    least = -(-along // images)
    rounds = min(len(every), max(least, comparisons // images))
    if rounds == len(every):
        # In every round each image meets another phase.
        chosen, order = every, (np.arange(rounds)[:, None] + np.arange(images)[None]) % rounds
        coverage = f"all {len(every)} phases on every image"
    else:
        chosen, coverage = _affordable(every, stride, rounds * images, seed)
        order = np.arange(rounds * images).reshape(rounds, images)
    picked = chosen[order % len(chosen)]
    shifts = picked + _whole_strides(picked.shape, size, stride, rng)
    return Schedule(shifts, len(chosen), len(every), coverage, stride, min(least, rounds))


def _is_power(phase: Sequence[int]) -> bool:
    """Along one axis, by a power of two."""
    along = max(phase)
    return min(phase) == 0 and along & (along - 1) == 0


def _phases(stride: tuple[int, int], rng: np.random.Generator) -> np.ndarray:  # type: ignore[type-arg]
    """(P, 2): the phases along each axis first, then the others in random order.

    A net of stride 1 has one phase only; its shift by one pixel stands in for it.
    """
    rows, columns = stride
    if rows * columns == 1:
        return np.array([[1, 1], [0, 1], [1, 0]])
    axes = [(r, 0) for r in range(1, rows)] + [(0, c) for c in range(1, columns)]
    others = [(r, c) for r in range(1, rows) for c in range(1, columns)]
    return np.array([*axes, *(others[i] for i in rng.permutation(len(others)))])


def _affordable(
    every: np.ndarray,  # type: ignore[type-arg]
    stride: tuple[int, int],
    slots: int,
    seed: int,
) -> tuple[np.ndarray, str]:  # type: ignore[type-arg]
    if slots >= len(every):
        return every, f"all {len(every)} phases, each on at least {slots // len(every)} images"
    along = stride[0] + stride[1] - 2
    kept = every[:slots]
    if slots < along:
        return kept, (
            f"{slots} of the {along} phases along the axes, those of 1, 2, 4, ... px first, and"
            f" none of the {len(every) - along} others, for want of time"
        )
    return kept, (
        f"all {along} phases along the axes and {slots - along} of the"
        f" {len(every) - along} others (seed {seed})"
    )


def _whole_strides(
    shape: tuple[int, ...], size: tuple[int, int], stride: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:  # type: ignore[type-arg]
    steps = [max(1, n // s) for n, s in zip(size, stride, strict=True)]
    return np.stack(
        [rng.integers(0, n, shape[:2]) * s for n, s in zip(steps, stride, strict=True)], axis=-1
    )


def breaking_period(image: torch.Tensor, stride: tuple[int, int]) -> tuple[int, int] | None:
    """A period (rows, columns) of `image` (C, H, W) that `stride` does not divide, or None.

    Exact: the image equals its roll by the period in every pixel. Every period maps the
    positions of the rarest pixel value onto each other, so those are the only candidates;
    most are struck out at a few probed pixels, and the rest are compared in full.
    """
    height, width = image.shape[-2:]
    _, colours = torch.unique(image.flatten(1), dim=1, return_inverse=True)
    colours = colours.reshape(height, width)
    candidates = _candidates(colours)
    candidates = candidates[(candidates % torch.tensor(stride) != 0).any(1)]
    for row, column in _probed(colours, candidates).tolist():
        if torch.equal(colours.roll((row, column), (0, 1)), colours):
            return row, column
    return None


def _candidates(colours: torch.Tensor) -> torch.Tensor:
    """(K, 2) shifts that map one position of the rarest colour onto another."""
    rarest = torch.bincount(colours.flatten()).argmin()
    places = (colours == rarest).nonzero()
    size = torch.tensor(colours.shape)
    return (places - places[0]) % size


def _probed(colours: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """The shifts under which the probed pixels keep their colour."""
    height, width = colours.shape
    generator = torch.Generator().manual_seed(0)
    for probe in torch.randint(height * width, (_PROBES,), generator=generator).tolist():
        row, column = divmod(probe, width)
        moved = colours[(row - shifts[:, 0]) % height, (column - shifts[:, 1]) % width]
        shifts = shifts[moved == colours[row, column]]
    return shifts
