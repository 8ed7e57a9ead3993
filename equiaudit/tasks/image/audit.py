"""The `TaskAudit` of image-to-image models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from equiaudit.audit.boundary import Changes
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.task import Source
from equiaudit.data import Dataset, TargetReader, TruthReader
from equiaudit.errors import InputError
from equiaudit.kinds import Resampled
from equiaudit.metrics.dense import largest, mean_difference, smallest
from equiaudit.metrics.intervals import bca_interval
from equiaudit.models.types import Model
from equiaudit.results import BorderProfile, DenseShift, Estimate
from equiaudit.shifts import Series, ShiftPlan
from equiaudit.shifts.canvas import cut
from equiaudit.tasks.image.block import ImageBlock, ImageRecord, ImageSeries, scaled, target_of
from equiaudit.tasks.maps.audit import MapAudit
from equiaudit.tasks.maps.examples import Pictured, Seen
from equiaudit.tasks.maps.heat import border_bins_of
from equiaudit.tasks.maps.records import MapSeries

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

_MOST_DECIBELS = 200.0
"""In place of infinity, where a mean or an extreme has nothing else."""

_MEANING = (
    "squared change over the mean square of the unshifted output, by the pixels' distance to the "
    "border of the unshifted or the shifted window, whichever is nearer"
)


class ImageAudit(MapAudit[ImageRecord]):
    """An image per image, of the window's size."""

    record = ImageRecord
    smooth = True
    carried = True
    columns = (
        "offsets",
        "nmse",
        "nmse_max",
        "psnr",
        "psnr_min",
        "ssim",
        "ssim_min",
        "worst_dy",
        "worst_dx",
        "psnr_clean",
        "psnr_shifted",
        "delta_psnr",
        "delta_psnr_max",
        "nonfinite",
    )

    def __init__(
        self, model: Model, dataset: Dataset, plan: ShiftPlan, options: ScanOptions
    ) -> None:
        super().__init__(model, dataset, plan, options)
        if self.factor != (1, 1):
            raise InputError(
                f"{model.name} returns images {self.factor[0]} times smaller than its window of "
                f"{plan.window[0]}x{plan.window[1]}, and images are compared at one size.",
                tip="If its channels are classes, give --task segmentation.",
            )
        if dataset.labelled and self.channels not in (1, 3):
            raise InputError(
                f"{model.name} returns {self.channels} channels, and targets are grey or RGB.",
                tip="Leave the targets folder out, or choose another --output-name.",
            )
        for series in plan.series:
            _check_rim(series, plan.window)

    @property
    def truth(self) -> TruthReader | None:
        """Targets are read with as many channels as the outputs have."""
        return TargetReader(gray=self.channels == 1) if self.dataset.labelled else None

    @property
    def key(self) -> str:
        """And what black and white are."""
        return f"{super().key}:{self.options.output_range}"

    def parse(self, line: str) -> ImageRecord:
        """A line of the journal."""
        return ImageRecord.parse(line, ImageSeries)

    def open_block(self, sources: Sequence[Source]) -> ImageBlock:
        """Begin with some images."""
        how, stated = self.model.preprocess, self.options.output_range
        return ImageBlock(self.plan, self.frames, sources, how, stated)

    def metrics(self, series: Series, records: Sequence[ImageRecord]) -> dict[str, Estimate]:
        """Means by image with the extreme beside each."""
        own = [r.of(series.name) for r in records]
        seed = self.plan.seed
        nmse = [s.changes for s in own]
        found = {"nmse": _mean(nmse, seed), "nmse_max": largest(_flat(nmse))}
        for name in ("psnr", "ssim"):
            each = [_known(getattr(s, name)) for s in own]
            found |= {name: _mean(each, seed), f"{name}_min": smallest(_capped(_flat(each)))}
        if not self.dataset.labelled:
            return found
        delta = [_known(s.delta_psnr) for s in own]
        found["psnr_clean"] = _mean([_known((r.target_psnr,)) for r in records], seed)
        found["psnr_shifted"] = _mean([_known(s.target_psnr) for s in own], seed)
        found["delta_psnr"] = _mean(delta, seed)
        found["delta_psnr_max"] = largest(_capped(_flat(delta)))
        return found

    def further(
        self, series: Series, records: Sequence[ImageRecord], dense: DenseShift
    ) -> dict[str, Any]:
        """Nothing: there are no labels to agree on."""
        return {}

    def profile(self, own: Sequence[MapSeries]) -> BorderProfile:
        """Mean over images of the mean of the bin."""

        def pool(sums: Floats, counts: Floats) -> Estimate:
            has = counts > 0
            return bca_interval(sums[has] / counts[has], seed=self.plan.seed)

        bins = border_bins_of(self.frames, own, pool)
        return BorderProfile(measure="relative squared error", meaning=_MEANING, bins=bins)

    def changes(self, records: Sequence[ImageRecord]) -> Changes:
        """NMSE."""
        return Changes(
            subject="squared changes (NMSE)",
            by_kind=self.by_kind(records),
            views=self.views(records),
            mean=bca_interval,
            difference=mean_difference,
        )

    def draw(self, seen: Seen) -> Pictured:
        """Outputs on one scale; the absolute error with its largest value white."""
        outputs = (seen.unshifted.double(), seen.shifted.double())
        before, shifted = (scaled(output, self.options.output_range) for output in outputs)
        after = seen.moved.back(shifted)
        target = target_of(seen.source, self.model.preprocess, before.device)
        if target is not None:
            target = cut(target, self.plan.window, self.plan.margin, (0, 0))
        low, high = (0.0, 1.0) if target is not None else (float(before.min()), float(before.max()))
        error = (after - seen.moved.expected(before)).abs().mean(0, keepdim=True)
        return Pictured(
            clean=self._picture(before, low, high),
            back=self._picture(after, low, high),
            difference=self._picture(error, 0.0, float(error.max())),
            truth=None if target is None else self._picture(target.double(), low, high),
        )

    def _picture(self, values: torch.Tensor, low: float, high: float) -> Bytes:
        """(C, h, w) -> (h, w, 3), RGB where there are three channels, else their mean."""
        scaled = ((values - low) / ((high - low) or 1.0)).clamp(0, 1)
        if len(scaled) == 3 and self.model.preprocess.channels == "bgr":
            scaled = scaled.flip(0)
        if len(scaled) != 3:
            scaled = scaled.mean(0, keepdim=True).expand(3, -1, -1)
        pixels: Bytes = np.rint(scaled.permute(1, 2, 0).cpu().numpy() * 255).astype(np.uint8)
        return pixels

    def cells(self, series: Series, record: ImageRecord) -> dict[str, object]:
        """Mean and extreme of each figure over the shifts."""
        own = record.of(series.name)
        extremes = {"psnr": np.min, "ssim": np.min}
        found: dict[str, object] = {
            "nmse": repr(float(own.changes.mean())),
            "nmse_max": f"{own.changes.max():.6g}",
        }
        for name, extreme in extremes.items():
            each = _known(getattr(own, name))
            if len(each):
                found |= {name: _finite_cell(each), f"{name}_min": _cell(extreme(_capped(each)))}
        if record.target_psnr is not None:
            delta = _known(own.delta_psnr)
            found |= {
                "psnr_clean": _finite_cell(np.array([record.target_psnr])),
                "psnr_shifted": _finite_cell(_known(own.target_psnr)),
                "delta_psnr": _finite_cell(delta),
                "delta_psnr_max": _cell(_capped(delta).max()),
            }
        return found

    bounded = ()
    """NMSE, PSNR and SSIM are not."""

    def notes(self, records: Sequence[ImageRecord]) -> tuple[str, ...]:
        """What PSNR and SSIM are relative to, and how many images are equal."""
        relative = "PSNR and SSIM are relative to the range of each unshifted output"
        if self.dataset.labelled:
            low, high = self.options.output_range or (0.0, 1.0)
            relative = f"PSNR and SSIM take the outputs to be in [{low:g}, {high:g}]"
        return (relative, *_equal(records))


