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

LEVELS = 1020.0
"""Whole-number levels from 0 to the sample's largest magnitude: 4 per level of 8 bits."""
TINY = 1e-30
COLOUR = 3.0
# How much each change counts, see `_evidence`. Fitted by logistic regression (which of 32 lines is
# the border?) on CIFAR-10 training images, whose borders are known without any label, and rounded.
# Weights, roots and colours were chosen on those 4000 images and on 276 crops at 224 px of the
# sample images of scikit-learn and scikit-image; benchmarks/canonical.py takes other images.
WEIGHTS = {"bend": 1, "turn": 4, "beside": 4, "gradient": 5}


def seam_evidence(x: Tensor, channels: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The evidence that the border lies before each row and each column of x (B, C, H, W).

    Returns (B, H) and (B, W), int64, without a unit, larger where more likely; `size` is (H, W).
    x may have any range and any dtype. Exact: x is rounded to whole numbers element by element,
    and every sum is one of whole numbers below 2^24, so its order cannot matter:
    what it says of roll(x, d) is what it says of x, rolled by d, to the last bit on any device.
    """
    (height, width), whole = size, torch.round(x.float() * scale_to_levels(x))
    whole = brightness_and_colour(whole, channels)
    torus = wrap_axis(wrap_axis(whole, 2, height, -2, height + 1), 3, width, -2, width + 1)
    down, right = _difference(torus, 2, height + 3), _difference(torus, 3, width + 3)
    turn = _difference(down, 3, width + 3)
    changes = root(magnitude(turn))
    rows = _evidence(down, turn, changes, right, (2, 3), (height, width))
    return rows, _evidence(right, turn, changes, down, (3, 2), (width, height))


def border_strength(evidence: Tensor, lines: Tensor) -> Tensor:
    """How far `lines` (B,) stand out from the others: (B, n) -> (B,), float64.

    In standard deviations of the others from their mean. An indication for people, not used to
    choose: its last bits may depend on the shift.
    """
    chosen = torch.nn.functional.one_hot(lines, evidence.shape[1]).bool()
    others = evidence[~chosen].reshape(len(evidence), -1).double()
    spread = torch.clamp(torch.std(others, 1, correction=0), min=1.0)
    return torch.div(evidence[chosen].double() - torch.mean(others, 1), spread)


def scale_to_levels(x: Tensor) -> Tensor:
    """What takes the largest magnitude in each sample of x (B, C, H, W) to LEVELS: (B, 1, 1, 1)."""
    top = torch.amax(torch.abs(x.float()), [1, 2, 3], keepdim=True)
    return LEVELS / torch.clamp(top, min=TINY)


def brightness_and_colour(whole: Tensor, channels: int) -> Tensor:
    """(B, C, ...) to (B, 2, ...), or (B, 1, ...) of one channel; whole numbers as float32.

    The sum of the channels, and the difference of the first and the last, in steps of 1 / LEVELS
    of the sample's largest magnitude. Colour changes less than brightness within a photograph,
    so that its steps tell more; both together find more borders than the channels as they are.
    """
    brightness = torch.sum(whole, 1, keepdim=True)
    if channels == 1:
        return brightness
    colour = torch.narrow(whole, 1, 0, 1) - torch.narrow(whole, 1, channels - 1, 1)
    return torch.cat([brightness, COLOUR * colour], 1)


def _evidence(
    step: Tensor,
    turn: Tensor,
    changes: Tensor,
    gradient: Tensor,
    axes: tuple[int, int],
    size: tuple[int, int],
) -> Tensor:
    """For each line, the evidence that the border lies before it: (B, lines), int64.

    `axes` are those across and along the lines, `size` how many lines there are and how long
    they are; all maps carry two lines more before and one after. With v[r] line r, g its
    gradient along the line, and |.| the size of a difference:
        bend      |v[r] - 2 v[r-1] + v[r-2]|: line r as foretold by the two before, and, with
                  the next bend, line r-1 by the two after
        turn      the same of g: is the course of the edges foretold?
        beside    |g[r] - g[r-1]| one line before and one after: how g changes when nothing is cut
        gradient  |g[r]| + |g[r-1]|: what g would differ by if the two lines were unrelated
    """
    (across, along), (lines, length) = axes, size
    step, turn = torch.narrow(step, along, 1, length), torch.narrow(turn, along, 1, length)
    bends = _sums(root(magnitude(_difference(step, across, lines + 2))), along)
    turns = _sums(root(magnitude(_difference(turn, across, lines + 2))), along)
    beside = _sums(torch.narrow(changes, along - 1, 1, length), along)
    steep = magnitude(torch.narrow(gradient, along, 1, length))
    near = torch.narrow(steep, across - 1, 1, lines) + torch.narrow(steep, across - 1, 2, lines)
    return weighed(
        torch.narrow(bends, 1, 0, lines) + torch.narrow(bends, 1, 1, lines),
        torch.narrow(turns, 1, 0, lines) + torch.narrow(turns, 1, 1, lines),
        torch.narrow(beside, 1, 0, lines) + torch.narrow(beside, 1, 2, lines),
        _sums(root(near), along),
    )


def weighed(bend: Tensor, turn: Tensor, beside: Tensor, gradient: Tensor) -> Tensor:
    """The evidence from its four parts, see `_evidence`; int64."""
    for_it = WEIGHTS["bend"] * bend + WEIGHTS["turn"] * turn
    return for_it - WEIGHTS["beside"] * beside - WEIGHTS["gradient"] * gradient


def _difference(x: Tensor, dim: int, length: int) -> Tensor:
    """x[k + 1] - x[k] along an axis of `length`."""
    return torch.narrow(x, dim, 1, length - 1) - torch.narrow(x, dim, 0, length - 1)


def magnitude(difference: Tensor) -> Tensor:
    """Sum of magnitudes over the channels: (B, C, ...) -> (B, ...)."""
    return torch.sum(torch.abs(difference), 1)


def root(magnitude: Tensor) -> Tensor:
    """Square root in whole numbers; it keeps a few strong edges from outvoting a line.

    The rounding is safe on any device: the root of a whole number up to 2^18 (magnitudes of three
    channels stay below 2^17) is at least 4 float32 ulp away from the middle of two whole numbers.
    """
    return torch.round(torch.sqrt(magnitude))


def _sums(roots: Tensor, along: int) -> Tensor:
    """Sum over each line: (B, H, W) -> (B, lines), int64."""
    return torch.sum(roots, along - 1).long()
