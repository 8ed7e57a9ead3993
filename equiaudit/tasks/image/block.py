"""Output images of a block: NMSE, PSNR and SSIM of what a shift changes, delta-PSNR to targets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from equiaudit.audit.jobs import Job
from equiaudit.audit.task import Source
from equiaudit.errors import InputError
from equiaudit.models.types import Preprocess
from equiaudit.shifts import ShiftPlan
from equiaudit.shifts.canvas import cut
from equiaudit.tasks.maps.block import MapBlock
from equiaudit.tasks.maps.frames import Frames, Moved
from equiaudit.tasks.maps.records import MapRecord, MapSeries

_LEEWAY = 0.1
"""By which an image in [0, 1] may overshoot."""
_MOST_OUTSIDE = 0.05
"""Share of values that may overshoot more."""
_SSIM_SIDE = 11
"""px of the Gaussian window, sigma 1.5, as in Wang et al. 2004."""


@dataclass(frozen=True)
class ImageSeries(MapSeries):
    """One image under one series; per offset, None where it cannot be said."""

    psnr: tuple[float | None, ...] = ()
    ssim: tuple[float | None, ...] = ()
    target_psnr: tuple[float | None, ...] = ()
    """Of the shifted output against the shifted target."""
    delta_psnr: tuple[float | None, ...] = ()
    """How far that is from the unshifted pair, over the same pixels."""


@dataclass(frozen=True)
class ImageRecord(MapRecord[ImageSeries]):
    """One image."""

    target_psnr: float | None = None
    """Of the unshifted output against the target."""


def psnr(a: Tensor, b: Tensor, peak: float) -> float:
    """10 log10(peak^2 / mean (a - b)^2), dB; infinite for equal images."""
    error = float((a.double() - b.double()).square().mean()) / peak**2
    return -10 * math.log10(error) if error > 0 else math.inf


def ssim(a: Tensor, b: Tensor, peak: float) -> float | None:
    """SSIM of images (C, h, w) with an 11 px Gaussian window; None where it does not fit.

    k1 = 0.01, k2 = 0.03, mean over channels and over pixels whose window lies inside.
    """
    if min(a.shape[-2:]) < _SSIM_SIDE:
        return None
    _, whole = structural_similarity_index_measure(
        a[None].double(), b[None].double(), data_range=peak, sigma=1.5, return_full_image=True
    )
    rim = _SSIM_SIDE // 2  # there, torchmetrics mirrors the image
    return min(float(whole[..., rim:-rim, rim:-rim].mean()), 1.0)


def target_of(source: Source, how: Preprocess, device: torch.device) -> Tensor | None:
    """(C, h, w) target in [0, 1], channels in the model's order, with the plan's margin."""
    if source.truth is None:
        return None
    pixels = source.truth.values
    scaled = torch.from_numpy(pixels.astype("float32")).div_(65535 if pixels.itemsize > 1 else 255)
    channels = scaled.permute(2, 0, 1).to(device)
    return channels.flip(0) if how.channels == "bgr" else channels


def scaled(outputs: Tensor, output_range: tuple[float, float] | None) -> Tensor:
    """Outputs whose black and white are `output_range`, in [0, 1] as targets are."""
    if output_range is None or output_range == (0.0, 1.0):
        return outputs
    low, high = output_range
    return (outputs - low) / (high - low)


def _check_range(output: Tensor, file: str) -> None:
    """InputError for an output that is no image in [0, 1], give or take a little."""
    outside = (output < -_LEEWAY) | (output > 1 + _LEEWAY)
    share = float(outside.double().mean())
    if share <= _MOST_OUTSIDE or not bool(output.isfinite().all()):
        return
    low, high = float(output.min()), float(output.max())
    raise InputError(
        f"The output for {file!r} has values from {low:.3g} to {high:.3g}, and targets are in"
        " [0, 1], so PSNR and SSIM between them would mean nothing.",
        tip="Say what is black and white in the outputs, as in --output-range -1,1 or 0,255;"
        " --output-range 0,1 takes them as they are.",
    )


@dataclass
class _Unshifted:
    output: Tensor
    energy: float
    """Mean over pixels of the sum of squares over channels."""
    peak: float
    target: Tensor | None


class ImageBlock(MapBlock[ImageSeries]):
    """Compares images of the window's size."""

    def __init__(
        self,
        plan: ShiftPlan,
        frames: Frames,
        sources: Sequence[Source],
        how: Preprocess,
        output_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(plan, frames, sources)
        self._how, self._range = how, output_range
        self._unshifted: dict[int, _Unshifted] = {}
        self._figures: dict[tuple[int, str], dict[int, tuple[float | None, ...]]] = {}

    def reduced(self, outputs: Tensor) -> Tensor:
        """The outputs, on the scale of targets."""
        return scaled(outputs, self._range)

    def take(self, image: int, unshifted: Tensor) -> None:
        """Keep the output, its energy and its range."""
        output = unshifted.clone()  # of a batch that is not kept
        target = target_of(self.sources[image], self._how, output.device)
        if target is not None:
            if self._range is None:
                _check_range(output, self.sources[image].item.file)
            target = cut(target, self.plan.window, self.plan.margin, (0, 0))
        spread = float(output.max() - output.min())
        peak = 1.0 if target is not None or not spread > 0 else spread
        energy = float(output.double().square().sum(0).mean())
        self._unshifted[image] = _Unshifted(output, energy, peak, target)

    def compare(self, job: Job, shifted: Tensor, moved: Moved) -> tuple[float, Tensor]:
        """NMSE, and the squared error of each pixel over the mean square of the image."""
        own = self._unshifted[job.image]
        before, after = moved.expected(own.output), moved.back(shifted)
        error = (after.double() - before.double()).square().sum(0)
        energy = float(before.double().square().sum())
        if job.name in self.plan.names:
            figures = self._figures.setdefault((job.image, job.name), {})
            figures[job.slot] = _figures(own, before, after, moved)
        # Where the unshifted output is black, the change is taken as it is.
        return float(error.sum()) / (energy or 1.0), error / (own.energy or 1.0)

    def series(self, image: int, name: str, fields: dict[str, Any]) -> ImageSeries:
        """The figures by offset."""
        kept = self._figures.get((image, name), {})
        rows = [kept.get(slot, (None,) * 4) for slot in range(len(fields["change"]))]
        psnr, ssim, target_psnr, delta_psnr = zip(*rows, strict=True)
        return ImageSeries(
            **fields, psnr=psnr, ssim=ssim, target_psnr=target_psnr, delta_psnr=delta_psnr
        )

    def record(self, image: int, **fields: Any) -> ImageRecord:
        """With the unshifted PSNR."""
        own = self._unshifted[image]
        found = None
        if own.target is not None and fields["finite"]:
            found = psnr(own.output, own.target, own.peak)
        return ImageRecord(**fields, target_psnr=found)


def _figures(
    own: _Unshifted, before: Tensor, after: Tensor, moved: Moved
) -> tuple[float | None, ...]:
    """PSNR and SSIM to the unshifted output; PSNR to the target, and how far it moved."""
    found = (psnr(after, before, own.peak), ssim(after, before, own.peak))
    if own.target is None:
        return (*found, None, None)
    target = moved.expected(own.target)
    to_target, unshifted = psnr(after, target, own.peak), psnr(before, target, own.peak)
    same = math.isinf(to_target) and math.isinf(unshifted)
    return (*found, to_target, 0.0 if same else abs(to_target - unshifted))
