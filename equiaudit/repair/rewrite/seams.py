"""The points of a grid by the seam of the image, as nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from equiaudit.repair.rewrite.twins import twin
from equiaudit.sampling.narrow import choose, view_digits
from equiaudit.sampling.seam import best_point, canonical_position, seam_scores
from equiaudit.sampling.torus_hash import torus_hash

__all__ = ["seam_point"]


def seam_point(
    image: Any, views: Any, channels: int, size: tuple[int, int], starts: Any, strides: Any
) -> list[Any]:
    """Index on the grid (start + stride * i) whose surroundings hold the strongest seam.

    Chosen among the points of the grid by seam, then by view, so that a tie means a symmetry.
    """
    counts, scores, index = _grid_points(image, views, channels, size, starts, strides)
    seen = _seen(views.long(), index, size, counts)
    best = best_point(scores[0], scores[1], seen, counts)
    return [torch.select(best, 1, 0), torch.select(best, 1, 1)]


def _points(views: Any, start: Any, stride: int, count: int, axis: int) -> Any:
    """Input positions of the points of a grid along one axis, (B, count)."""
    zero = torch.narrow(torch.select(views, 2 - axis, 0), 1, 0, count).long() * 0
    steps = torch.cumsum(zero + stride, 1) - stride
    return steps if start is None else steps + start.unsqueeze(1)


def _nearby(score: Any, points: Any, stride: int, count: int, size: int) -> Any:
    """The best score within half a stride of each point, (B, count)."""
    one = torch.ones_like(points)
    around = [
        torch.gather(score, 1, torch.remainder(points + one * (t - stride // 2), size))
        for t in range(stride)
    ]
    return torch.amax(torch.stack(around, 2), [2])


@twin(seam_point)
def _narrow_point(
    image: Any, views: Any, channels: int, size: tuple[int, int], starts: Any, strides: Any
) -> list[Any]:
    counts, scores, index = _grid_points(image, views, channels, size, starts, strides)
    seen = [_seen(digit, index, size, counts) for digit in view_digits(views)]
    best = _best_of_digits(scores[0], scores[1], seen, counts)
    return [torch.select(best, 1, 0), torch.select(best, 1, 1)]


@twin(canonical_position)
def _narrow_position(x: Any, channels: int, size: tuple[int, int]) -> Any:
    scores = seam_scores(x, channels, size)
    return _best_of_digits(*scores, view_digits(torus_hash(x, channels, size)), size)


def _best_of_digits(rows: Any, cols: Any, digits: list[Any], size: Sequence[int]) -> Any:
    """`best_point` by views in digits (B, H, W), the highest first."""
    is_row = rows == torch.amax(rows, [1], keepdim=True)
    is_col = cols == torch.amax(cols, [1], keepdim=True)
    both = torch.logical_and(is_row.unsqueeze(2), is_col.unsqueeze(1))
    count = size[0] * size[1]
    flat = choose([d.reshape(-1, count) for d in digits], both.reshape(-1, count))
    return torch.stack([torch.div(flat, size[1], rounding_mode="floor"), flat % size[1]], 1)


def _grid_points(
    image: Any, views: Any, channels: int, size: tuple[int, int], starts: Any, strides: Any
) -> tuple[list[int], list[Any], Any]:
    """How many points a grid has along each axis, their scores, and where in the image they are."""
    counts = [n // s for n, s in zip(size, strides, strict=True)]
    points = [_points(views, starts[i], strides[i], counts[i], i) for i in (0, 1)]
    scores = [
        _nearby(score, points[i], strides[i], counts[i], size[i])
        for i, score in enumerate(seam_scores(image, channels, size))
    ]
    return counts, scores, points[0].unsqueeze(2) * size[1] + points[1].unsqueeze(1)


def _seen(values: Any, index: Any, size: tuple[int, int], counts: list[int]) -> Any:
    """Values (B, H, W) of the image at the points of a grid: (B, *counts)."""
    flat = values.reshape(-1, size[0] * size[1])
    return torch.gather(flat, 1, index.reshape(-1, counts[0] * counts[1])).reshape(-1, *counts)
