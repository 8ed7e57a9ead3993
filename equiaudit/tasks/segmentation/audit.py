"""The `TaskAudit` of segmentation models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from equiaudit.audit.boundary import Changes
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.task import Source
from equiaudit.data import ClassTable, Dataset, MaskReader
from equiaudit.kinds import around
from equiaudit.metrics.dense import iou_estimates, largest, mean_iou
from equiaudit.metrics.flips import flip_difference, flip_interval, flip_ratio, kept_of
from equiaudit.models.types import Model
from equiaudit.results import BorderProfile, ClassScore, DenseShift, Estimate
from equiaudit.shifts import Series, ShiftPlan
from equiaudit.shifts.canvas import cut
from equiaudit.tasks.maps.audit import MapAudit
from equiaudit.tasks.maps.examples import Pictured, Seen
from equiaudit.tasks.maps.heat import border_bins_of, by_distance, pixel_maps
from equiaudit.tasks.maps.outputs import LABELS, labels_by
from equiaudit.tasks.maps.records import MapSeries
from equiaudit.tasks.segmentation.block import (
    Scores,
    SegmentationBlock,
    SegmentationRecord,
    SegmentationSeries,
    scores_of,
)
from equiaudit.tasks.segmentation.colours import painted, palette
from equiaudit.tasks.segmentation.finding import Findings
from equiaudit.tasks.segmentation.object_figures import (
    found_and_lost,
    lost_share,
    object_metrics,
    object_table,
)

_MEANING = (
    "share of pixels whose label a shift changes, by their distance to the border of the "
    "unshifted or the shifted window, whichever is nearer"
)


class SegmentationAudit(MapAudit[SegmentationRecord]):
    """A class per pixel."""

    record = SegmentationRecord
    smooth = False
    columns = (
        "offsets",
        "kept",
        "flip_rate_max",
        "worst_dy",
        "worst_dx",
        "miou_clean",
        "miou_shifted",
        "miou_worst",
        "objects_found",
        "objects_lost",
        "objects_new",
        "nonfinite",
    )

    def __init__(
        self, model: Model, dataset: Dataset, plan: ShiftPlan, options: ScanOptions
    ) -> None:
        super().__init__(model, dataset, plan, options)
        count = (self.model.num_classes or LABELS) if model.outputs_labels else self.channels
        self.classes = max(2, count)
        reader = dataset.truth
        self._table = reader.table if isinstance(reader, MaskReader) else ClassTable()
        self._colours = palette(self.classes, self._table)

    def parse(self, line: str) -> SegmentationRecord:
        """A line of the journal."""
        return SegmentationRecord.parse(line, SegmentationSeries)

    def open_block(self, sources: Sequence[Source]) -> SegmentationBlock:
        """Begin with some images."""
        return SegmentationBlock(
            self.plan,
            self.frames,
            sources,
            classes=self.classes,
            factor=self.factor,
            model=self.model,
        )

    def check(self, records: Sequence[SegmentationRecord]) -> None:
        """Stop when nothing is parted, or nothing found."""
        if self.options.accuracy_check:
            self._findings(records).refuse()

    def _findings(self, records: Sequence[SegmentationRecord]) -> Findings:
        return Findings(records, len(self.dataset.items), self._names(), self._limit)

    @property
    def _limit(self) -> float | None:
        """Above which a single channel means class 1."""
        if self.channels > 1 or self.model.outputs_labels:
            return None
        return 0.5 if self.model.outputs_probabilities else 0.0

    def more(self, records: Sequence[SegmentationRecord]) -> dict[str, Any]:
        """With warnings where nothing is parted, or nothing found."""
        return super().more(records) | {"warnings": self._findings(records).warnings()}

    def gathered(
        self, pictures: Sequence[Mapping[str, Any]], records: Sequence[SegmentationRecord]
    ) -> dict[str, Any]:
        """The same of all parts."""
        warnings = self._findings(records).warnings()
        return super().gathered(pictures, records) | {"warnings": warnings}

    def metrics(self, series: Series, records: Sequence[SegmentationRecord]) -> dict[str, Estimate]:
        """Consistency, flips, objects, and with masks mIoU."""
        own = [r.of(series.name) for r in records]
        changes = np.array([s.changes.mean() for s in own])
        found = {
            _agreement(series): kept_of(flip_interval(changes)),
            "flip_rate": flip_interval(changes),
            "flip_rate_max": largest(np.array([s.changes.max() for s in own])),
        }
        masks, seed = self.dataset.labelled, self.plan.seed
        if masks or self.classes == 2:
            found |= object_metrics(own, masks=masks, seed=seed)
        if not masks:
            return found
        found["miou_clean"], _ = iou_estimates(_scores([r.unshifted for r in records]), seed=seed)
        if series.parts == 1:
            found["miou_shifted"], _ = iou_estimates(_scores([s.shifted for s in own]), seed=seed)
            found["miou_worst"], _ = iou_estimates(_scores([s.worst for s in own]), seed=seed)
        return found

    bounded = ("mascc", "massc", "flip_rate")

    def figures(
        self, series: Series, records: Sequence[SegmentationRecord]
    ) -> dict[str, NDArray[np.float64]]:
        """Share of pixels kept and flipped, mean over the shifts of each image."""
        changes = np.array([r.of(series.name).changes.mean() for r in records])
        return {_agreement(series): 1 - changes, "flip_rate": changes}

    def further(
        self, series: Series, records: Sequence[SegmentationRecord], dense: DenseShift
    ) -> dict[str, Any]:
        """Classes, objects, and the maps of pixels kept."""
        whole, phases = pixel_maps(self.plan, series, records)
        scored = self.dataset.labelled and series.parts == 1
        more = {
            "classes": self._class_scores(series, records) if scored else (),
            "objects": object_table(series.name, records, masks=self.dataset.labelled),
        }
        return {
            "dense": dense.model_copy(update=more),
            "agreement_map": whole,
            "phase_map": phases,
            "by_distance": by_distance(self.plan, series, records),
        }

    def _class_scores(
        self, series: Series, records: Sequence[SegmentationRecord]
    ) -> tuple[ClassScore, ...]:
        own = [r.of(series.name) for r in records]
        unshifted = _scores([r.unshifted for r in records])
        tables = (unshifted, _scores([s.shifted for s in own]), _scores([s.worst for s in own]))
        each = [iou_estimates(table, seed=self.plan.seed)[1] for table in tables]
        pixels = unshifted[:, :, 1].sum(axis=0)
        names = self._names()
        return tuple(
            ClassScore(
                index=i,
                name=names.get(i),
                colour="#" + bytes(self._colours[i].tolist()).hex(),
                pixels=int(pixels[i]),
                iou_clean=each[0][i],
                iou_shifted=each[1][i],
                iou_worst=each[2][i],
                lost_object=None if i == 0 else lost_share(own, i),
            )
            for i in range(self.classes)
        )

    def _names(self) -> dict[int, str]:
        return dict(self.dataset.class_names or enumerate(self.model.class_names or ()))

    def profile(self, own: Sequence[MapSeries]) -> BorderProfile:
        """Pixels that flip over pixels compared, images as clusters."""
        bins = border_bins_of(self.frames, own, flip_ratio)
        return BorderProfile(measure="flip rate", meaning=_MEANING, bins=bins)

    def changes(self, records: Sequence[SegmentationRecord]) -> Changes:
        """Flip rates."""
        return Changes(
            subject="pixels that change their label",
            by_kind=self.by_kind(records),
            views=self.views(records),
            mean=flip_interval,
            difference=flip_difference,
        )

    def draw(self, seen: Seen) -> Pictured:
        """Labels in their colours; white where they differ."""
        both = torch.stack([seen.unshifted, seen.shifted])
        labels = labels_by(self.model, both, self.factor)
        unshifted, clean = labels[0], seen.moved.clean(labels[0])
        back = seen.moved.settled(labels[1], clean)
        flips = (back != clean).cpu().numpy()
        mask = self._mask(seen.source)
        own = None if mask is None else _own_mean_iou(unshifted, mask, self.classes)
        return Pictured(
            clean=painted(unshifted.cpu().numpy(), self._colours),
            back=painted(back.cpu().numpy(), self._colours),
            difference=(255 * flips[..., None].repeat(3, axis=-1)).astype(np.uint8),
            truth=None if mask is None else painted(mask.cpu().numpy(), self._colours),
            miou_clean=own,
            miou_shifted=self._shifted_mean_iou(seen, labels[1], mask),
        )

    def _mask(self, source: Source) -> torch.Tensor | None:
        """(H, W) mask of the unshifted window."""
        if source.truth is None:
            return None
        whole = torch.from_numpy(source.truth.values).to(self.model.device)
        return cut(whole[None], self.plan.window, self.plan.margin, (0, 0))[0]

    def _shifted_mean_iou(
        self, seen: Seen, shifted: torch.Tensor, mask: torch.Tensor | None
    ) -> float | None:
        if mask is None or seen.source.truth is None or seen.series.parts > 1:
            return None
        if not seen.series.moves.real:
            back, true = seen.moved.back(shifted), seen.moved.clean(mask)
            return _own_mean_iou(back, true, self.classes)
        whole = torch.from_numpy(seen.source.truth.values).to(self.model.device)
        at = around(seen.offset)[0]
        true = cut(whole[None], self.plan.window, self.plan.margin, at)[0]
        return _own_mean_iou(shifted, true, self.classes)

    def cells(self, series: Series, record: SegmentationRecord) -> dict[str, object]:
        """Shares, and mIoU of the image alone."""
        own = record.of(series.name)
        found: dict[str, object] = {
            "kept": repr(float(1 - own.changes.mean())),
            "flip_rate_max": f"{own.changes.max():.6g}",
        }
        if own.objects:
            found["objects_found"], found["objects_lost"] = found_and_lost(own)
            found["objects_new"] = own.new
        if not own.shifted:
            return found
        scores = {"clean": record.unshifted, "shifted": own.shifted, "worst": own.worst}
        return found | {f"miou_{name}": _cell(each) for name, each in scores.items()}

    def notes(self, records: Sequence[SegmentationRecord]) -> tuple[str, ...]:
        """What was done to outputs before they were compared."""
        found = []
        if self.factor != (1, 1):
            rows, columns = self.factor
            times = f"{rows}" if rows == columns else f"{rows}x{columns}"
            found.append(
                f"label maps are {times} times smaller than the window and were repeated"
                if self.model.outputs_labels
                else f"outputs are {times} times smaller than the window and were upsampled "
                "bilinearly (align_corners=False) before labels were taken"
            )
        if (limit := self._limit) is not None:
            found.append(f"the single output channel means class 1 where it is above {limit:g}")
        return tuple(found)


def _agreement(series: Series) -> str:
    return "mascc" if series.moves.whole else "massc"


def _scores(each: Sequence[Scores]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(n, C, 3)"""
    return np.array(each, np.float64)


def _own_mean_iou(labels: torch.Tensor, mask: torch.Tensor, classes: int) -> float | None:
    value = float(mean_iou(scores_of(labels, mask, classes).astype(np.float64)))
    return value if np.isfinite(value) else None


def _cell(scores: Scores) -> str:
    value = float(mean_iou(cast(Any, np.array(scores, np.float64))))
    return f"{value:.6g}" if np.isfinite(value) else ""
