"""Average precision of boxes, as COCO defines it, from matches that are made already.

The matches are those of COCO's evaluation at the IoUs 0.5, 0.55, ..., 0.95: at most 100 boxes of
an image and class, the likeliest first. A precision is the largest at a recall of r or more, read
at r = 0, 0.01, ..., 1; AP is the mean over IoUs, recalls and the classes that have objects.
https://cocodataset.org/#detection-eval
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit  # Student's t; scipy.stats is slow to import

from equiaudit.results import Estimate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

IOUS = np.linspace(0.5, 0.95, 10)
NAMES = ("ap", "ap50", "ap75")
_PLACES = (slice(None), 0, 5)
"""Of `NAMES` among `IOUS`."""
_RECALLS = np.linspace(0.0, 1.0, 101)
_GROUPS = 50
_CONFIDENCE = 0.95


@dataclass(frozen=True, eq=False)
class Matches:
    """What became of D boxes and of the objects of some images.

    Boxes of a class are in the order of images and, within an image, of falling scores.
    """

    image: Ints
    """(D,) a number of its image."""
    label: Ints
    """(D,)"""
    score: Floats
    """(D,)"""
    hit: Bools
    """(D, 10) it found an object, at each of `IOUS`."""
    out: Bools
    """(D, 10) it is neither right nor wrong: what it found does not count."""
    true_image: Ints
    """(G,) images ..."""
    true_label: Ints
    """(G,) ... classes ..."""
    true_count: Ints
    """(G,) ... and how many objects of the class are to be found there."""

    @classmethod
    def joined(cls, parts: Sequence[Matches]) -> Matches:
        """Of all images together."""
        names = ("image", "label", "score", "hit", "out", "true_image", "true_label", "true_count")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True, eq=False)
class Precision:
    """The AP of some matches, and of parts of their images."""

    matches: Matches

    @cached_property
    def _classes(self) -> list[tuple[int, Ints]]:
        """(label, its boxes by falling score) of all classes with objects."""
        m = self.matches
        found = []
        for label in np.unique(m.true_label[m.true_count > 0]).tolist():
            own = np.flatnonzero(m.label == label)
            found.append((label, own[np.argsort(-m.score[own], kind="stable")]))
        return found

    def figures(self, kept: Bools | None = None) -> Floats:
        """(3,) AP, AP50 and AP75; NaN without objects. `kept` says it of each image's number."""
        m, tables = self.matches, []
        for label, order in self._classes:
            mine = m.true_label == label
            if kept is not None:
                order, mine = order[kept[m.image[order]]], mine & kept[m.true_image]
            total = int(m.true_count[mine].sum())
            if total:
                tables.append(_curve(m.hit[order], m.out[order], total))
        if not tables:
            return np.full(len(NAMES), np.nan)
        table = np.stack(tables, axis=-1)
        return np.array([table[place].ravel().mean() for place in _PLACES])


def _curve(hit: Bools, out: Bools, total: int) -> Floats:
    """(d, 10) of one class, by falling score -> (10, 101) precisions."""
    right = np.cumsum(hit & ~out, axis=0, dtype=np.float64)
    wrong = np.cumsum(~hit & ~out, axis=0, dtype=np.float64)
    recall, precision = right / total, right / (wrong + right + np.spacing(1))
    best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    table = np.zeros((len(IOUS), len(_RECALLS)))
    for row, own, reached in zip(table, best.T, recall.T, strict=True):
        at = np.searchsorted(reached, _RECALLS, side="left")
        inside = at < len(own)
        row[inside] = own[at[inside]]
    return table


def estimates(matches: Matches, images: int) -> dict[str, Estimate]:
    """AP, AP50 and AP75 with intervals over `images` images, numbered from 0.

    Intervals by the jackknife over up to 50 groups of images, each left out in turn, by Student's
    t on one degree of freedom less than groups; cut to [0, 1]. No interval for one image, or where
    no group changes the figure.
    """
    precision = Precision(matches)
    values = precision.figures()
    if np.isnan(values).any():
        return {name: Estimate(value=None, n=0, method="jackknife") for name in NAMES}
    groups = min(images, _GROUPS)
    group = np.arange(images) % groups
    left_out = np.stack([precision.figures(group != g) for g in range(groups)])
    left_out = left_out[np.isfinite(left_out).all(axis=1)]
    return {
        name: _interval(float(values[i]), left_out[:, i], images) for i, name in enumerate(NAMES)
    }


def _interval(value: float, left_out: Floats, images: int) -> Estimate:
    n = len(left_out)
    if n < 2 or np.ptp(left_out) == 0:
        return Estimate(value=value, n=images, method="none")
    spread = np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum())
    reach = float(stdtrit(n - 1, 0.5 + _CONFIDENCE / 2) * spread)
    low, high = max(0.0, value - reach), min(1.0, value + reach)
    return Estimate(value=value, low=low, high=high, n=images, method="jackknife")
