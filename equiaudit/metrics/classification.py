"""Label metrics of one shift series, per image and summarised.

Shapes: n images, K shifts each. Predictions are class indices (integers); images with a
non-finite output are left out before they come here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiaudit.metrics import lattice
from equiaudit.metrics.intervals import (
    bca_interval,
    mean_interval,
    proportion_interval,
    ratio_interval,
)
from equiaudit.results import DistancePoint, Estimate, GridMap

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]
Numbers = lattice.Numbers

_PIECE = 1024
"""Images whose places in a map are worked out at a time."""


@dataclass(frozen=True)
class Observations:
    """Predictions of one series: everything its metrics are made of."""

    offsets: Numbers
    """(n, K, 2) displacement (dy, dx) of the content, px."""
    predicted: Ints
    """(n, K) label at each offset."""
    clean: Ints
    """(n,) label of the unshifted image."""
    wobble: Floats | None = None
    """(n,) largest less smallest probability of the clean label over the K shifts."""
    logit_error: Floats | None = None
    """(n,) max |f(Sx) - f(x)| over the range of f(x). Both None where there are no scores."""
    labels: Ints | None = None
    """(n,) true labels where they are known."""

    @property
    def kept(self) -> NDArray[np.bool_]:
        """(n, K) whether the shifted label equals the unshifted one."""
        return np.asarray(self.predicted == self.clean[:, None])

    @property
    def right(self) -> NDArray[np.bool_]:
        """(n, K) whether the shifted label is the true one."""
        if self.labels is None:
            raise ValueError("these observations have no labels")
        return np.asarray(self.predicted == self.labels[:, None])


def consistency(predicted: Ints) -> Floats:
    """(n, K) labels -> (n,) chance that two different shifts agree.

    sum_c n_c (n_c - 1) / (K (K - 1)) with n_c of the K predictions in class c; for K = 2
    the MASS paper's eq. 4 with distinct shifts.
    """
    n, k = predicted.shape
    ordered = np.sort(predicted, axis=1)
    starts = np.ones((n, k), dtype=bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.flatnonzero(starts)
    runs = np.diff(np.append(first, n * k))
    pairs = np.bincount(first // k, weights=runs * (runs - 1.0), minlength=n)
    return np.asarray(pairs / (k * (k - 1)))


def flip_radius(observations: Observations) -> Floats:
    """(n,) smallest tried max(|dy|, |dx|) that changes the label, px; inf where none does."""
    distance = np.abs(observations.offsets).max(axis=2).astype(np.float64)
    return np.asarray(np.where(observations.kept, np.inf, distance).min(axis=1))


def summarise(observations: Observations, *, seed: int = 0) -> dict[str, Estimate]:
    """Every classification metric that the observations allow, with its interval."""
    estimates = {
        "consistency": mean_interval(consistency(observations.predicted)),
        "agreement": mean_interval(observations.kept.mean(axis=1)),
    }
    if observations.labels is not None:
        estimates |= _accuracies(observations)
    radius = flip_radius(observations)
    flips = np.isfinite(radius)
    estimates["flipped"] = proportion_interval(int(flips.sum()), len(flips))
    estimates["flip_radius"] = bca_interval(radius[flips], seed=seed)
    if observations.wobble is not None:
        estimates["confidence_wobble"] = mean_interval(observations.wobble)
    if observations.logit_error is not None:
        estimates["logit_error"] = bca_interval(observations.logit_error, seed=seed)
        estimates["logit_error_max"] = _largest(observations.logit_error)
    return estimates


SHARES = (
    "consistency",
    "agreement",
    "accuracy_clean",
    "accuracy_shifted",
    "accuracy_worst",
    "consistency_correct",
    "flipped",
    "confidence_wobble",
)
"""The metrics that are means of `shares`, the leading one first."""


def shares(observations: Observations) -> dict[str, Floats]:
    """Per image, the figures in [0, 1] whose means are the metrics of the same name.

    Each is of shape (n,), except that consistency_correct leaves out images that are never
    right. Those about the truth are there where labels are known. `summarise` has the same
    means.
    """
    per_image = {
        "consistency": consistency(observations.predicted),
        "agreement": observations.kept.mean(axis=1),
        "flipped": (~observations.kept).any(axis=1).astype(np.float64),
    }
    if observations.wobble is not None:
        per_image["confidence_wobble"] = observations.wobble
    if observations.labels is not None:
        right = observations.right
        per_image |= {
            "accuracy_clean": (observations.clean == observations.labels).astype(np.float64),
            "accuracy_shifted": right.mean(axis=1),
            "accuracy_worst": right.all(axis=1).astype(np.float64),
            "consistency_correct": per_image["consistency"][right.any(axis=1)],
        }
    return {name: per_image[name] for name in SHARES if name in per_image}


def _accuracies(observations: Observations) -> dict[str, Estimate]:
    right = observations.right
    n = len(right)
    once = right.any(axis=1)
    clean_right = int((observations.clean == observations.labels).sum())
    return {
        "accuracy_clean": proportion_interval(clean_right, n),
        "accuracy_shifted": mean_interval(right.mean(axis=1)),
        "accuracy_worst": proportion_interval(int(right.all(axis=1).sum()), n),
        "consistency_correct": mean_interval(consistency(observations.predicted[once])),
    }


def _largest(values: Floats) -> Estimate:
    value = float(values.max()) if len(values) else None
    return Estimate(value=value, n=len(values), method="none")


def agreement_map(observations: Observations, low: int, high: int, parts: int = 1) -> GridMap:
    """Counts over the displacements in [low, high]^2, in steps of 1 / parts px."""
    axis = lattice.axis(low, high, parts)
    return _grid_map(axis, axis, observations, lambda at: lattice.cells(at, low, parts))


def phase_map(observations: Observations, stride: tuple[int, int], parts: int = 1) -> GridMap:
    """Counts over (dy mod S, dx mod S): a pattern here comes from sampling."""
    rows, cols = (lattice.phase_axis(step, parts) for step in stride)
    return _grid_map(rows, cols, observations, lambda at: lattice.phase_cells(at, stride, parts))


def _grid_map(
    rows: tuple[float, ...],
    cols: tuple[float, ...],
    seen: Observations,
    cells_of: Callable[[Numbers], Ints],
) -> GridMap:
    """Counts by cell, some images at a time: the places of all would take more than the labels."""
    shape, kept = (len(rows), len(cols)), seen.kept
    total, agree = np.zeros((2, len(rows) * len(cols)), np.int64)
    for start in range(0, len(kept), _PIECE):
        part = slice(start, start + _PIECE)
        cells = cells_of(seen.offsets[part])
        flat = (cells[..., 0] * len(cols) + cells[..., 1]).ravel()
        total += np.bincount(flat, minlength=total.size)
        agree += np.bincount(flat[kept[part].ravel()], minlength=agree.size)
    return GridMap(
        rows=rows,
        cols=cols,
        agree=_tuples(agree.reshape(shape)),
        total=_tuples(total.reshape(shape)),
    )


def _tuples(counts: Ints) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in counts.tolist())


def by_distance(observations: Observations) -> tuple[DistancePoint, ...]:
    """Agreement at each tried distance max(|dy|, |dx|) > 0; images are the unit."""
    distance = np.abs(observations.offsets).max(axis=2)
    return tuple(
        DistancePoint(
            distance=lattice.px(d), agreement=_agreement_where(observations, distance == d)
        )
        for d in np.unique(distance)
        if d > 0
    )


def _agreement_where(observations: Observations, chosen: NDArray[np.bool_]) -> Estimate:
    trials = chosen.sum(axis=1)
    hits = (chosen & observations.kept).sum(axis=1)
    has = trials > 0
    return ratio_interval(hits[has].astype(float), trials[has].astype(float))
