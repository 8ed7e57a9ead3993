"""AP at the shifts of each image that make it least, and largest, over all images together.

In the manner of Manfredi and Wang, "Shift Equivariance in Object Detection" (2020, arXiv
2008.05787): a greedy search over the shifts of one image after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from equiaudit.metrics.precision import Matches, Precision, estimates
from equiaudit.results import Estimate
from equiaudit.tasks.detection.against import extremes, known_pairs
from equiaudit.tasks.detection.records import BoxRecord
from equiaudit.tasks.detection.scoring import Scored

_ROUNDS = 10
"""Most times that all images are gone through."""
_LEAST = 1e-12
"""Change of AP that is not rounding."""


def bounds(records: Sequence[BoxRecord], name: str) -> dict[str, Estimate]:
    """`ap_lower` and `ap_upper` over the unshifted view and the shifts of series `name`.

    Begun with every image at the shift that is worst (best) for it alone, and with every image
    unshifted, the search gives each image in turn the view with which the AP of all is least
    (largest), until a round changes nothing; the further of the two ends counts. No choice
    of views is beyond the bounds only if it was met: they are those of a search.
    """
    pairs = known_pairs(records, name)
    if not pairs:
        return {}
    views = [_views(i, clean, shifted) for i, (clean, shifted) in enumerate(pairs)]
    alone = [extremes(shifted) for _, shifted in pairs]
    found = {}
    for bound, sign, which in (("ap_lower", 1, 0), ("ap_upper", -1, 1)):
        starts = ([0] * len(views), [1 + each[which] for each in alone])
        ends = [_Search(views, sign).end(start) for start in starts]
        _, chosen = min(ends, key=lambda end: end[0])
        joined = Matches.joined([own[v] for own, v in zip(views, chosen, strict=True)])
        found[bound] = estimates(joined, len(views))["ap"]
    return found


def _views(image: int, clean: Scored, shifted: Scored) -> list[Matches]:
    """The unshifted view and every shifted one."""
    every = (shifted.matches(image, [view]) for view in range(shifted.views))
    return [clean.matches(image), *every]


@dataclass
class _Search:
    """The least of `sign` times the AP of all images, by the view of each."""

    views: list[list[Matches]]
    sign: int

    def end(self, start: Sequence[int]) -> tuple[float, list[int]]:
        """The figure where no single image changes it, and the views of all images there."""
        chosen = list(start)
        by_class = {c: _precision(self._joined(c, chosen)) for c in self._labels()}
        least = self._mean(by_class)
        for _ in range(_ROUNDS):
            before = least
            for image in range(len(self.views)):
                least, chosen[image], by_class = self._best(image, chosen, least, by_class)
            if least == before:
                break
        return least, chosen

    def _best(
        self, image: int, chosen: Sequence[int], least: float, by_class: dict[int, float]
    ) -> tuple[float, int, dict[int, float]]:
        """The view of one image that does most, if any does, and the figures with it."""
        own, now = self.views[image], chosen[image]
        best, start = now, by_class
        others: dict[int, tuple[list[Matches], list[Matches]]] = {}
        for view in self._others(own, now):
            changed = {}
            for label in _labels_of(own[view]) | _labels_of(own[now]):
                if label not in others:
                    first, last = chosen[:image], chosen[image + 1 :]
                    others[label] = (
                        self._joined(label, first, 0),
                        self._joined(label, last, image + 1),
                    )
                front, back = others[label]
                mine = self._parts[image][view].get(label)
                changed[label] = _precision([*front, *([mine] if mine else []), *back])
            figure = self._mean(start | changed)
            if figure < least - _LEAST:
                least, best, by_class = figure, view, start | changed
        return least, best, by_class

    def _labels(self) -> set[int]:
        return {label for own in self.views for each in own for label in _labels_of(each)}

    def _others(self, own: list[Matches], now: int) -> list[int]:
        """One view of each kind of outcome but that of view `now`."""
        seen, found = {_key(own[now])}, []
        for view, each in enumerate(own):
            if (key := _key(each)) not in seen:
                seen.add(key)
                found.append(view)
        return found

    @cached_property
    def _parts(self) -> list[list[dict[int, Matches]]]:
        """By image, view and class: what is of that class."""
        return [[{c: _part(v, c) for c in _labels_of(v)} for v in own] for own in self.views]

    def _joined(self, label: int, chosen: Sequence[int], first: int = 0) -> list[Matches]:
        """What is of one class in the views of the images from `first` on, as one or none."""
        each = (own[v] for own, v in zip(self._parts[first:], chosen, strict=False))
        parts = [own[label] for own in each if label in own]
        return [Matches.joined(parts)] if parts else []

    def _mean(self, by_class: dict[int, float]) -> float:
        """`sign` times the AP of all; of no objects at all it is not asked."""
        values = [value for value in by_class.values() if not np.isnan(value)]
        return self.sign * float(np.mean(values)) if values else 0.0


def _precision(parts: Sequence[Matches]) -> float:
    """AP of one class, its images in their order; NaN without objects."""
    return float(Precision(Matches.joined(parts)).figures()[0]) if parts else float("nan")


def _labels_of(own: Matches) -> set[int]:
    return {*own.label.tolist(), *own.true_label.tolist()}


def _key(own: Matches) -> tuple[bytes, ...]:
    parts = (own.label, own.score, own.hit, own.out, own.true_label, own.true_count)
    return tuple(part.tobytes() for part in parts)


def _part(own: Matches, label: int) -> Matches:
    """What is of one class."""
    found, true = own.label == label, own.true_label == label
    return Matches(
        own.image[found],
        own.label[found],
        own.score[found],
        own.hit[found],
        own.out[found],
        own.true_image[true],
        own.true_label[true],
        own.true_count[true],
    )
