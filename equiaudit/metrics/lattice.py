"""Tables by offset and by phase, where offsets are multiples of 1 / parts px."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Cells = NDArray[np.int64]
Numbers = NDArray[Any]
"""Integers or floats."""


def px(value: float) -> float:
    """A number of px: an int where it is whole."""
    return int(value) if value == int(value) else float(value)


def axis(low: int, high: int, parts: int) -> tuple[float, ...]:
    """All multiples of 1 / parts from low to high, px."""
    return tuple(px(step / parts) for step in range(low * parts, high * parts + 1))


def cells(offsets: Numbers, low: int, parts: int) -> Cells:
    """The places of offsets (..., 2) on the `axis` that begins at low."""
    return _steps(offsets, parts) - low * parts


def phase_axis(stride: int, parts: int) -> tuple[float, ...]:
    """The remainders modulo `stride`, px; those that are whole leave the pixels' grid in place."""
    return axis(0, stride, parts)[:-1]


def phase_cells(offsets: Numbers, stride: tuple[int, int], parts: int) -> Cells:
    """The places of offsets (..., 2) on the `phase_axis` of rows and columns."""
    return np.asarray(_steps(offsets, parts) % (np.asarray(stride) * parts))


def _steps(offsets: Numbers, parts: int) -> Cells:
    return np.rint(np.asarray(offsets, np.float64) * parts).astype(np.int64)
