"""The border of a large image, looked for only where it may be.

Every line gets a score from one channel and one difference. The few best are then judged by all
that `seam_evidence` looks at. At 224 px this finds as many borders of photographs as judging
every line does, in a third of the time. At 32 px it would miss every tenth: small images keep to
all lines.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equiaudit.sampling.seam_evidence import (
    brightness_and_colour,
    magnitude,
    root,
    scale_to_levels,
    weighed,
)
from equiaudit.sampling.wrapping import wrap_axis

__all__ = ["CANDIDATES", "FLOOR", "MOST_SIDE", "best_candidate", "preselects"]

CANDIDATES = 4
"""Lines judged per axis."""
FLOOR = 4.0
"""Added to a line's neighbourhood, in levels per pixel: one level of 8 bits."""
LEAST_PIXELS = 2**14
LEAST_SIDE = 32
MOST_SIDE = 2**13
"""Scores of a longer line could pass 2^24, where float32 stops counting."""
_LINES = 4
"""A line, the two before it and the one after."""


def preselects(size: tuple[int, int]) -> bool:
    """Whether an image of `size` = (H, W) is large enough to judge only the likeliest lines."""
    large = size[0] * size[1] >= LEAST_PIXELS
    return large and min(size) >= LEAST_SIDE and max(size) <= MOST_SIDE


def best_candidate(x: Tensor, channels: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The lines of x (B, C, H, W) before which the border most likely lies.

    Returns (row, column) as (B, 2) int64 and (B,) bool, whether both are clear: the best of the
    candidates is one line, and so is the last of them. Exact, as `seam_evidence`; where it is
    not clear, the lines depend on the order in which they are looked at and must not be used.
    """
    scale = scale_to_levels(x)
    middle = torch.round(torch.select(x, 1, channels // 2).float() * scale.squeeze(1))
    found = [_best_line(x, middle, scale, axis, size) for axis in (0, 1)]
    (row, row_clear), (column, column_clear) = found
    return torch.stack([row, column], 1), torch.logical_and(row_clear, column_clear)


def _best_line(
    x: Tensor, middle: Tensor, scale: Tensor, axis: int, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """The best line (B,) across `axis` (0 rows, 1 columns) and whether it is clear (B,)."""
    scores = _scores(middle, axis, size)
    values, lines = torch.topk(scores, CANDIDATES + 1, 1)
    last, beyond = torch.select(values, 1, CANDIDATES - 1), torch.select(values, 1, CANDIDATES)
    lines = torch.narrow(lines, 1, 0, CANDIDATES)
    evidence = _evidence(_strips(x, lines, axis, size) * scale.unsqueeze(4), x.shape[1])
    best = evidence == torch.amax(evidence, [1], keepdim=True)
    single = torch.sum(best, 1) == 1
    at = torch.argmax(evidence, 1, keepdim=True)
    return torch.gather(lines, 1, at).squeeze(1), torch.logical_and(single, last != beyond)


def _scores(middle: Tensor, axis: int, size: tuple[int, int]) -> Tensor:
    """The step before each line as a share of the steps beside it: (B, lines), float32.

    A quotient of whole numbers, so it is the same wherever it is computed.
    """
    (lines, length), dim = (size[axis], size[1 - axis]), axis + 1
    inside = _step(middle, dim, 1, 0, lines - 1)
    steps = torch.cat([_step(middle, dim, 0, lines - 1, 1), inside], 1)
    before = wrap_axis(steps, 1, lines, -1, lines - 1)
    after = wrap_axis(steps, 1, lines, 1, lines + 1)
    return steps / (before + after + FLOOR * length)


def _step(middle: Tensor, dim: int, at: int, before: int, count: int) -> Tensor:
    """Sums of differences between `count` lines from `at` and as many from `before` on."""
    difference = torch.narrow(middle, dim, at, count) - torch.narrow(middle, dim, before, count)
    return torch.sum(torch.abs(difference), 3 - dim)


def _strips(x: Tensor, lines: Tensor, axis: int, size: tuple[int, int]) -> Tensor:
    """Each of `lines` (B, K) with its neighbours: (B, C, 4, K, length), float32."""
    offsets = torch.arange(_LINES, device=x.device).reshape(1, _LINES, 1) - 2
    index = torch.remainder(lines.unsqueeze(1) + offsets, size[axis])
    count, length, channels = _LINES * CANDIDATES, size[1 - axis], x.shape[1]
    if axis == 0:
        across = index.reshape(-1, 1, count, 1).expand(-1, channels, -1, length)
        strips = torch.gather(x, 2, across)
    else:
        across = index.reshape(-1, 1, 1, count).expand(-1, channels, length, -1)
        strips = torch.gather(x, 3, across).transpose(2, 3)
    return strips.float().reshape(-1, channels, _LINES, CANDIDATES, length)


def _evidence(scaled: Tensor, channels: int) -> Tensor:
    """What `seam_evidence` says of the third of each four lines (B, C, 4, K, L): (B, K), int64."""
    value = brightness_and_colour(torch.round(scaled), channels)
    length = value.shape[4]
    gradient = wrap_axis(value, 4, length, 1, length + 1) - value
    change = _over_lines(gradient)
    near = magnitude(torch.narrow(gradient, 2, 1, 2))
    parts = [
        magnitude(_over_lines(_over_lines(value))),
        magnitude(_over_lines(change)),
        magnitude(change)[:, ::2],
        torch.sum(near, 1, keepdim=True),
    ]
    sums = torch.sum(root(torch.cat(parts, 1)), 3).long()
    bend, turn, beside = (sums[:, k] + sums[:, k + 1] for k in (0, 2, 4))
    return weighed(bend, turn, beside, sums[:, 6])


def _over_lines(x: Tensor) -> Tensor:
    """x[:, :, k + 1] - x[:, :, k]."""
    count = x.shape[2] - 1
    return torch.narrow(x, 2, 1, count) - torch.narrow(x, 2, 0, count)
