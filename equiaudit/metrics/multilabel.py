"""Figures of images with several labels: how sets of classes change under shifts.

Shapes: n images, K shifts each, C classes. Decisions are booleans, one per class; the classes
decided for are the set of an image. Images with a non-finite output are left out before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiaudit.metrics.classification import Observations, consistency
from equiaudit.metrics.dense import f1, iou_estimates
from equiaudit.metrics.intervals import (
    mean_interval,
    proportion_interval,
    ratio_interval,
)
from equiaudit.metrics.lattice import Numbers
from equiaudit.results import ClassDecisions, Estimate

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.integer[Any]]

MEANS = (
    "set_consistency",
    "label_consistency",
    "set_agreement",
    "label_agreement",
    "jaccard",
    "set_flipped",
)
"""The metrics that are means of `shares`, the leading one first."""


@dataclass(frozen=True)
class Sets:
    """The decisions of one series."""

    offsets: Numbers
    """(n, K, 2) displacement (dy, dx) of the content, px."""
    shifted: Bools
    """(n, K, C)"""
    clean: Bools
    """(n, C)"""
    truth: Bools | None = None
    """(n, C) where it is known."""

    def observations(self) -> Observations:
        """With a number in place of each set, equal where sets are."""
        n, k, _ = self.shifted.shape
        every = np.concatenate([self.clean[:, None], self.shifted], axis=1)
        packed = np.packbits(every, axis=2)
        _, ids = np.unique(packed.reshape(n * (k + 1), -1), axis=0, return_inverse=True)
        numbers = ids.reshape(n, k + 1)
        return Observations(self.offsets, numbers[:, 1:], numbers[:, 0])


def shares(seen: Sets) -> dict[str, Floats]:
    """Per image, (n,), the figures in [0, 1] whose means are the metrics of the same name."""
    of_sets = seen.observations()
    k = seen.shifted.shape[1]
    yes = seen.shifted.sum(axis=1, dtype=np.float64)
    alike = (yes * (yes - 1) + (k - yes) * (k - yes - 1)) / (k * (k - 1))
    same = seen.shifted == seen.clean[:, None]
    return {
        "set_consistency": consistency(of_sets.predicted),
        "label_consistency": alike.mean(axis=1),
        "set_agreement": of_sets.kept.mean(axis=1),
        "label_agreement": same.mean(axis=(1, 2)),
        "jaccard": _jaccard(seen.shifted, seen.clean[:, None]).mean(axis=1),
        "set_flipped": (~of_sets.kept).any(axis=1).astype(np.float64),
    }


def _jaccard(a: Bools, b: Bools) -> Floats:
    """Over the last axis: what both hold over what either holds; 1 where neither holds any."""
    both, either = (a & b).sum(axis=-1), (a | b).sum(axis=-1)
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


def counts(decided: Bools, truth: Bools) -> Floats:
    """(..., C) decisions and truth -> (..., C, 3): right (decided and true), true, decided."""
    true = np.broadcast_to(truth, decided.shape)
    return np.stack([decided & true, true, decided], axis=-1).astype(np.float64)


def worst_shift(seen: Sets) -> Bools:
    """(n, C) decisions at the shift of each image with the most wrong ones.

    Of several that with the fewest right ones, then the first.
    """
    truth = _truth(seen)[:, None]
    wrong = (seen.shifted != truth).sum(axis=2)
    right = (seen.shifted & truth).sum(axis=2)
    place = (wrong * (truth.shape[2] + 1) - right).argmax(axis=1)
    return np.asarray(seen.shifted[np.arange(len(place)), place])


def f1_micro(scores: Floats) -> Estimate:
    """Twice the right over true and decided, all classes and images together; (n, C, 3) counts."""
    right, true, decided = scores.sum(axis=1).T
    return ratio_interval(2 * right, true + decided)


def summarise(seen: Sets, *, seed: int = 0) -> dict[str, Estimate]:
    """Every metric that the decisions allow, with its interval."""
    own = shares(seen)
    found = {name: mean_interval(own[name]) for name in MEANS[:-1]}
    if seen.truth is not None:
        for name, scores in _scored(seen).items():
            found[f"f1_micro_{name}"] = f1_micro(scores)
        for name, scores in _scored(seen).items():
            found[f"f1_macro_{name}"] = iou_estimates(scores, seed=seed, ratio=f1)[0]
    flips = own["set_flipped"]
    found["set_flipped"] = proportion_interval(int(flips.sum()), len(flips))
    return found


def _scored(seen: Sets) -> dict[str, Floats]:
    """Counts (n, C, 3): unshifted, mean over shifts, at the worst shift."""
    truth = _truth(seen)
    return {
        "clean": counts(seen.clean, truth),
        "shifted": counts(seen.shifted, truth[:, None]).mean(axis=1),
        "worst": counts(worst_shift(seen), truth),
    }


def class_rows(seen: Sets, names: dict[int, str], most: int, *, seed: int = 0) -> list[Any]:
    """A `ClassDecisions` per class, the least consistent first; at most `most`."""
    k = seen.shifted.shape[1]
    yes = seen.shifted.sum(axis=1, dtype=np.float64)
    alike = (yes * (yes - 1) + (k - yes) * (k - yes - 1)) / (k * (k - 1))
    kept = (seen.shifted == seen.clean[:, None]).mean(axis=1)
    order = np.argsort(alike.mean(axis=0), kind="stable")[:most].tolist()
    scored = _scored(seen) if seen.truth is not None else {}
    each = {
        name: iou_estimates(scores[:, order], seed=seed, ratio=f1)[1]
        for name, scores in scored.items()
        if name != "worst"
    }
    return [
        ClassDecisions(
            index=c,
            name=names.get(c),
            decided=int(seen.clean[:, c].sum()),
            true=None if seen.truth is None else int(seen.truth[:, c].sum()),
            consistency=mean_interval(alike[:, c]),
            agreement=mean_interval(kept[:, c]),
            f1_clean=each["clean"][place] if each else None,
            f1_shifted=each["shifted"][place] if each else None,
        )
        for place, c in enumerate(order)
    ]


def _truth(seen: Sets) -> Bools:
    if seen.truth is None:
        raise ValueError("these decisions have no truth")
    return seen.truth
