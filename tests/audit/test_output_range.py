"""Images out of a model that are not in [0, 1], and images that equal one another."""

from pathlib import Path

import numpy as np
import pytest
import torch
from dense_small import dense_model, dense_scan, image_data
from small import MEAN, STD, write_images
from torch import nn

from equiaudit.errors import InputError

SMALL = {"shifts": ("circular",), "max_shift": 2, "offsets": 3}


class Copy(nn.Module):
    """Returns what it sees, its black and white moved to `low` and `high`."""

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
        return (x * std + mean) * (self.high - self.low) + self.low


def pairs(root: Path, count: int = 3) -> Path:
    write_images(root / "images", count=count, size=(26, 30))
    write_images(root / "targets", count=count, size=(26, 30))
    return root


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 255.0)])
def test_outputs_on_another_scale_are_asked_about(tmp_path: Path, low: float, high: float) -> None:
    data = image_data(pairs(tmp_path))
    model = dense_model(Copy(low, high), task="image", classes=3)
    with pytest.raises(InputError, match=r"'00\d.png' has values from .*--output-range"):
        dense_scan(data, model, **SMALL)
    result = dense_scan(data, model, output_range=(low, high), **SMALL).result
    assert result.metric("circular.psnr_clean").value > 100
    assert result.settings["output_range"] == (low, high)
    assert any(f"[{low:g}, {high:g}]" in note for note in result.notes)


def test_who_says_so_gets_values_as_they_are(tmp_path: Path) -> None:
    model = dense_model(Copy(0.0, 255.0), task="image", classes=3)
    result = dense_scan(image_data(pairs(tmp_path)), model, output_range=(0.0, 1.0), **SMALL).result
    assert result.metric("circular.psnr_clean").value < 0


def test_a_little_overshoot_is_no_other_scale(tmp_path: Path) -> None:
    model = dense_model(Copy(-0.05, 1.05), task="image", classes=3)
    result = dense_scan(image_data(pairs(tmp_path)), model, **SMALL).result
    assert result.metric("circular.psnr_clean").value == pytest.approx(29, abs=4)


def test_equal_images_do_not_rule_the_mean(tmp_path: Path) -> None:
    data = image_data(write_images(tmp_path / "d", count=4, size=(26, 30)))
    result = dense_scan(data, dense_model(Flag(), task="image", classes=3), **SMALL).result
    stated = result.metric("circular.psnr")
    assert stated.n == 2
    assert stated.value < 60
    assert result.metric("circular.psnr_min").value <= stated.value
    assert any("6 of 12 shifted outputs equal the unshifted one" in n for n in result.notes)


class Flag(nn.Module):
    """Adds a ramp to every second image that it is given unshifted, by a mark of its sum."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sums = (x.double().sum((1, 2, 3)) * 1e3).round().long()
        for total in sums.tolist():
            if total not in self.seen:
                self.seen.append(total)
        odd = torch.tensor([self.seen.index(total) % 2 for total in sums.tolist()])
        down, right = (
            torch.linspace(0, end, n) for end, n in zip((0.2, 0.5), x.shape[2:], strict=True)
        )
        ramp = down[:, None] + right
        return x + ramp * odd[:, None, None, None]

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []


def test_all_equal_is_200_db(tmp_path: Path) -> None:
    data = image_data(write_images(tmp_path / "d", count=2, size=(26, 30)))
    done = dense_scan(data, dense_model(nn.Identity(), task="image", classes=3), **SMALL)
    assert done.result.metric("circular.psnr").value == 200
    assert done.result.metric("circular.psnr_min").value == 200
    assert np.all([row.split(",")[5] == "" for row in done.samples.splitlines()[1:]])
