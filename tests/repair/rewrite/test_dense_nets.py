"""Nets that return maps: the map of a shifted image is the shifted map, to the bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from dense_nets import SEGMENTERS, SMALL, block, dense_net
from exact_nets import captured, photos, shifted, worst_change
from repair.repair_nets import model_of
from torch import Tensor, fx, nn

from equiaudit.errors import NothingToDo
from equiaudit.models import load
from equiaudit.repair.pipeline import FixOptions, fix
from equiaudit.repair.rewrite.analyse import analyse
from equiaudit.repair.rewrite.rewrite import rewrite
from equiaudit.repair.verify.circular import verify
from equiaudit.repair.verify.synthetic import synthetic_images

SIZE = (32, 48)


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def fixed(model: nn.Module, **how: Any) -> fx.GraphModule:
    graph = captured(model, SIZE)
    return rewrite(graph, analyse(graph), **how)


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_every_phase_of_a_small_net(name: str) -> None:
    model = dense_net(name, SIZE)
    graph = captured(model, SIZE)
    analysis = analyse(graph)
    rows, columns = (torch.arange(s) for s in analysis.total_stride)
    phases = torch.cartesian_prod(rows, columns)
    phases[:, 1] += columns[-1] + 1
    x = photos(len(phases), SIZE, seed=1)
    net = rewrite(graph, analysis)
    assert torch.equal(net(shifted(x, phases)), shifted(net(x), phases))
    assert worst_change(model, x[:3], rounds=1) > 1e-2


@pytest.mark.parametrize("name", SMALL)
def test_choosing_from_the_image_alone_is_bit_equal_too(name: str) -> None:
    net = fixed(dense_net(name, SIZE), select="input")
    assert worst_change(net, photos(3, SIZE, seed=1)) == 0


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.long) if "fcn" in name or "deeplab" in name else name
        for name in SEGMENTERS
    ],
)
def test_torchvision_segmenters(name: str) -> None:
    model, x = dense_net(name, SIZE), photos(3, SIZE, seed=1)
    assert worst_change(fixed(model), x, rounds=1) == 0
    assert worst_change(model, x, rounds=1) > 1e-2


class Skip(nn.Module):
    """One level down and up, the decoder padded to the size of its skip as U-Nets often are."""

    def __init__(self, up: nn.Module, borders: str = "zeros", pool: type[nn.Module] = nn.MaxPool2d):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, padding_mode=borders)
        self.pool, self.up = pool(2), up
        self.deep = nn.Conv2d(8, 16, 3, padding=1, padding_mode=borders)
        self.last = nn.Conv2d(24, 2, 3, padding=1, padding_mode=borders)

    def forward(self, x: Tensor) -> Tensor:
        skip = torch.relu(self.first(x))
        y = self.up(torch.relu(self.deep(self.pool(skip))))
        rows, columns = (a - b for a, b in zip(skip.shape[2:], y.shape[2:], strict=True))
        y = F.pad(y, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
        return self.last(torch.cat([skip, y], 1))


NEAREST = nn.Upsample(scale_factor=2)


@pytest.mark.parametrize(
    "model",
    [
        Skip(nn.Upsample(scale_factor=2, mode="bicubic")),
        Skip(nn.ConvTranspose2d(16, 16, 4, 2, 1), pool=nn.AvgPool2d),
        Skip(nn.ConvTranspose2d(16, 16, 3, 2, 1, 1)),
        Skip(NEAREST, "reflect"),
        Skip(NEAREST, "replicate"),
    ],
    ids=["bicubic", "transposed 4, average pool", "transposed 3", "reflect", "replicate"],
)
def test_ways_up_and_borders(model: nn.Module) -> None:
    x = photos(3, SIZE, seed=1)
    assert worst_change(fixed(model.eval()), x) == 0
    assert worst_change(model, x, rounds=1) > 1e-2


@pytest.mark.parametrize("method", ["refused", "canonical"])
def test_corners_tied_to_corners_follow_no_grid(method: str, tmp_path: Path) -> None:
    tied = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
    model = model_of(Skip(tied).eval(), SIZE, task="segmentation")
    options = FixOptions(comparisons=64, devices=("cpu",))
    if method == "refused":
        with pytest.raises(NothingToDo, match="align_corners=True"):
            fix(model, tmp_path / "fixed.pt", options)
        return
    report = fix(model, tmp_path / "fixed.pt", replace(options, method="canonical"))
    assert report.outcome == "written"
    assert all(r.figures.exact and r.control_failed for r in report.verifications)


def nmse(a: Tensor, b: Tensor) -> Tensor:
    """|a - b|^2 / |a|^2 of each image, (B,)."""
    a, b = a.double().flatten(1), b.double().flatten(1)
    return (a - b).square().sum(1) / a.square().sum(1)


@torch.no_grad()
def test_images_unlike_those_it_was_fitted_to() -> None:
    model = dense_net("unet_transposed", SIZE)
    drawn = synthetic_images(SIZE)
    x = torch.stack([drawn[name] for name in ("text", "noise", "gradient-both", "disk")])
    x = torch.cat([x * 8 - 4, torch.randn(2, 3, *SIZE).sign() * 20])
    moves = torch.tensor([[1, 3], [5, 2], [-7, 4], [3, 3], [-1, -6], [2, 7]])
    net = fixed(model)
    assert nmse(shifted(net(x), moves), net(shifted(x, moves))).max() == 0
    assert nmse(shifted(model(x), moves), model(shifted(x, moves))).min() > 1e-5


def test_control_skips_without_realignment_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder's maps left where they are meet skips that moved."""
    from equiaudit.repair.rewrite.builder import Builder

    monkeypatch.setattr(Builder, "turn", lambda self, y, *_: y)
    net = fixed(dense_net("unet_transposed", SIZE))
    assert worst_change(net, photos(3, SIZE, seed=1)) > 1e-2


