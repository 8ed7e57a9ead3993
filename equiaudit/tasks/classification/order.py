"""Whether the model numbers its classes in another order than the labels do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc  # the binomial law; scipy.stats is slow to import

from equiaudit.errors import InputError
from equiaudit.tasks.classification.records import NONFINITE
from equiaudit.tasks.classification.table import UNKNOWN

_LEAST = 4
"""Images of a class that say what it is taken for."""
_SHARE = 0.1
"""Of all labelled images; two classes of a thousand that look alike are no sign."""
_P = 0.001


def refuse_another_order(clean: NDArray[np.integer], labels: NDArray[np.integer]) -> None:
    """InputError where classes have changed places: most of `a` are called `b`, of `b` called `a`.

    `clean` and `labels`: (n,) the model's labels of the unshifted images, and theirs. Longer
    rounds count too. A poor model takes many classes for one, and none goes a whole round.
    """
    known = (clean != NONFINITE) & (labels != UNKNOWN)
    clean, labels = clean[known], labels[known]
    taken = {int(each): _taken_for(clean[labels == each]) for each in np.unique(labels)}
    moved = [each for each in taken if _goes_round(each, taken)]
    among = np.isin(labels, moved)
    if not moved or among.sum() < _SHARE * len(labels):
        return
    other = np.array([taken[int(each)] for each in labels[among]])
    swapped, right = int((clean[among] == other).sum()), int((clean[among] == labels[among]).sum())
    by_chance = float(bdtrc(swapped - 1, swapped + right, 0.5)) if swapped else 1.0
    if by_chance >= _P:
        return
    named = ", ".join(f"{each} for {taken[each]}" for each in moved[:4])
    raise InputError(
        "The labels number the classes in another order than the model: it takes most images of"
        f" class {named}{', ...' if len(moved) > 4 else ''} ({swapped} of {int(among.sum())}"
        " images).",
        tip="List the names of the model's classes, in its order, with --class-names FILE;"
        " --no-accuracy-check goes on anyway.",
    )


def _taken_for(clean: NDArray[np.integer]) -> int | None:
    """The label of more than half of the images of a class, where they are enough."""
    values, counts = np.unique(clean, return_counts=True)
    best = int(counts.argmax())
    return int(values[best]) if len(clean) >= _LEAST and 2 * counts[best] > len(clean) else None


def _goes_round(start: int, taken: dict[int, int | None]) -> bool:
    """Whether `start` comes back to itself through other classes."""
    place = taken[start]
    for _ in taken:
        if place is None or place == start:
            break
        place = taken.get(place)
    return place == start and taken[start] != start
