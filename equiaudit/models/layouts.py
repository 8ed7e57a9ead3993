"""Which axes of a map are its rows and columns: by its shape, or by where a changed patch shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from equiaudit.models.types import Layout

_FOLLOWS = 0.05
"""How far, of an axis, the middle of a change has to move with the patch."""


def fitting_layouts(shape: Sequence[int], window: tuple[int, int]) -> tuple[Layout, ...]:
    """The layouts in which a map (N, ., ., .) has the proportions of the window.

    Exact proportions count first; where no layout has those, sides that are off by a pixel do.
    """
    sides: dict[Layout, Sequence[int]] = {"NCHW": shape[2:4], "NHWC": shape[1:3]}
    off = {
        name: abs(h * window[1] - w * window[0]) if h and w else max(window) ** 2
        for name, (h, w) in sides.items()
    }
    exact: tuple[Layout, ...] = tuple(name for name in sides if off[name] == 0)
    return exact or tuple(name for name in sides if off[name] <= max(window))


def patched(batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A batch (N, C, H, W) whose upper left, upper right and lower left quarter are turned over."""
    rows, columns = batch.shape[2] // 2, batch.shape[3] // 2
    found = []
    for down, right in ((0, 0), (0, 1), (1, 0)):
        changed = batch.clone()
        part = changed[:, :, down * rows :, right * columns :][:, :, :rows, :columns]
        part.copy_(part.flip(0, 1, 2, 3))
        found.append(changed)
    return found[0], found[1], found[2]


def change_of(plain: Tensor, changed: Tensor) -> Tensor | None:
    """Where the middle of |changed - plain|, both (N, A, B, C), is along A, B and C, in 0..1.

    None where nothing changed.
    """
    size = (changed.double() - plain.double()).abs().sum(0)
    total = float(size.sum())
    if not total or not torch.isfinite(size).all():
        return None
    middles = []
    for axis in range(3):
        profile = size.sum([other for other in range(3) if other != axis])
        places = (torch.arange(len(profile), dtype=torch.float64) + 0.5) / len(profile)
        middles.append((profile.cpu() * places).sum() / total)
    return torch.stack(middles)


def followed(plain: Tensor, at: Callable[[int], Tensor]) -> Layout | None:
    """The layout whose axes a change follows; `at(k)` is the output for the k-th of `patched`.

    None where neither is followed clearly.
    """
    places = [change_of(plain, at(k)) for k in range(3)]
    if any(place is None for place in places):
        return None
    corner, right, below = (place for place in places if place is not None)
    down, across = below - corner, right - corner
    score: dict[Layout, float] = {
        "NCHW": float(torch.minimum(down[1], across[2])),
        "NHWC": float(torch.minimum(down[0], across[1])),
    }
    best, other = sorted(score, key=lambda name: -score[name])
    return best if score[best] > _FOLLOWS and score[other] < score[best] / 2 else None