class Coarse(nn.Module):
    """A map at a quarter of the input's size."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(block(3, 8, 2), block(8, 4, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@pytest.mark.parametrize("select", ["features", "input"])
def test_a_map_that_stays_coarse_moves_by_whole_steps_of_its_own(select: str) -> None:
    model = Coarse().eval()
    x = photos(4, SIZE, seed=1)
    images = {str(i): image for i, image in enumerate(x)}
    record = verify(
        fixed(model, select=select), model, images, total_stride=(4, 4), dense=True, comparisons=60
    )
    assert record.figures.exact
    assert record.control_failed


class Odd(nn.Module):
    """Resizes by a ratio that is not whole."""

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(F.max_pool2d(x, 2), size=(20, 30), mode="bilinear")


def test_a_resize_that_no_grid_follows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NothingToDo, match="not a whole ratio"):
        fix(model_of(Odd(), SIZE, task="segmentation"), tmp_path / "fixed.pt")


@pytest.mark.parametrize("name", ["unet_unpool", "pixel_shuffle_decoder"])
def test_end_to_end(name: str, tmp_path: Path) -> None:
    task = "image" if name.startswith("pixel") else "segmentation"
    model = model_of(dense_net(name, SIZE), SIZE, task=task)
    report = fix(model, tmp_path / "fixed.pt", FixOptions(comparisons=64, devices=("cpu",)))
    assert report.outcome == "written"
    for record in report.verifications:
        assert record.dense
        assert record.figures.exact
        assert record.control_failed
        assert {"constant", "stripes-3"} <= set(record.periodic_images)
        assert record.periodic is not None
        assert not record.periodic.exact
    again = load(str(tmp_path / "fixed.pt"), task=task)
    assert worst_change(again.run, photos(3, SIZE, seed=2), rounds=1) == 0


def test_periodic_images_take_no_part_in_the_coverage() -> None:
    """Every phase counted as covered was met by an image that can be equivariant."""
    model = Coarse().eval()
    images = {f"flat {i}": torch.full((3, *SIZE), i / 8) for i in range(7)}
    images["photo"] = photos(1, SIZE)[0]
    record = verify(fixed(model), None, images, total_stride=(4, 4), dense=True, comparisons=15)
    assert record.phases == record.figures.comparisons == 15
    assert len(record.periodic_images) == 7


def test_periodic_images_alone_prove_nothing() -> None:
    images = {"flat": torch.ones(3, *SIZE)}
    record = verify(fixed(Coarse().eval()), None, images, total_stride=(4, 4), dense=True)
    assert not record.passed
    assert record.phases == record.figures.comparisons == 0
