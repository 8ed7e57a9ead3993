"""torchvision's detectors with random weights: through a scan, and canonical verifies."""

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

import equiaudit

pytestmark = pytest.mark.long

SIZE = (96, 96)
_RCNN = {"min_size": 96, "max_size": 96, "box_score_thresh": 0.0, "box_detections_per_img": 20}
NETS = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": _RCNN,
    "ssdlite320_mobilenet_v3_large": {"score_thresh": 0.0, "detections_per_img": 20},
    "maskrcnn_resnet50_fpn": _RCNN,
}
FIXED = ("fasterrcnn_mobilenet_v3_large_320_fpn", "ssdlite320_mobilenet_v3_large")


def net(name):
    torch.manual_seed(0)
    build = torchvision.models.get_model_builder(name)
    return build(weights=None, weights_backbone=None, **NETS[name]).eval()


@pytest.mark.parametrize("name", NETS)
def test_all_that_it_returns_is_compared(name, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(2):
        pixels = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    how = {"shifts": ("circular",), "max_shift": 4, "offsets": 2, "images": False}
    result = equiaudit.scan(
        net(name), tmp_path, size=SIZE, detector="torchvision,score_threshold=0", **how
    )
    metrics = result.shifts["circular"].metrics
    assert 0 < metrics["boxes_kept"].value < 1
    assert ("mask_iou" in metrics) == ("mask" in name)


@pytest.mark.parametrize("name", FIXED)
def test_canonical_verifies(name, tmp_path):
    report = equiaudit.fix(
        net(name),
        tmp_path / "fixed.pt",
        size=SIZE,
        detector="torchvision,score_threshold=0",
        method="canonical",
        seconds=1,
    )
    assert report.outcome == "written", report.reason
    assert all(record.passed and record.control_failed for record in report.verifications)
