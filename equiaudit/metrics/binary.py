"""Figures of yes-or-no answers with a score: balanced accuracy and AUROC. Images are the unit.

n images, K shifts each. Images with label 1 and with label 0 are two independent samples. Simulated
audits of normal scores (K = 4; 50 and 200 images, half or a tenth of them with label 1, 400 each)
held the truth in 90 to 98% for AUROC; in 95 to 97% for balanced accuracy where half have label 1,
and in 86 to 91% where a tenth has.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from equiaudit.metrics.intervals import quantile, wilson_bounds
from equiaudit.results import Estimate

Floats = NDArray[np.float64]
Scores = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]

_PRIOR_IMAGES = 0.1
"""As of `ClusterLaw`: of an image whose figure is 0 or 1."""
_CONFIDENCE = 0.95


def balanced_accuracy(right: Floats, truth: Bools) -> Estimate:
    """Mean of the shares that are right among images with and without; (n,) each.

    `right` is the share of an image's shifts with the right answer.
    """
    return _of_two(right[truth], right[~truth], of_means=True)


def auroc(scores: Scores, truth: Bools) -> Estimate:
    """The chance that an image that has it scores above one that has not, ties counting half.

    `scores` is (n, K), `truth` (n,); each image at a shift of its own, drawn at random. The
    interval is from DeLong's variance (DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44:837),
    of images instead of passes (Obuchowski 1997, Biometrics 53:567), put into Wilson's.
    """
    yes, no = scores[truth], scores[~truth]
    if not yes.size or not no.size:
        return Estimate(value=None, n=len(scores), method="delong-wilson")
    return _of_two(_above(yes, no), 1 - _above(no, yes), of_means=False)


def _above(some: Scores, others: Scores) -> Floats:
    """(m,) per image of `some` (m, K): the share of all scores in `others` below, ties half."""
    from scipy.stats import rankdata  # slow to import

    m, total = some.size, others.size
    every = np.concatenate([some.ravel(), others.ravel()])
    among, own = rankdata(every)[:m], rankdata(some.ravel())
    return np.asarray(((among - own) / total).reshape(some.shape).mean(axis=1))


def _of_two(yes: Floats, no: Floats, *, of_means: bool) -> Estimate:
    """The mean of the two samples' means, or the first where both have the same; by Wilson."""
    n, method = len(yes) + len(no), "two-sample-wilson" if of_means else "delong-wilson"
    if not len(yes) or not len(no):
        return Estimate(value=None, n=n, method=method)
    first, second = float(yes.mean()), float(no.mean())
    value = (first + second) / 2 if of_means else first
    weight = 0.25 if of_means else 1.0
    parts = [weight * _variance(each, value) for each in (yes, no)]
    variance, spread = sum(parts), value * (1 - value)
    images = float(min(len(yes), len(no)))
    if variance > 0 and spread > 0:
        # Welch & Satterthwaite: as many degrees of freedom as the variances are known by.
        doubts = (v**2 / max(len(s) - 1, 1) for v, s in zip(parts, (yes, no), strict=True))
        wider = stdtrit(variance**2 / sum(doubts), 0.5 + _CONFIDENCE / 2) / quantile(_CONFIDENCE)
        images = spread / variance / wider**2
    low, high = wilson_bounds(min(max(value, 0.0), 1.0), images, _CONFIDENCE)
    return Estimate(value=value, low=low, high=high, n=n, method=method)


def _variance(figures: Floats, value: float) -> float:
    """Of the mean, drawn towards that of figures of all or nothing by a tenth of an image."""
    n = len(figures)
    each = float(figures.var(ddof=1)) if n > 1 else value * (1 - value)
    return (n * each + _PRIOR_IMAGES * value * (1 - value)) / (n + _PRIOR_IMAGES) / n
