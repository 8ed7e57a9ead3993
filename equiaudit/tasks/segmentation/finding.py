"""Whether a segmenter finds anything: one class all over keeps every pixel, and says nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from equiaudit.errors import InputError
from equiaudit.tasks.segmentation.block import SegmentationRecord

_SEEN = 8
"""Images, or all where there are fewer, after which class 1 all over is no accident."""
_MASKS, _LEAST = 30, 10
"""Masks whose classes are never found, after which that is certain; of a whole set, fewer are."""
_NEARLY = 0.9
_NAMED = 3


@dataclass(frozen=True)
class Findings:
    """What the records of some of `total` images say of the classes that are found."""

    records: Sequence[SegmentationRecord]
    total: int
    names: Mapping[int, str]
    limit: float | None
    """Above which a single channel means class 1; None for other outputs."""

    def refuse(self) -> None:
        """InputError where it is certain that nothing is parted, or that nothing is found."""
        seen = self._finite
        if self.limit is not None and len(seen) >= min(_SEEN, self.total) and _all_ones(seen):
            raise InputError(
                f"The single channel is above {self.limit:g} at every pixel of {_images(seen)},"
                " unshifted and shifted: as the score of class 1 it parts nothing, and looks like"
                " a map of values (a distance, an anomaly score).",
                tip="--task image compares the values; --no-accuracy-check goes on anyway.",
            )
        missed, masks = self._missed()
        enough = masks >= _MASKS or (len(self.records) >= self.total and masks >= _LEAST)
        if missed and enough:
            raise InputError(
                self._never(missed, masks) + ".",
                tip="Check --mean, --std, --preprocess and the numbering of the masks;"
                " --no-accuracy-check goes on anyway.",
            )

    def warnings(self) -> tuple[str, ...]:
        """The same where the scan went on."""
        found = []
        missed, masks = self._missed()
        if missed:
            found.append(self._never(missed, masks))
        seen = self._finite
        whole = Counter(r.only for r in seen if r.only is not None)
        if seen and whole.total() >= _NEARLY * len(seen):
            labels = self._named([label for label, _ in whole.most_common()])
            values = "" if self.limit is None else "; a map of values is audited by --task image"
            found.append(
                f"every pixel has one class ({labels}) on {whole.total()} of {_images(seen)},"
                " unshifted and shifted: nothing is parted there, so that pixels keep their class"
                f" says little{values}"
            )
        return tuple(found)

    @property
    def _finite(self) -> list[SegmentationRecord]:
        return [record for record in self.records if record.finite]

    def _missed(self) -> tuple[list[int], int]:
        """The classes of the masks that are never met where one at most is; how many hold them."""
        masked = [record for record in self._finite if record.unshifted]
        held = {c for r in masked for c, (_, true, _) in enumerate(r.unshifted) if true}
        met = {
            c
            for r in masked
            for scores in (r.unshifted, *(s.shifted for s in (r.series or {}).values()))
            for c, (right, _, _) in enumerate(scores)
            if right
        }
        if len(held) < 2 or len(met) > 1:
            return [], 0
        missed = sorted(held - met)
        return missed, sum(any(r.unshifted[c][1] for c in missed) for r in masked)

    def _never(self, missed: Sequence[int], masks: int) -> str:
        verb, them = ("is", "it") if len(missed) == 1 else ("are", "them")
        holds = "1 mask holds" if masks == 1 else f"{masks:,} masks hold"
        return (
            f"{self._named(missed)} {verb} never found although {holds} {them}, so what is kept"
            " says little: the preprocessing is probably wrong, or the classes are numbered"
            " differently"
        )

    def _named(self, labels: Sequence[int]) -> str:
        named = {i: f" ({self.names[i]})" for i in labels if i in self.names}
        shown = [f"class {i}{named.get(i, '')}" for i in labels]
        more = len(shown) - _NAMED
        if more > 0:
            shown = [*shown[:_NAMED], f"{more} more"]
        return ", ".join(shown)


def _all_ones(seen: Sequence[SegmentationRecord]) -> bool:
    """Whether class 1 is everywhere, and not because the masks hold nothing else."""
    ones = all(record.only == 1 for record in seen)
    return ones and any(not r.unshifted or r.unshifted[0][1] for r in seen)


def _images(seen: Sequence[SegmentationRecord]) -> str:
    return "1 image" if len(seen) == 1 else f"{len(seen):,} images"
