"""A repair is no success where it is a loss: a U-Net that knows the rim by its zero padding."""

from __future__ import annotations

import re

import numpy as np
import pytest
from parts import SIDE, trained, write_parts
from PIL import Image

import equiaudit
from equiaudit.report.repair import render_fix
from equiaudit.results.repair import FixReport

HOW = {"size": (SIDE, SIDE), "mean": (0, 0, 0), "std": (1, 1, 1), "task": "segmentation"}
QUICK = {"offsets": 2, "max_shift": 4, "seconds": 0.5}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return write_parts(tmp_path_factory.mktemp("parts"), 16)


def fixed(folder, data, **options) -> tuple[FixReport, str]:
    report = equiaudit.fix(trained(), folder / "out.pt", data=data, **HOW, **QUICK, **options)
    return report, render_fix(report, width=300).splitlines()[0]


def drop(report: FixReport) -> float:
    before, after = (column["circular.miou_clean"] for column in (report.before, report.after))
    return float(before) - float(after)


def test_the_default_keeps_the_miou_of_a_unet(parts, tmp_path):
    report, first = fixed(tmp_path, parts)
    assert report.outcome == "written"
    assert report.method in ("canonical", "canonical+border")
    assert drop(report) <= 0.01
    assert re.match(r"mIoU \d.* -> \d.* on your 16 images", first)
    assert (tmp_path / "out.pt").is_file()


def test_a_method_that_ruins_it_is_no_success_and_says_so_first(parts, tmp_path):
    report, first = fixed(tmp_path, parts, method="mass")
    assert drop(report) > 0.2
    assert report.outcome == "unverified"
    assert not (tmp_path / "out.pt").exists()
    assert (tmp_path / "out.pt.unverified").is_file()
    assert "more than the 1 point allowed" in first
    assert "points worse" in first
    assert "--method canonical" in first
    assert report.loss is not None
    assert report.loss.keeps in ("canonical", "canonical+border")


def test_a_loss_that_is_allowed_is_written(parts, tmp_path):
    report, first = fixed(tmp_path, parts, method="mass", max_accuracy_drop=0.9)
    assert report.outcome == "written"
    assert "within the 90 points allowed" in first


def test_without_masks_it_says_how_much_changes_and_that_nobody_can_tell(parts, tmp_path):
    report, first = fixed(tmp_path, parts / "images", method="mass")
    assert report.outcome == "written"
    assert report.loss is not None
    assert float(report.loss.lost) > 0.05
    assert re.match(r"\d.*% .*of the pixels of your 16 images change", first)
    assert "nobody can tell" in first


def test_without_images_it_says_that_nobody_has_looked(tmp_path):
    report = equiaudit.fix(trained(), tmp_path / "out.pt", seconds=0.5, **HOW)
    assert report.method == "canonical+border"
    first = render_fix(report, width=300).splitlines()[0]
    assert "Nobody has looked" in first
    assert "--data" in first


def test_the_share_of_pixels_equals_a_loop(parts, tmp_path):
    """An independent reference: both nets on each image, pixels counted one by one."""
    import torch

    report, _ = fixed(tmp_path, parts / "images", method="mass")
    after = torch.jit.load(str(tmp_path / "out.pt"))
    shares = []
    for path in sorted((parts / "images").iterdir()):
        pixels = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)[None] / 255
        with torch.inference_mode():
            labels = [net(pixels).argmax(1).flatten().tolist() for net in (trained(), after)]
        shares.append(sum(a != b for a, b in zip(*labels, strict=True)) / len(labels[0]))
    assert report.loss is not None
    assert float(report.loss.lost) == pytest.approx(sum(shares) / len(shares), abs=1e-6)
