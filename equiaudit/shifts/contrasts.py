"""Views that tell what sampling changes from what the border changes.

Two views of an image a whole number of strides apart meet every sampling grid alike, so what
differs between their outputs is the work of the border: pixels that enter and leave, padding, and
what else the net knows of places. Two views as far apart, but not by whole strides, differ by
sampling as well. With S the stride, k whole numbers and e a phase that is not zero, four views

    a = u,   b = u + S k,   c = u + e,   d = u + S k + e

make two pairs of the first sort, (a, b) and (c, d), and two of the second, (a, d) and (b, c). Each
view is in one pair of either sort, and their distances S k + e and S k - e are S k in the mean, so
nothing but sampling tells the sorts apart. With labels as unit vectors the second sort differs more
often than the first by

    1/2 <a - c, b - d>,

the change that the phase makes in one place times that in another: in the mean over places that
are alike, a square. So this share cannot be negative but for noise. k has no zero, lest e be
movement of its own along that axis.

Where outputs are compared with the unshifted one alone, the views are S k, S k + e and S k - e.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

VIEWS, WHOLE, BETWEEN = "views", "whole", "between"
"""Passes of a contrast, behind the name of the kind: all four views; or, where they are compared
with the unshifted one, that by whole strides and the two around it."""

Offsets = NDArray[np.int64]


@dataclass(frozen=True)
class Contrast:
    """The views of one kind of shift."""

    kind: str
    step: tuple[int, int]
    """S: the total stride, or what the room allows of it (halved until it fits)."""
    limit: tuple[int, int]
    """No offset lies further out, px per axis."""
    paired: bool
    """Whether shifted outputs are compared with one another."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of its passes."""
        parts = (VIEWS,) if self.paired else (WHOLE, BETWEEN)
        return tuple(f"{self.kind}:{part}" for part in parts)

    @property
    def samples(self) -> bool:
        """Whether there are phases to tell apart."""
        return max(self.step) > 1

    def offsets(self, seed: int, index: int) -> dict[str, Offsets]:
        """By name: a, b, c, d (4, 2); or S k (1, 2), and S k + e and S k - e (2, 2)."""
        if self.paired:
            return {self.names[0]: _views(self.step, self.limit, seed, index)}
        around = _around(self.step, self.limit, seed, index)
        return dict(zip(self.names, (around[:1], around[1:]), strict=True))

    def distances(self, seed: int, index: int) -> int:
        """max(|dy|, |dx|) of the pairs by whole strides, px."""
        if self.paired:
            views = self.offsets(seed, index)[self.names[0]]
            return int(np.abs(views[1] - views[0]).max())
        return int(np.abs(self.offsets(seed, index)[self.names[0]]).max())


def contrast_for(
    kind: str, stride: tuple[int, int], reach: int | None, least: int, *, paired: bool
) -> Contrast | None:
    """The contrast of `kind` with views within `reach` px, None: as far as it takes, but `least`.

    A stride that is too large for `reach` is halved until it fits; None where it cannot be.
    """
    step, limit = [], []
    for whole in stride:
        size = whole
        while reach is not None and _needed(size, paired) > reach and size % 2 == 0:
            size //= 2
        needed = _needed(size, paired)
        if reach is not None and needed > reach:
            return None
        step.append(size)
        limit.append(max(needed, least) if reach is None else reach)
    return Contrast(kind, (step[0], step[1]), (limit[0], limit[1]), paired)


def _needed(step: int, paired: bool) -> int:
    """How far views go that are one step and half a phase apart, px."""
    span = step + step // 2
    return -(-span // 2) if paired else span


@lru_cache(maxsize=512)
def _views(step: tuple[int, int], limit: tuple[int, int], seed: int, index: int) -> Offsets:
    rng = np.random.default_rng([seed, index, 3])
    phase = _phase(rng, step)
    axes = []
    for size, far, e in zip(step, limit, phase, strict=True):
        move = _moved(rng, size, 2 * far - size // 2)
        views = np.array([0, move, e, move + e])
        axes.append(views + rng.integers(-far - views.min(), far - views.max(), endpoint=True))
    return np.stack(axes, axis=1)


@lru_cache(maxsize=512)
def _around(step: tuple[int, int], limit: tuple[int, int], seed: int, index: int) -> Offsets:
    rng = np.random.default_rng([seed, index, 3])
    phase = _phase(rng, step)
    axes = []
    for size, far, e in zip(step, limit, phase, strict=True):
        move = _moved(rng, size, far - size // 2)
        axes.append(np.array([move, move + e, move - e]))
    return np.stack(axes, axis=1)


def _moved(rng: np.random.Generator, step: int, room: int) -> int:
    """A multiple of `step`, not 0, within `room`."""
    return int(rng.choice([-1, 1]) * step * rng.integers(1, room // step, endpoint=True))


def _phase(rng: np.random.Generator, step: tuple[int, int]) -> tuple[int, int]:
    """Any phase but (0, 0), each as likely, as an offset of at most half a step per axis."""
    count = step[0] * step[1]
    if count == 1:
        return 0, 0
    place = int(rng.integers(1, count))
    dy, dx = (_nearest(rng, e, s) for e, s in zip(divmod(place, step[1]), step, strict=True))
    return dy, dx


def _nearest(rng: np.random.Generator, phase: int, step: int) -> int:
    if 2 * phase == step:
        return int(phase * rng.choice([-1, 1]))
    return phase if 2 * phase < step else phase - step