def _check_rim(series: Series, window: tuple[int, int]) -> None:
    """InputError where unshifted outputs cannot be moved as the inputs are."""
    kind = series.moves
    if series.parts == 1 or not isinstance(kind, Resampled):
        return
    if kind.rim is None:
        raise InputError(
            f"Output images are moved as their inputs are, to be compared, and every pixel of"
            f" {series.kind} shifts by fourier is made of a whole row, beyond the output too.",
            tip="Give --resampler lanczos or bilinear, or --shifts fractional.",
        )
    if series.reach + kind.rim >= min(window) and not kind.whole:
        raise InputError(
            f"{series.kind} shifts of up to {series.reach} px, less {kind.rim} px at the borders,"
            f" leave no overlap of two windows of {window[0]}x{window[1]}.",
            tip=f"Give --max-shift {min(window) - kind.rim - 1} or less.",
        )


def _known(values: tuple[float | None, ...]) -> Floats:
    return np.array([value for value in values if value is not None], np.float64)


def _mean(each: Sequence[Floats], seed: int) -> Estimate:
    """Of the images' means over what is finite; images without a figure do not count.

    Where all is infinite, as the PSNR of equal images is, the mean is 200 dB.
    """
    finite = [values[np.isfinite(values)] for values in each]
    means = [float(values.mean()) for values in finite if len(values)]
    infinite = sum(len(values) > 0 for values in each)
    if not means and infinite:
        return Estimate(value=_MOST_DECIBELS, n=infinite, method="none")
    return bca_interval(means, seed=seed)


def _capped(values: Floats) -> Floats:
    return np.minimum(values, _MOST_DECIBELS)


def _equal(records: Sequence[ImageRecord]) -> tuple[str, ...]:
    """How often PSNR is infinite, which no mean holds."""
    found = []
    series = [own for record in records for own in (record.series or {}).values()]
    for name, what in (
        ("psnr", "shifted outputs equal the unshifted one"),
        ("target_psnr", "shifted outputs equal the target"),
    ):
        values = _flat([_known(getattr(own, name)) for own in series])
        equal = int(np.isinf(values).sum())
        if equal:
            found.append(
                f"{equal} of {len(values)} {what} to the bit; PSNR is infinite there, and its means"
                f" are over the others ({_MOST_DECIBELS:g} dB where there is none)"
            )
    return tuple(found)


def _flat(each: Sequence[Floats]) -> Floats:
    return np.concatenate(each) if each else np.zeros(0)


def _finite_cell(values: Floats) -> str:
    """The mean over what is finite; empty where nothing is."""
    finite = values[np.isfinite(values)]
    return _cell(finite.mean()) if len(finite) else ""


def _cell(value: float) -> str:
    return f"{value:.6g}"
