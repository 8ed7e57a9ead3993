"""What single protocols measure of labels, beside consistency and its kin."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from equiaudit.metrics.classification import Observations
from equiaudit.metrics.intervals import proportion_interval
from equiaudit.results import Estimate

Bools = NDArray[np.bool_]


def accuracy_robust(seen: Observations) -> Bools:
    """(n,) right unshifted and at every shift tried: what the worst shift leaves."""
    return np.asarray(seen.right.all(axis=1) & (seen.clean == seen.labels))


def stability(seen: Observations) -> Bools:
    """(n,) the labels of all shifts are the unshifted one."""
    return np.asarray(seen.kept.all(axis=1))


def fidelity(seen: Observations) -> Bools:
    """(n,) they are, and it is the true one."""
    return stability(seen) & accuracy_robust(seen)


_MEASURES: dict[str, Callable[[Observations], Bools]] = {
    "accuracy_robust": accuracy_robust,
    "stability": stability,
    "fidelity": fidelity,
}
_OF_TRUTH = ("accuracy_robust", "fidelity")


def of_protocol(seen: Observations, measures: Collection[str]) -> dict[str, Estimate]:
    """Shares of images, those of the truth where labels are known."""
    found = {}
    for name in measures:
        if seen.labels is not None or name not in _OF_TRUTH:
            met = _MEASURES[name](seen)
            found[name] = proportion_interval(int(met.sum()), len(met))
    return found
