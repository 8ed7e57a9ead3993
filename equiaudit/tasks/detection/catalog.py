"""The metrics of detectors."""

from __future__ import annotations

from equiaudit.results import MetricInfo


def _px(name: str, title: str, meaning: str) -> MetricInfo:
    return MetricInfo(name, title, meaning, False, upper_bound=None, is_share=False, unit="px")


def _ap(name: str, title: str, meaning: str, *, short: bool = False) -> MetricInfo:
    clean = name.endswith("clean")
    called = title.partition(",")[0] if name == "ap_clean" else ""
    return MetricInfo(
        name,
        title,
        meaning,
        True,
        needs_truth=True,
        accuracy=called,
        unshifted=clean,
        in_short=short,
    )


_OF_SIZE = "kept, of the boxes of the unshifted image {}"

METRICS = (
    MetricInfo(
        "box_consistency",
        "Box consistency",
        "chance that a box of one random shift has its partner at another (IoU 0.5)",
        True,
        compares=True,
        in_short=True,
    ),
    MetricInfo(
        "box_consistency_75", "Box consistency, IoU 0.75", "the same, at an overlap of 0.75", True
    ),
    MetricInfo(
        "boxes_kept",
        "Boxes kept",
        "share of unshifted boxes that have a partner of their class (IoU 0.5)",
        True,
        in_short=True,
    ),
    MetricInfo("boxes_lost", "Boxes lost", "share of unshifted boxes without a partner", False),
    MetricInfo(
        "boxes_relabelled",
        "Boxes relabelled",
        "share of unshifted boxes whose partner has another class",
        False,
    ),
    MetricInfo(
        "boxes_appeared",
        "Boxes appeared",
        "boxes without a partner in the unshifted image, per unshifted box",
        False,
        upper_bound=None,
    ),
    MetricInfo("kept_small", "Kept, small", _OF_SIZE.format("below 32x32 px"), True),
    MetricInfo("kept_medium", "Kept, medium", _OF_SIZE.format("from 32x32 to 96x96 px"), True),
    MetricInfo("kept_large", "Kept, large", _OF_SIZE.format("above 96x96 px"), True),
    _px("jitter_median", "Jitter, median", "largest move of a kept box's side, moved back"),
    _px("jitter_p95", "Jitter, 95th percentile", "the same, of 95 boxes in 100 at most"),
    _px("jitter_max", "Jitter, worst", "the same, of the worst box"),
    _px("jitter_centre_median", "Centre jitter, median", "how far the centre of a kept box moves"),
    _px("jitter_centre_p95", "Centre jitter, 95th percentile", "the same, of 95 boxes in 100"),
    _px("jitter_size_median", "Size jitter, median", "change of width or height, the larger"),
    _px("jitter_size_p95", "Size jitter, 95th percentile", "the same, of 95 boxes in 100"),
    MetricInfo(
        "jitter_share_p95",
        "Jitter over size, 95th percentile",
        "jitter over the square root of the box's area, of 95 boxes in 100 at most",
        False,
        upper_bound=None,
    ),
    MetricInfo(
        "score_wobble",
        "Score wobble",
        "largest less smallest score of a box over the shifts that keep it, mean over boxes",
        False,
    ),
    MetricInfo(
        "mask_consistency",
        "Mask consistency",
        "box consistency by the overlap of masks, mean over IoUs from 0.5 to 0.95",
        True,
    ),
    MetricInfo(
        "mask_iou", "Mask IoU", "overlap of the masks of kept boxes, moved back, mean", True
    ),
    MetricInfo(
        "keypoint_similarity",
        "Key point similarity",
        "COCO's OKS of the key points of kept boxes, moved back, mean",
        True,
    ),
    _ap("ap_clean", "AP, unshifted", "COCO's AP of boxes over IoUs from 0.5 to 0.95"),
    _ap("ap50_clean", "AP50, unshifted", "the same at an IoU of 0.5"),
    _ap("ap75_clean", "AP75, unshifted", "the same at an IoU of 0.75"),
    _ap("ap_shifted", "AP, shifted", "AP over all shifts, each an image of its own", short=True),
    _ap("ap50_shifted", "AP50, shifted", "the same at an IoU of 0.5"),
    _ap("ap75_shifted", "AP75, shifted", "the same at an IoU of 0.75"),
    _ap("ap_worst", "AP, worst", "AP with each image at the shift that is worst for it"),
    _ap("ap50_worst", "AP50, worst", "AP50 at those shifts"),
    _ap("ap75_worst", "AP75, worst", "AP75 at those shifts"),
    _ap("ap_best", "AP, best", "AP with each image at the shift that is best for it"),
    _ap("ap_lower", "AP, lower bound", "AP where a search over all images finds it least"),
    _ap("ap_upper", "AP, upper bound", "AP where a search over all images finds it largest"),
)
