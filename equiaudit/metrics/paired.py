"""Two models on the same images and the same shifts: paired differences, exact McNemar."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr

from equiaudit.metrics.intervals import ClusterLaw
from equiaudit.results.types import Estimate


@dataclass(frozen=True)
class PairedLaw:
    """The interval of a paired difference, as a function of the number of images.

    Gains and losses of the images have a law each; `correlation` is theirs.
    """

    gains: ClusterLaw
    losses: ClusterLaw
    correlation: float

    @classmethod
    def of(cls, a: ArrayLike, b: ArrayLike) -> PairedLaw:
        """From both figures of each image, (n,) in [0, 1] with n >= 1."""
        before, after = _same_images(a, b)
        gains, losses = np.maximum(after - before, 0.0), np.maximum(before - after, 0.0)
        return cls(ClusterLaw.of(gains), ClusterLaw.of(losses), _correlation(gains, losses))

    @property
    def mean(self) -> float:
        """Of b - a."""
        return self.gains.mean - self.losses.mean

    def bounds(self, n: float, confidence: float = 0.95) -> tuple[float, float]:
        """Bounds of the mean of b - a over `n` images like these, by MOVER."""
        gain_low, gain_high = self.gains.bounds(n, confidence)
        loss_low, loss_high = self.losses.bounds(n, confidence)
        gain, loss = self.gains.mean, self.losses.mean
        down = _combine(gain - gain_low, loss_high - loss, self.correlation)
        up = _combine(gain_high - gain, loss - loss_low, self.correlation)
        return max(self.mean - down, -1.0), min(self.mean + up, 1.0)


@dataclass(frozen=True)
class McNemar:
    """Exact McNemar test: the images that only one of two models gets right."""

    b_only: int
    a_only: int
    p_value: float
    """Two-sided: how often chance alone splits the images they disagree on so unevenly."""


def paired_difference(a: ArrayLike, b: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """Mean of b - a over the same images, for figures in [0, 1]; above 0, b is larger.

    `a` and `b` have shape (n,). Gains and losses are each a share in [0, 1] with a cluster
    interval of its own, put together by MOVER (Zou & Donner 2008, Statistics in Medicine
    27:1693). So the interval is asymmetric where the changes are, and never empty: 50 images
    without a change leave [-0.08, 0.08], since 50 more may hold some. It covers 94% or more in
    ``benchmarks/coverage.py``, where Student's t falls to 10%, and more than 97% where only a
    few images change. For unbounded figures take `bca_interval` of b - a.

    Raises ValueError for figures outside [0, 1], NaN, or unequal shapes.
    """
    before, after = _same_images(a, b)
    if before.size == 0:
        return Estimate(value=None, n=0, method="paired-wilson", confidence=confidence)
    law = PairedLaw.of(before, after)
    low, high = law.bounds(before.size, confidence)
    return Estimate(
        value=law.mean,
        low=low,
        high=high,
        n=before.size,
        method="paired-wilson",
        confidence=confidence,
    )


def mcnemar_exact(a_correct: ArrayLike, b_correct: ArrayLike) -> McNemar:
    """Whether `b` is right on more or fewer of the same images than `a`.

    Both are boolean, of shape (n,). Under equal accuracy each image that only one of them
    gets right is a fair coin, so the p-value is exact for any n. It is 1 when there are none.
    """
    right_a, right_b = np.asarray(a_correct), np.asarray(b_correct)
    if right_a.dtype != np.bool_ or right_b.dtype != np.bool_:
        raise ValueError(f"expected booleans, got {right_a.dtype} and {right_b.dtype}")
    _require_same_shape(right_a, right_b)
    b_only = int((right_b & ~right_a).sum())
    a_only = int((right_a & ~right_b).sum())
    p_value = min(1.0, 2 * float(bdtr(min(a_only, b_only), a_only + b_only, 0.5)))
    return McNemar(b_only=b_only, a_only=a_only, p_value=p_value)


def labels_correct(predicted: ArrayLike, truth: ArrayLike) -> NDArray[np.bool_]:
    """Which predicted labels, integers of shape (n,), are right.

    `truth` is one label per image, integers of shape (n,), or for images with several labels
    a boolean (n, classes) table of those that apply: one of them is enough.
    """
    labels, true = np.asarray(predicted), np.asarray(truth)
    if labels.ndim != 1 or true.ndim not in (1, 2) or len(true) != len(labels):
        raise ValueError(f"expected one row of truth per label, got {true.shape}, {labels.shape}")
    if true.ndim == 1:
        return np.asarray(labels == true)
    if true.dtype != np.bool_:
        raise ValueError(f"expected a boolean table of labels, got {true.dtype}")
    if labels.size and not 0 <= labels.min() <= labels.max() < true.shape[1]:
        raise ValueError(f"expected labels below {true.shape[1]}, got {labels.max()}")
    return np.asarray(true[np.arange(len(labels)), labels])


def _combine(gain_side: float, loss_side: float, correlation: float) -> float:
    x, y = max(gain_side, 0.0), max(loss_side, 0.0)
    return sqrt(x * x + y * y - 2 * correlation * x * y)


def _correlation(gains: NDArray[np.float64], losses: NDArray[np.float64]) -> float:
    """Negative or 0: an image that gains does not lose."""
    spread = float(gains.std() * losses.std())
    return max(-float(gains.mean() * losses.mean()) / spread, -1.0) if spread else 0.0


def _same_images(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    before, after = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    _require_same_shape(before, after)
    for figures in (before, after):
        if not ((figures >= 0) & (figures <= 1)).all():
            raise ValueError("expected figures in [0, 1], without NaN")
    return before, after


def _require_same_shape(a: NDArray[np.generic], b: NDArray[np.generic]) -> None:
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"expected two arrays of one shape (n,), got {a.shape} and {b.shape}")
