"""AP of one series of shifts, from the records of images whose objects are known."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from equiaudit.metrics.precision import IOUS, NAMES, Matches, Precision, estimates
from equiaudit.results import Estimate
from equiaudit.tasks.detection.records import BoxRecord
from equiaudit.tasks.detection.scoring import Scored


def precision_figures(records: Sequence[BoxRecord], name: str) -> dict[str, Estimate]:
    """AP, AP50 and AP75: unshifted, over all shifts as images of their own, and at the shifts of
    each image that are worst and best; empty where no objects are known."""
    pairs = known_pairs(records, name)
    if not pairs:
        return {}
    parts: dict[str, list[Matches]] = {part: [] for part in ("clean", "shifted", "worst", "best")}
    for i, (clean, shifted) in enumerate(pairs):
        parts["clean"].append(clean.matches(i))
        parts["shifted"].append(shifted.matches(i))
        for part, view in zip(("worst", "best"), extremes(shifted), strict=True):
            parts[part].append(shifted.matches(i, [view]))
    return {
        f"{figure}_{part}": estimate
        for part, each in parts.items()
        for figure, estimate in estimates(Matches.joined(each), len(pairs)).items()
        if part != "best" or figure == NAMES[0]
    }


def known_pairs(records: Sequence[BoxRecord], name: str) -> list[tuple[Scored, Scored]]:
    """The matches of the unshifted view and of series `name`, of images whose objects are known."""
    return [(r.scored[""], r.scored[name]) for r in records if r.scored and name in r.scored]


def extremes(shifted: Scored) -> tuple[int, int]:
    """The view that is worst for an image alone, and the one that is best."""
    keys = [_alone(shifted, view) for view in range(shifted.views)]
    return keys.index(min(keys)), keys.index(max(keys))


def _alone(shifted: Scored, view: int) -> tuple[float, float]:
    """How good one view of an image is by itself: AP, then how little is found that is not there.

    An image on which nothing is to be found has an AP of 1 for this.
    """
    own = shifted.matches(0, [view])
    wrong = ~own.hit[:, 0] & ~own.out[:, 0]
    order = np.argsort(-own.score, kind="stable")
    found = _ap(
        own.label[order].tobytes(),
        own.hit[order].tobytes(),
        own.out[order].tobytes(),
        own.true_label.tobytes(),
        own.true_count.tobytes(),
    )
    return found, -float(own.score[wrong].sum())


@lru_cache(maxsize=1 << 14)
def _ap(label: bytes, hit: bytes, out: bytes, true_label: bytes, true_count: bytes) -> float:
    labels, true = np.frombuffer(label, np.int64), np.frombuffer(true_label, np.int64)
    shape = (len(labels), len(IOUS))
    own = Matches(
        np.zeros(len(labels), np.int64),
        labels,
        -np.arange(len(labels), dtype=np.float64),
        np.frombuffer(hit, np.bool_).reshape(shape),
        np.frombuffer(out, np.bool_).reshape(shape),
        np.zeros(len(true), np.int64),
        true,
        np.frombuffer(true_count, np.int64),
    )
    found = float(Precision(own).figures()[0])
    return 1.0 if np.isnan(found) else found


def unlike(records: Sequence[BoxRecord]) -> tuple[int, int, int]:
    """Objects on the unshifted images; those that a box of any class overlaps by half; those that
    one of their own class does."""
    objects = near = found = 0
    for record in records:
        if record.scored:
            own = record.scored[""].matches(0)
            objects += int(own.true_count.sum())
            found += int((own.hit[:, 0] & ~own.out[:, 0]).sum())
            near += record.near
    return objects, near, found
