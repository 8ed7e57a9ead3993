"""Simulated audits whose causes are known: labels as functions of where a view lies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from equiaudit.audit.boundary import Changes, boundary_parts, paired_views
from equiaudit.metrics.intervals import mean_interval
from equiaudit.metrics.paired import paired_difference
from equiaudit.shifts import make_plan

PLAN = make_plan(("crop",), window=(32, 32), max_shift=8, stride=(4, 4), offsets=2, paired=True)


@dataclass(frozen=True)
class World:
    """`labels(rng, views)` of images with views (n, 4, 2); truths where they are known exactly."""

    labels: Callable[[np.random.Generator, np.ndarray], np.ndarray]
    border: float | None
    sampling: float | None


@dataclass(frozen=True)
class Coverage:
    measured: dict[str, float]
    """Over many more images than an audit has."""
    held: dict[str, float]
    """The share of audits whose interval holds the truth."""
    negative: float
    """The share of audits that find the share of sampling below 0, noise aside."""


def by_phase(rng, views):
    """Half of the images answer one of three labels by phase, at random."""
    table = rng.integers(0, 3, (len(views), 4, 4)) * (rng.random(len(views)) < 0.5)[:, None, None]
    phase = views % 4
    return table[np.arange(len(views))[:, None], phase[..., 0], phase[..., 1]]


def by_place(rng, views):
    """The label changes where the image has moved over a line."""
    way = rng.normal(size=(len(views), 1, 2))
    return ((way * views).sum(-1) > 6 * rng.normal(size=(len(views), 1))).astype(int)


def away(rng, views):
    """It changes where the image has left the middle, in whatever direction."""
    far = np.abs(views).max(-1)
    return (far > rng.integers(1, 12, (len(views), 1))).astype(int)


def noise(rng, views):
    """Every view has a label of its own."""
    return rng.integers(0, 2, views.shape[:2])


WORLDS = {
    "sampling": World(by_phase, 0.0, 0.5 * 2 / 3),
    "border": World(by_place, None, 0.0),
    "both": World(lambda rng, views: by_phase(rng, views) + 3 * by_place(rng, views), None, None),
    "out of the middle": World(away, None, None),
    "noise": World(noise, 0.5, 0.0),
    "few images": World(
        lambda rng, v: by_phase(rng, v) * (rng.random((len(v), 1)) < 0.1), 0.0, 0.05 * 2 / 3
    ),
    "constant": World(lambda rng, views: np.zeros(views.shape[:2], int), 0.0, 0.0),
}


def coverage(name: str, audits: int, images: int, seed: int = 1) -> Coverage:
    """Audits of a world, against its truth or the mean over four times as many images."""
    world, rng = WORLDS[name], np.random.default_rng(seed)
    views = [PLAN.contrast_offsets(i)["crop:views"] for i in range(audits * images)]
    views = np.stack(views)
    known = np.mean([_shares(world.labels(rng, views)) for _ in range(4)], axis=0)
    exact = world.border, world.sampling
    truths = [m if e is None else e for m, e in zip(known, exact, strict=True)]
    held, negative = np.zeros(2), 0
    for labels in world.labels(rng, views).reshape(audits, images, 4):
        parts = _parts(labels)
        held += [p.low <= truth <= p.high for p, truth in zip(parts, truths, strict=True)]
        negative += parts[1].high < 0
    names = ("border", "sampling")
    return Coverage(
        dict(zip(names, known.tolist(), strict=True)),
        dict(zip(names, (held / audits).tolist(), strict=True)),
        negative / audits,
    )


def _shares(labels):
    whole, between = (
        np.mean([labels[:, i] != labels[:, j] for i, j in pairs])
        for pairs in (((0, 1), (2, 3)), ((0, 3), (1, 2)))
    )
    return whole, between - whole


def _parts(labels):
    n = len(labels)
    views = paired_views(PLAN, range(n), lambda _, i, j: labels[:, i] != labels[:, j])
    total = {"crop": np.zeros(n)}
    changes = Changes("changes", total, views, mean_interval, paired_difference, {})
    return [part.estimate for part in boundary_parts(PLAN, changes)[:2]]
