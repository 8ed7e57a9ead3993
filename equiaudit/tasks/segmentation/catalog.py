"""The metrics of segmentations, under shifts and on sequences."""

from __future__ import annotations

from typing import Any

from equiaudit.results import MetricInfo

_WHOLE = ("circular", "crop", "zero-pad")
_SHIFTED: dict[str, Any] = {"kinds": (*_WHOLE, "subpixel", "fractional")}

_ON_SEQUENCES: dict[str, Any] = {"kinds": ("caps-middle", "caps-boundary"), "needs_truth": True}

_OF_SHIFTS = (
    MetricInfo(
        "mascc",
        "mASCC",
        "share of pixels that keep their label when the image is rolled, the prediction unrolled",
        True,
        kinds=("circular", "fractional"),
        of_pixels=True,
        compares=True,
        in_short=True,
    ),
    MetricInfo(
        "massc",
        "mASSC",
        "share of pixels that keep their label where the two windows overlap",
        True,
        kinds=("crop", "zero-pad", "subpixel"),
        of_pixels=True,
        compares=True,
        in_short=True,
    ),
    MetricInfo(
        "flip_rate",
        "Flip rate",
        "share of pixels whose label a shift changes",
        False,
        **_SHIFTED,
        of_pixels=True,
    ),
    MetricInfo(
        "flip_rate_max",
        "Flip rate, worst shift",
        "largest share of an image's pixels that one shift changes",
        False,
        **_SHIFTED,
    ),
    MetricInfo(
        "miou_clean",
        "mIoU, unshifted",
        "mean IoU of the classes",
        True,
        needs_truth=True,
        **_SHIFTED,
        accuracy="mIoU",
        unshifted=True,
    ),
    MetricInfo(
        "miou_shifted",
        "mIoU, shifted",
        "mean IoU of the classes over all shifts, masks moved with the images",
        True,
        needs_truth=True,
        kinds=_WHOLE,
        in_short=True,
    ),
    MetricInfo(
        "miou_worst",
        "mIoU, worst",
        "mean IoU of the classes, each image at the shift that is worst for it",
        True,
        needs_truth=True,
        kinds=_WHOLE,
        in_short=True,
    ),
    MetricInfo(
        "lost_object",
        "Objects lost",
        "share of the objects found unshifted of which a shift leaves no pixel",
        False,
        needs_truth=True,
        **_SHIFTED,
    ),
    MetricInfo(
        "lost_object_ever",
        "Objects lost at some shift",
        "share of the objects found unshifted that some shift loses",
        False,
        needs_truth=True,
        **_SHIFTED,
    ),
    MetricInfo(
        "false_object",
        "False objects per shift",
        "predicted objects that a shift makes, where neither the mask nor the unshifted prediction "
        "has one, per image and shift",
        False,
        upper_bound=None,
        is_share=False,
        needs_truth=True,
        **_SHIFTED,
    ),
    MetricInfo(
        "lost_region",
        "Regions lost",
        "share of the regions predicted unshifted of which a shift leaves no pixel",
        False,
        **_SHIFTED,
    ),
    MetricInfo(
        "lost_region_ever",
        "Regions lost at some shift",
        "share of the regions predicted unshifted that some shift loses",
        False,
        **_SHIFTED,
    ),
    MetricInfo(
        "new_region",
        "New regions per shift",
        "predicted regions that a shift makes, where the unshifted prediction has none, per image "
        "and shift",
        False,
        upper_bound=None,
        is_share=False,
        **_SHIFTED,
    ),
)

_OF_SEQUENCES = (
    MetricInfo(
        "mean_iou",
        "IoU of the defect",
        "mean over the frames of a sequence, then over sequences",
        True,
        **_ON_SEQUENCES,
    ),
    MetricInfo(
        "iou_range",
        "IoU, best less worst frame",
        "of the defect, over the frames of a sequence, mean over sequences",
        False,
        **_ON_SEQUENCES,
    ),
    MetricInfo(
        "iou_variance",
        "Variance of IoU",
        "over the frames of a sequence, mean over sequences",
        False,
        upper_bound=None,
        is_share=False,
        **_ON_SEQUENCES,
    ),
    MetricInfo(
        "area_variance",
        "Variance of defect area",
        "of the predicted area over the frames of a sequence, mean over sequences",
        False,
        upper_bound=None,
        is_share=False,
        unit="px²",
        **_ON_SEQUENCES,
    ),
    MetricInfo(
        "lost_share",
        "Frames that lose the defect",
        "share of frames in which no pixel of the defect is predicted",
        False,
        **_ON_SEQUENCES,
    ),
)


METRICS = (*_OF_SHIFTS, *_OF_SEQUENCES)
