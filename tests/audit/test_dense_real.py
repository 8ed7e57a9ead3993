"""Real images and masks, with a net that nobody trained."""

import cases
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from equiaudit import scan

FORM = {"max_shift": 6, "offsets": 3, "limit": 6, "size": (96, 80)}
GREY = 'mean = [0.4]\nstd = [0.2]\nchannels = "gray"\n'


class TwoLevels(nn.Module):
    """One pool down, one transposed convolution up, a skip."""

    def __init__(self):
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.up, self.head = nn.ConvTranspose2d(6, 6, 2, 2), nn.Conv2d(12, 2, 1)

    def forward(self, x):
        fine = self.fine(x).relu()
        coarse = self.up(self.coarse(nn.functional.max_pool2d(fine, 2)).relu())
        return self.head(torch.cat([fine, coarse], 1))


def undecided(folder):
    """A net that calls about half of the pixels of some images a defect."""
    torch.manual_seed(0)
    net = TwoLevels()
    with torch.no_grad():
        margins = []
        for path in sorted((folder / "images").iterdir())[::90]:
            pixels = np.asarray(Image.open(path).convert("L"), np.float32)[:96, :80]
            scores = net((torch.from_numpy(pixels)[None, None] / 255 - 0.4) / 0.2)
            margins.append((scores[:, 1] - scores[:, 0]).median())
        net.head.bias[1] -= torch.stack(margins).mean()
    return net


def test_magnetic_tiles(tmp_path):
    grey = tmp_path / "grey.toml"
    grey.write_text(GREY)
    data = cases.path("magnetic_tile")
    result = scan(undecided(data), data, preprocess=grey, output=tmp_path / "out", **FORM)
    assert result.fingerprint.task == "segmentation"
    assert result.labelled
    assert result.metric("crop.miou_clean").n == 6
    assert 0 < result.metric("circular.flip_rate").value < 0.6
    assert result.receptive_field.radius == pytest.approx(4, abs=1)
    inside = [b.change.value for b in result.shifts["crop"].dense.profile.bins if b.low >= 6]
    outermost = result.shifts["crop"].dense.profile.bins[0].change.value
    assert outermost > 2 * np.mean(inside)
    parts = {p.name: p.estimate for p in result.boundary}
    assert parts["circular: sampling"].value > parts["circular: seam and padding"].value > 0
    assert (tmp_path / "out" / "report.html").stat().st_size < 5_000_000
