"""How much every line between two rows (or columns) looks like the border of a photograph.

An image that was shifted circularly has its old border inside: two lines that were never
neighbours. Content goes on smoothly from line to line, in brightness and in the direction of
its edges; across the border neither does. An object's edge is a step too, but what runs along
it (texture, the edge's own course) goes on from one side to the other.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equiaudit.sampling.wrapping import wrap_axis

__all__ = ["LEVELS", "border_strength", "seam_evidence"]

LEVELS = 1020.0
"""Whole-number levels from 0 to the sample's largest magnitude: 4 per level of 8 bits."""
_TINY = 1e-30
_LARGEST = 65535.0
# How much each change counts, see `_evidence`. Fitted once by logistic regression (which of 32
# lines is the border?) on CIFAR-10 training images, whose borders are known without any label,
# then rounded; benchmarks/canonical.py measures the rule on other images.
_BEND, _TURN, _TURN_BESIDE, _GRADIENT = 1, 8, 8, 10


def seam_evidence(x: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The evidence that the border lies before each row and each column of x (B, C, H, W).

    Returns (B, H) and (B, W), int64, without a unit, larger where more likely; `size` is (H, W).
    x may have any range and any dtype. Exact: x is rounded to whole numbers element by element,
    and every sum is one of whole numbers below 2^24, so its order cannot matter:
    `seam_evidence(roll(x, d)) == roll(seam_evidence(x), d)` to the last bit on any device.
    """
    whole = _whole(x)
    return _evidence(whole, 2, 3, size[0], size[1]), _evidence(whole, 3, 2, size[1], size[0])


def border_strength(evidence: Tensor) -> Tensor:
    """How far the best line stands out from the others: (B, n) -> (B,), float64.

    In standard deviations of the others from their mean. An indication for people, not used to
    choose: its last bits may depend on the shift.
    """
    others, best = torch.sort(evidence.double(), dim=1).values.split([evidence.shape[1] - 1, 1], 1)
    spread = torch.clamp(torch.std(others, 1, correction=0), min=1.0)
    return (best.squeeze(1) - torch.mean(others, 1)) / spread


def _whole(x: Tensor) -> Tensor:
    """x as whole numbers -LEVELS..LEVELS of each sample's largest magnitude, float32."""
    x = x.float()
    top = torch.clamp(torch.amax(torch.abs(x), [1, 2, 3], keepdim=True), min=_TINY)
    return torch.round(x * (LEVELS / top))


def _evidence(whole: Tensor, across: int, along: int, size: int, length: int) -> Tensor:
    """(B, size): for each line of axis `across`, the evidence that the border lies before it.

    With v[r] line r, g its gradient along the line, and |.| the size of a difference:
        bend      |v[r] - 2 v[r-1] + v[r-2]|: line r as foretold by the two before, and, with
                  the next bend, line r-1 by the two after
        turn      the same of g: is the course of the edges foretold?
        beside    |g[r] - g[r-1]| one line before and one after: how g changes when nothing is cut
        gradient  |g[r]| + |g[r-1]|: what g would differ by if the two lines were unrelated
    """
    lines = wrap_axis(whole, across, size, -2, size + 1)
    gradient = lines - wrap_axis(lines, along, length, -1, length - 1)
    turn = _difference(gradient, across, size + 3)
    bends = _line_sums(_magnitude(_second(lines, across, size + 3)), along)
    turns = _line_sums(_magnitude(_difference(turn, across, size + 2)), along)
    changes = _line_sums(_magnitude(turn), along)
    steep = _magnitude(gradient)
    both = torch.narrow(steep, across - 1, 1, size) + torch.narrow(steep, across - 1, 2, size)
    return (
        _BEND * (torch.narrow(bends, 1, 0, size) + torch.narrow(bends, 1, 1, size))
        + _TURN * (torch.narrow(turns, 1, 0, size) + torch.narrow(turns, 1, 1, size))
        - _TURN_BESIDE * (torch.narrow(changes, 1, 0, size) + torch.narrow(changes, 1, 2, size))
        - _GRADIENT * _line_sums(both, along)
    )


def _difference(x: Tensor, dim: int, length: int) -> Tensor:
    """x[k + 1] - x[k] along an axis of `length`."""
    return torch.narrow(x, dim, 1, length - 1) - torch.narrow(x, dim, 0, length - 1)


def _second(x: Tensor, dim: int, length: int) -> Tensor:
    return _difference(_difference(x, dim, length), dim, length - 1)


def _magnitude(difference: Tensor) -> Tensor:
    """Sum of magnitudes over the channels: (B, C, H, W) -> (B, H, W)."""
    return torch.sum(torch.abs(difference), 1)


def _line_sums(magnitude: Tensor, along: int) -> Tensor:
    """Sum of 2 * root(magnitude) over each line, int64.

    The root keeps a few strong edges from outvoting the rest of a line. It is rounded to whole
    numbers, safely on any device: the root of a whole number up to 2^18 is at least 4 float32
    ulp away from the middle between two whole numbers.
    """
    capped = torch.clamp(magnitude, max=_LARGEST)
    return torch.sum(torch.round(torch.sqrt(capped * 4.0)), along - 1).long()
