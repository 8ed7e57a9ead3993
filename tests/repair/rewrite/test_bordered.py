"""canonical+border: the net as it is inside a border, circular where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from dense_nets import UNet
from exact_nets import calibrated, captured, photos
from repair.repair_nets import model_of
from torch import Tensor, nn

from equiaudit.repair.methods import FixOptions, method
from equiaudit.repair.pipeline import fix
from equiaudit.repair.rewrite import bordered as subject
from equiaudit.repair.rewrite.bordered import bordered

SIZE = (32, 48)


class Everything(nn.Module):
    """Every padding operation that has an other side, down by 4 and up again."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, 6, 5, padding=2)
        self.down = nn.Conv2d(6, 6, 3, 2, padding=1, groups=2)
        self.wide = nn.Conv2d(6, 6, 3, padding=4, dilation=4)
        self.up = nn.ConvTranspose2d(6, 6, 4, 2, 1)
        self.odd = nn.ConvTranspose2d(6, 6, 3, 2, 1, output_padding=1)

    def forward(self, x: Tensor) -> Tensor:
        fine = torch.relu(self.enter(x))
        half = self.wide(F.avg_pool2d(self.down(fine), 3, 1, 1))
        low = F.max_pool2d(half, 3, 2, 1)
        raised = F.interpolate(low, scale_factor=2, mode="bilinear", align_corners=False)
        smooth = F.interpolate(self.up(low), scale_factor=2, mode="bicubic", align_corners=False)
        edge = F.pad(fine, (1, 1, 1, 1))[:, :, 1:-1, 1:-1]
        return fine + smooth + self.odd(raised) + edge


def nets() -> list[nn.Module]:
    torch.manual_seed(0)
    return [Everything(), UNet("transposed"), UNet("bilinear")]


def answering(monkeypatch: pytest.MonkeyPatch, rows: bool, columns: bool) -> None:
    """has_border says so of every image."""

    def said(x: Tensor, channels: int, size: tuple[int, int]) -> Tensor:
        zero = torch.narrow(torch.flatten(x, 1), 1, 0, 1) * 0
        return torch.cat([zero + 1 if found else zero for found in (rows, columns)], 1) > 0.5

    monkeypatch.setattr(subject, "has_border", said)


@pytest.mark.parametrize("net", nets(), ids=lambda net: type(net).__name__)
def test_inside_a_border_the_net_is_what_it_was(
    net: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    gm = captured(calibrated(net, SIZE), SIZE)
    x = photos(3, SIZE)
    answering(monkeypatch, True, True)
    closed, count = bordered(gm)
    answering(monkeypatch, True, False)
    half_open, _ = bordered(gm)
    assert count >= 7
    with torch.no_grad():
        torch.testing.assert_close(closed(x), gm(x), rtol=1e-5, atol=1e-5)
        assert not torch.allclose(half_open(x), gm(x), atol=1e-3)


@pytest.mark.parametrize("net", nets(), ids=lambda net: type(net).__name__)
def test_without_a_border_an_axis_is_a_circle(
    net: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    gm = captured(calibrated(net, SIZE), SIZE)
    x = photos(2, SIZE)
    answering(monkeypatch, True, False)
    graph, _ = bordered(gm)

    def change(run: nn.Module, dim: int) -> float:  # by the total stride: no grid moves
        moved = run(torch.roll(x, 8, dim))
        return float((moved - torch.roll(run(x), 8, dim)).abs().max() / moved.abs().max())

    with torch.no_grad():
        assert change(graph, 3) < 1e-5
        assert change(graph, 2) > 1e-3  # rows have a border
        assert change(gm, 3) > 1e-3


class LeftAlone(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = F.max_pool2d(x, 3, 2, 1, ceil_mode=True)
        y = F.avg_pool2d(y, 3, 1, 1, count_include_pad=False)
        return F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=True)


def test_paddings_of_another_kind_stay_as_they_are() -> None:
    gm = captured(LeftAlone().eval(), SIZE)
    graph, count = bordered(gm)
    x = photos(1, SIZE)
    assert count == 0
    assert torch.equal(graph(x), gm(x))
    model = model_of(LeftAlone().eval(), SIZE, task="segmentation")
    refused = fix(model, None, FixOptions(method="border", dry_run=True))
    assert "no padding" in str(refused.reason)


def test_alone_it_claims_nothing_and_behind_canonical_everything() -> None:
    assert not method("border").claim(FixOptions()).exact
    assert method("canonical+border").claim(FixOptions()).exact


@pytest.mark.long
@pytest.mark.parametrize("suffix", [".pt", ".onnx", ".pt2"])
def test_canonical_border_is_bit_equal_in_every_kind_of_file(tmp_path: Path, suffix: str) -> None:
    net = calibrated(UNet("transposed"), SIZE)
    model = model_of(net, SIZE, task="segmentation")
    options = FixOptions(method="canonical+border", comparisons=60)
    report = fix(model, tmp_path / f"fixed{suffix}", options)
    assert report.outcome == "written"
    assert report.claim is not None
    assert report.claim.exact
    assert all(record.figures.exact and record.control_failed for record in report.verifications)


def test_border_alone_is_measured_inexact(tmp_path: Path) -> None:
    net = calibrated(UNet("transposed"), SIZE)
    model = model_of(net, SIZE, task="segmentation")
    report = fix(model, tmp_path / "fixed.pt", FixOptions(method="border", comparisons=40))
    assert report.claim is not None
    assert not report.claim.exact
    assert not any(record.figures.exact for record in report.verifications)


def test_a_texture_without_border_is_not_cut() -> None:
    net = calibrated(UNet("transposed"), SIZE)
    y, x = (torch.arange(n) * (2 * torch.pi * 4 / n) for n in SIZE)
    texture = (torch.sin(y)[:, None] + torch.cos(x)[None]).expand(1, 3, *SIZE)
    gm = captured(net, SIZE)
    with torch.no_grad():
        opened = bordered(gm)[0](texture)
        assert torch.allclose(opened[..., :8], opened[..., 24:32], atol=1e-4)
        cut = gm(texture)
        assert not torch.allclose(cut[..., :8], cut[..., 24:32], atol=1e-2)
