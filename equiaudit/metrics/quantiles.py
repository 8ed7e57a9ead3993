"""Quantiles of several figures per image, with the image as the sampling unit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from equiaudit.results import Estimate

Floats = NDArray[np.float64]

_RESAMPLES, _LEAST = 2000, 200
_DRAWS = 40_000_000
_CHUNK = 4_000_000
"""Images that are drawn at once."""
_CONFIDENCE = 0.95


def pooled_quantile(each: Sequence[Floats], level: float, *, seed: int = 0) -> Estimate:
    """The smallest figure that `level` of all figures do not exceed, over n images.

    `each` has the figures of one image, any number of them. The interval is that of the
    percentile bootstrap over images. Fewer than two images with figures have none.
    """
    return pooled_quantiles(each, [level], seed=seed)[0]


def pooled_quantiles(
    each: Sequence[Floats], levels: Sequence[float], *, seed: int = 0
) -> list[Estimate]:
    """`pooled_quantile` at several levels, of the same resamples."""
    n = sum(len(values) > 0 for values in each)
    values = np.concatenate([*each, np.zeros(0)])
    if not n:
        return [Estimate(value=None, n=0, method="none") for _ in levels]
    image = np.repeat(np.arange(len(each)), [len(v) for v in each])
    order = np.argsort(values, kind="stable")
    values, image = values[order], image[order]
    found = [float(values[int(np.ceil(level * len(values))) - 1]) for level in levels]
    if n < 2 or values[0] == values[-1]:
        return [Estimate(value=value, n=n, method="none") for value in found]
    ends = np.quantile(
        _resampled(values, image, len(each), np.array(levels), seed),
        [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2],
        axis=0,
    )
    return [
        Estimate(
            value=value,
            low=min(float(low), value),
            high=max(float(high), value),
            n=n,
            method="bootstrap",
            confidence=_CONFIDENCE,
        )
        for value, low, high in zip(found, *ends, strict=True)
    ]


def _resampled(
    values: Floats, image: NDArray[np.int64], images: int, levels: Floats, seed: int
) -> Floats:
    """(resamples, levels) quantiles of sorted `values`, each image drawn as often as it comes.

    Of several values in a row it is known how many images have them, and single ones are looked
    at in one such run alone.
    """
    length = max(1, round(len(values) ** 0.5))
    runs = -(-len(values) // length)
    held = np.zeros((images, runs))
    np.add.at(held, (image, np.arange(len(values)) // length), 1.0)
    inside = np.pad(image, (0, runs * length - len(values)), mode="edge").reshape(runs, length)
    rng = np.random.default_rng([seed, images])
    count = int(np.clip(_DRAWS // len(values), _LEAST, _RESAMPLES))
    rows = max(1, _CHUNK // images)
    places = []
    for start in range(0, count, rows):
        size = min(rows, count - start)
        drawn = rng.integers(images, size=(size, images)) + images * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * images).reshape(size, images)
        before = np.concatenate([np.zeros((size, 1)), (times @ held).cumsum(axis=1)], axis=1)
        places.append(np.stack([_places(times, before, inside, own) for own in levels], axis=1))
    return np.asarray(values[np.minimum(np.concatenate(places), len(values) - 1)])


def _places(
    times: NDArray[np.int64], before: Floats, inside: NDArray[np.int64], level: float
) -> NDArray[np.int64]:
    """(resamples,) of the value that `level` of all drawn ones reach."""
    wanted = np.ceil(level * before[:, -1:])
    run = np.minimum((before[:, 1:] < wanted).sum(axis=1), len(inside) - 1)
    reached = np.take_along_axis(times, inside[run], axis=1).cumsum(axis=1)
    reached = reached + np.take_along_axis(before, run[:, None], axis=1)
    return np.asarray(run * inside.shape[1] + (reached < wanted).sum(axis=1))
