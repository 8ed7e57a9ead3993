"""Images at places between their pixels, by separable interpolation."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

_LOBES = 3
"""Of the Lanczos window, on each side."""


def resampled(
    x: Tensor,
    start: tuple[float, float],
    size: tuple[int, int],
    resampler: str,
    *,
    torus: bool,
) -> Tensor:
    """x (..., h, w) at rows start[0] + 0, 1, ... and columns start[1] + 0, 1, ...: (..., H, W).

    Beyond its edges x is repeated on a `torus`, else mirrored, the pixels at the edge twice.
    In float64, and given back in the dtype of x; bytes are rounded, and cut to 0..255.
    """
    found = x.double()
    for dim, begin, count in zip((-2, -1), start, size, strict=True):
        found = _along(found, dim, begin, count, resampler, torus)
    if x.dtype == torch.uint8:
        found = found.round_().clamp_(0, 255)
    return found.to(x.dtype)


def _along(x: Tensor, dim: int, start: float, count: int, resampler: str, torus: bool) -> Tensor:
    """One axis; few taps one by one, many as a matrix."""
    size = x.shape[dim]
    if resampler == "fourier":
        kernels = _matrix(start, count, size, torus, x.device)
        return kernels @ x if dim == -2 else x @ kernels.T
    taps = _taps(resampler, start - math.floor(start), size)
    first = math.floor(start) + taps[0][0]
    places = _places(first, count + len(taps) - 1, size, torus, x.device)
    reached = x.index_select(dim, places)
    found = torch.zeros_like(reached.narrow(dim, 0, count))
    for step, (_, weight) in enumerate(taps):
        found.add_(reached.narrow(dim, step, count), alpha=weight)
    return found


def _places(first: int, count: int, size: int, torus: bool, device: torch.device) -> Tensor:
    """(count,) pixels of an axis that stand at first, first + 1, ..."""
    places = torch.arange(first, first + count, device=device)
    if torus:
        return places % size
    places = places % (2 * size)
    return torch.minimum(places, 2 * size - 1 - places)


@lru_cache(maxsize=128)
def _matrix(start: float, count: int, size: int, torus: bool, device: torch.device) -> Tensor:
    """(count, size) weights of each pixel of an axis in the values at start, start + 1, ..."""
    period = size if torus else 2 * size
    first = math.floor(start)
    kernel = torch.zeros(period, dtype=torch.float64)
    for tap, weight in _taps("fourier", start - first, period):
        kernel[tap % period] += weight
    made = kernel[(torch.arange(period) - first - torch.arange(count)[:, None]) % period]
    if not torus:
        made = made[:, :size] + made[:, size:].flip(1)
    return made.to(device)


def _taps(resampler: str, part: float, period: int) -> list[tuple[int, float]]:
    """Pixels, counted from the one at or before the place, and their weights, which sum to 1."""
    if part == 0:  # The sine of a whole number of half turns is not 0 to the last bit.
        return [(0, 1.0)]
    if resampler == "bilinear":
        return [(0, 1 - part), (1, part)]
    if resampler == "fourier":
        return [(tap, _dirichlet(tap - part, period)) for tap in range(period)]
    found = [(tap, _lanczos(tap - part)) for tap in range(1 - _LOBES, 1 + _LOBES)]
    total = sum(weight for _, weight in found)
    return [(tap, weight / total) for tap, weight in found]


def _lanczos(x: float) -> float:
    """sinc(x) sinc(x / 3)"""
    turn = math.pi * x
    return _LOBES * math.sin(turn) * math.sin(turn / _LOBES) / turn**2


def _dirichlet(x: float, period: int) -> float:
    """The periodic sinc: a shift by phase, of real images.

    Where the period is even, the highest frequency is a cosine with no phase to turn: shifted by
    x it is what a cosine is there, cos(pi x) of itself, and by half a pixel nothing.
    """
    turn = math.pi * x
    slope = math.tan if period % 2 == 0 else math.sin
    return math.sin(turn) / (period * slope(turn / period))
