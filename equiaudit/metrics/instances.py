"""Masks and key points of objects, compared in the frame of the unshifted window."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_COCO = (
    *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072),
    *(0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
)
"""How far annotators of COCO's 17 key points scatter, over the root of the area of a person.
https://cocodataset.org/#keypoints-eval"""


def spreads(count: int) -> Floats:
    """(count,) of key points: COCO's where there are 17, else 1 / count of each."""
    return np.array(_COCO) if count == len(_COCO) else np.full(count, 1 / count)


def mask_overlaps(a: Bools, b: Bools) -> Floats:
    """(n, h, w) and (m, h, w) -> (n, m) intersection over union; 0 where both are empty."""
    one, other = (each.reshape(len(each), -1).astype(np.float32) for each in (a, b))
    shared = (one @ other.T).astype(np.float64)
    union = a.sum((1, 2))[:, None] + b.sum((1, 2))[None] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def similarity(moves: Floats, areas: Floats) -> Floats:
    """Object keypoint similarity of n objects: (n, P, 2) moves of points and (n,) areas -> (n,).

    mean over points of exp(-d^2 / (2 area k^2)) with k twice the spread of the point; 0 of an
    object without area.
    """
    squared = (moves**2).sum(axis=2)
    scale = 2 * areas[:, None] * (2 * spreads(moves.shape[1])) ** 2
    falls = np.divide(squared, scale, out=np.full_like(squared, np.inf), where=scale > 0)
    return np.asarray(np.exp(-falls).mean(axis=1))
