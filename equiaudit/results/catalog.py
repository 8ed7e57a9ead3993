"""Every metric a gate, a plot or a table may name, with its direction and its bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["METRICS", "MetricInfo", "metric_info"]


@dataclass(frozen=True)
class MetricInfo:
    """What a metric is: `name` as in ``circular.consistency`` after the dot."""

    name: str
    title: str
    meaning: str
    higher_is_better: bool
    lower_bound: float = 0.0
    upper_bound: float | None = 1.0
    is_share: bool = True
    """Shown as a percentage."""
    unit: str = ""
    task: str = "classification"
    """Whose outputs it is of: "classification", "segmentation" or "image"."""
    kinds: tuple[str, ...] = ()
    """The shift kinds it exists for; empty for all."""
    needs_truth: bool = False
    """It exists only where labels, masks or targets do."""


_CLASSIFICATION = (
    MetricInfo("consistency", "Consistency", "chance that two random shifts agree", True),
    MetricInfo("agreement", "Agreement", "share of shifts that keep the unshifted label", True),
    MetricInfo(
        "accuracy_clean",
        "Accuracy, unshifted",
        "right on the unshifted image",
        True,
        needs_truth=True,
    ),
    MetricInfo(
        "accuracy_shifted", "Accuracy, shifted", "right on a random shift", True, needs_truth=True
    ),
    MetricInfo(
        "accuracy_worst", "Accuracy, worst", "right at every shift tried", True, needs_truth=True
    ),
    MetricInfo(
        "consistency_correct",
        "Consistency, where right",
        "consistency of the images that are right at least once",
        True,
        needs_truth=True,
    ),
    MetricInfo("flipped", "Images that flip", "share whose label changes at some shift", False),
    MetricInfo(
        "flip_radius",
        "Flip radius",
        "smallest tried shift that changes the label, mean over the images that flip",
        True,
        upper_bound=None,
        is_share=False,
        unit="px",
    ),
    MetricInfo(
        "confidence_wobble",
        "Confidence wobble",
        "largest less smallest probability of the unshifted label over the shifts",
        False,
    ),
    MetricInfo(
        "logit_error",
        "Logit error",
        "largest logit change over the range of the unshifted logits, mean over images",
        False,
        upper_bound=None,
        is_share=False,
    ),
    MetricInfo(
        "logit_error_max",
        "Logit error, worst image",
        "largest logit change over the range of the unshifted logits",
        False,
        upper_bound=None,
        is_share=False,
    ),
)


def _segmentation(
    name: str, title: str, meaning: str, higher_is_better: bool, **more: Any
) -> MetricInfo:
    return MetricInfo(name, title, meaning, higher_is_better, task="segmentation", **more)


def _image(
    name: str, title: str, meaning: str, higher_is_better: bool = False, **more: Any
) -> MetricInfo:
    settings = {"upper_bound": None, "is_share": False, "task": "image"} | more
    return MetricInfo(name, title, meaning, higher_is_better, **settings)


_SHIFTED: dict[str, Any] = {"kinds": ("circular", "crop", "zero-pad")}

_SEGMENTATION = (
    _segmentation(
        "mascc",
        "mASCC",
        "share of pixels that keep their label when the image is rolled, the prediction unrolled",
        True,
        kinds=("circular",),
    ),
    _segmentation(
        "massc",
        "mASSC",
        "share of pixels that keep their label where the two windows overlap",
        True,
        kinds=("crop", "zero-pad"),
    ),
    _segmentation(
        "flip_rate", "Flip rate", "share of pixels whose label a shift changes", False, **_SHIFTED
    ),
    _segmentation(
        "flip_rate_max",
        "Flip rate, worst shift",
        "largest share of an image's pixels that one shift changes",
        False,
        **_SHIFTED,
    ),
    _segmentation(
        "miou_clean",
        "mIoU, unshifted",
        "mean IoU of the classes",
        True,
        needs_truth=True,
        **_SHIFTED,
    ),
    _segmentation(
        "miou_shifted",
        "mIoU, shifted",
        "mean IoU of the classes over all shifts, masks moved with the images",
        True,
        needs_truth=True,
        **_SHIFTED,
    ),
    _segmentation(
        "miou_worst",
        "mIoU, worst",
        "mean IoU of the classes, each image at the shift that is worst for it",
        True,
        needs_truth=True,
        **_SHIFTED,
    ),
    _segmentation(
        "lost_object",
        "Objects lost",
        "share of the objects found unshifted of which a shift leaves no pixel",
        False,
        needs_truth=True,
        **_SHIFTED,
    ),
)

_DECIBEL = {"unit": "dB", "lower_bound": float("-inf")}

_IMAGE = (
    _image("nmse", "NMSE", "squared change over the squared unshifted output, mean over images"),
    _image("nmse_max", "NMSE, worst shift", "squared change over the squared unshifted output"),
    _image("psnr", "PSNR", "of the shifted output against the unshifted one", True, **_DECIBEL),
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
    ),
    _image(
        "delta_psnr_max",
        "Delta-PSNR, worst shift",
        "how far a shift moves the PSNR to the target, either way",
        needs_truth=True,
        unit="dB",
    ),
)

_ON_SEQUENCES: dict[str, Any] = {"kinds": ("caps-middle", "caps-boundary"), "needs_truth": True}

_SEQUENCES = (
    _segmentation(
        "mean_iou",
        "IoU of the defect",
        "mean over the frames of a sequence, then over sequences",
        True,
        **_ON_SEQUENCES,
    ),
    _segmentation(
        "iou_variance",
        "Variance of IoU",
        "over the frames of a sequence, mean over sequences",
        False,
        upper_bound=None,
        is_share=False,
        **_ON_SEQUENCES,
    ),
    _segmentation(
        "area_variance",
        "Variance of defect area",
        "of the predicted area over the frames of a sequence, mean over sequences",
        False,
        upper_bound=None,
        is_share=False,
        unit="px^2",
        **_ON_SEQUENCES,
    ),
    _segmentation(
        "lost_share",
        "Frames that lose the defect",
        "share of frames in which no pixel of the defect is predicted",
        False,
        **_ON_SEQUENCES,
    ),
)

METRICS: dict[str, MetricInfo] = {
    info.name: info for info in (*_CLASSIFICATION, *_SEGMENTATION, *_SEQUENCES, *_IMAGE)
}


def metric_info(name: str) -> MetricInfo:
    """Look a metric up by ``metric`` or ``kind.metric``; KeyError when there is none."""
    return METRICS[name.rpartition(".")[2]]
