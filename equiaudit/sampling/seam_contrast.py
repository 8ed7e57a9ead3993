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
    whole = middle_levels(x, channels)
    best = [_best_line(line_contrast(whole, axis, size), size[axis]) for axis in (0, 1)]
    point = torch.stack([line for line, _ in best], 1)
    return point, torch.logical_and(*[single for _, single in best])


def middle_levels(x: Tensor, channels: int) -> Tensor:
    """The middle channel of x (B, C, H, W) in whole numbers, float32: (B, H, W)."""
    middle = torch.narrow(x, 1, channels // 2, 1).float()
    return torch.round(middle * scale_to_levels(middle)).squeeze(1)


def line_contrast(whole: Tensor, axis: int, size: tuple[int, int]) -> Tensor:
    """The step after each line of (B, H, W) over those beside it: (B, lines), float32.

    Steps to or from a line that is all black or all white do not count as beside: black that
    entered by one px would else hide its own two borders. A quotient of whole numbers, and so
    the same wherever it is computed.
    """
    lines, length = size[axis], size[1 - axis]
    after = wrap_axis(whole, axis + 1, lines, 1, lines + 1)
    steps = torch.sum(torch.abs(after - whole), 2 - axis)
    quiet = torch.where(_at_fill(whole, axis, size), 0.0, steps)
    ring = wrap_axis(quiet, 1, lines, -1, lines + 1)
    beside = torch.narrow(ring, 1, 0, lines) + torch.narrow(ring, 1, 2, lines)
    return steps / (beside + FLOOR * length)


def _at_fill(whole: Tensor, axis: int, size: tuple[int, int]) -> Tensor:
    """Whether the line before or behind each step is all of the least or the largest value."""
    lines, length = size[axis], size[1 - axis]
    sums = torch.sum(whole, 2 - axis)
    low, high = (bound(whole, [1, 2]).unsqueeze(1) * length for bound in (torch.amin, torch.amax))
    fill = torch.logical_or(sums <= low, sums >= high)
    return torch.logical_or(fill, wrap_axis(fill, 1, lines, 1, lines + 1))


def _best_line(contrast: Tensor, lines: int) -> tuple[Tensor, Tensor]:
    """The line after the greatest (B,), and whether that is one (B,)."""
    best = contrast == torch.amax(contrast, [1], keepdim=True)
    return (torch.argmax(contrast, 1) + 1) % lines, torch.sum(best, 1) == 1
