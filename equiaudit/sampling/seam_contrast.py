"""The border of a large image, from one difference per pixel.

On lines of a hundred pixels and more the sum of differences alone tells the border, if it is
compared with those beside it: on photographs as often as all that `seam_evidence` looks at, in
a tenth of the time. On short lines it would not: at 32 px it misses every third border.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equiaudit.sampling.seam_evidence import scale_to_levels
from equiaudit.sampling.wrapping import wrap_axis

__all__ = [
    "FLOOR",
    "LEAST_PIXELS",
    "LEAST_SIDE",
    "MOST_SIDE",
    "best_contrast",
    "contrast_suffices",
]

FLOOR = 1.0
"""Levels per pixel added to what lies beside a line: less than that is even."""
LEAST_PIXELS = 2**14
LEAST_SIDE = 32
MOST_SIDE = 2**13
"""Sums along a longer line could pass 2^24, where float32 stops counting."""


def contrast_suffices(size: tuple[int, int]) -> bool:
    """Whether the lines of an image of `size` = (H, W) are long enough."""
    large = size[0] * size[1] >= LEAST_PIXELS
    return large and min(size) >= LEAST_SIDE and max(size) <= MOST_SIDE


def best_contrast(x: Tensor, channels: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The row and the column of x (B, C, H, W) before which the border most likely lies.

    Returns (B, 2), int64, and (B,), bool, whether each is a single line; where not, the lines
    must not be used. Looks at the middle channel alone. Exact, as `seam_evidence` is: what it
    says of roll(x, d) is what it says of x, moved by d.
    """
    middle = torch.narrow(x, 1, channels // 2, 1)
    whole = torch.round(middle.float() * scale_to_levels(middle)).squeeze(1)
    best = [_best_line(_contrast(whole, axis, size), size[axis]) for axis in (0, 1)]
    point = torch.stack([line for line, _ in best], 1)
    return point, torch.logical_and(*[single for _, single in best])


def _contrast(whole: Tensor, axis: int, size: tuple[int, int]) -> Tensor:
    """The step after each line of (B, H, W) over those beside it: (B, lines), float32.

    A quotient of whole numbers, and so the same wherever it is computed.
    """
    lines, length = size[axis], size[1 - axis]
    after = wrap_axis(whole, axis + 1, lines, 1, lines + 1)
    steps = torch.sum(torch.abs(after - whole), 2 - axis)
    ring = wrap_axis(steps, 1, lines, -1, lines + 1)
    beside = torch.narrow(ring, 1, 0, lines) + torch.narrow(ring, 1, 2, lines)
    return steps / (beside + FLOOR * length)


def _best_line(contrast: Tensor, lines: int) -> tuple[Tensor, Tensor]:
    """The line after the greatest (B,), and whether that is one (B,)."""
    best = contrast == torch.amax(contrast, [1], keepdim=True)
    return (torch.argmax(contrast, 1) + 1) % lines, torch.sum(best, 1) == 1
