"""The metrics of image-to-image models."""

from __future__ import annotations

from typing import Any

from equiaudit.results import MetricInfo


def _image(
    name: str, title: str, meaning: str, higher_is_better: bool = False, **more: Any
) -> MetricInfo:
    settings = {"upper_bound": None, "is_share": False} | more
    return MetricInfo(name, title, meaning, higher_is_better, **settings)


_DECIBEL = {"unit": "dB", "lower_bound": float("-inf")}

METRICS = (
    _image(
        "nmse",
        "NMSE",
        "squared change over the squared unshifted output, mean over images",
        in_short=True,
    ),
    _image("nmse_max", "NMSE, worst shift", "squared change over the squared unshifted output"),
    _image(
        "psnr",
        "PSNR",
        "of the shifted output against the unshifted one",
        True,
        **_DECIBEL,
        in_short=True,
    ),
    _image(
        "psnr_min",
        "PSNR, worst shift",
        "of the shifted output against the unshifted one",
        True,
        **_DECIBEL,
    ),
    _image(
        "ssim",
        "SSIM",
        "of the shifted output against the unshifted one",
        True,
        lower_bound=-1.0,
        upper_bound=1.0,
    ),
    _image(
        "ssim_min",
        "SSIM, worst shift",
        "of the shifted output against the unshifted one",
        True,
        lower_bound=-1.0,
        upper_bound=1.0,
    ),
    _image(
        "psnr_clean",
        "PSNR to target, unshifted",
        "of the unshifted output against the target",
        True,
        needs_truth=True,
        **_DECIBEL,
        unshifted=True,
    ),
    _image(
        "psnr_shifted",
        "PSNR to target, shifted",
        "of the shifted output against the shifted target, mean over shifts",
        True,
        needs_truth=True,
        **_DECIBEL,
    ),
    _image(
        "delta_psnr",
        "Delta-PSNR",
        "how far a shift moves the PSNR to the target, either way, mean over images",
        needs_truth=True,
        unit="dB",
        in_short=True,
    ),
    _image(
        "delta_psnr_max",
        "Delta-PSNR, worst shift",
        "how far a shift moves the PSNR to the target, either way",
        needs_truth=True,
        unit="dB",
    ),
)
