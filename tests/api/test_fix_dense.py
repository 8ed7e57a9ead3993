"""fix on a segmenter with masks: both columns, and methods compared by their pixels."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from equiaudit.api import fix, load_model
from equiaudit.report.repair import render_fix
from equiaudit.tasks.columns import accuracy_of, consistency_of

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def segmenter():
    """Stride 2 down and up again, zero padding."""
    torch.manual_seed(5)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU(), nn.ConvTranspose2d(6, 3, 2, 2)
    )
    with torch.no_grad():
        y = net(torch.randn(8, 3, 16, 20))
        net[2].bias -= y.mean((0, 2, 3))
    return net.eval()


@pytest.fixture
def data(tmp_path):
    """Four images of 32x36 px with masks of three classes."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for i in range(4):
        mask = np.repeat(np.repeat(rng.integers(0, 3, (8, 9)), 4, 0), 4, 1).astype(np.uint8)
        pixels = (mask[..., None] * 80 + rng.integers(0, 60, (32, 36, 3))).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "data/images" / f"{i}.png")
        Image.fromarray(mask).save(tmp_path / "data/masks" / f"{i}.png")
    return tmp_path / "data"


def test_pixels_and_masks_before_and_after(data, tmp_path):
    net = load_model(segmenter(), size=(16, 20), mean=MEAN, std=STD)
    report = fix(net, tmp_path / "a.pt", data=data, offsets=3, max_shift=4, seconds=0.3)
    assert report.outcome == "written", report.reason
    assert float(report.before["circular.mascc"]) < 1
    assert float(report.after["circular.mascc"]) == 1
    assert "circular.mascc" in render_fix(report)


def test_methods_are_compared_by_pixels(data):
    net = load_model(segmenter(), size=(16, 20), mean=MEAN, std=STD)
    report = fix(net, None, data=data, offsets=3, max_shift=4, margin=4, compare_methods=True)
    rows = {row.method: row for row in report.candidates}
    assert float(consistency_of(rows["mass"].metrics, "circular")) == 1
    assert float(consistency_of(rows["canonical"].metrics, "circular")) == 1
    assert consistency_of(rows["crop-select"].metrics, "crop").value is not None
    assert accuracy_of(rows["mass"].metrics) is not None
    assert "mIoU" in render_fix(report)
