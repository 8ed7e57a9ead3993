"""The operation that was broken is the one that is named, in torch and in ONNX."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import equiaudit
from equiaudit.errors import InputError, NothingToDo
from equiaudit.report.repair import render_inspection

HOW = {"size": (16, 16), "mean": (0.5,) * 3, "std": (0.25,) * 3}
CONVS = (0, 2, 4, 6)


def sound() -> nn.Sequential:
    """Convolutions whose padding is never read: every kernel is its middle."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    )
    with torch.no_grad():
        for place in CONVS:
            weight = net[place].weight
            middle = weight[:, :, 1, 1].clone()
            weight.zero_()
            weight[:, :, 1, 1] = 2 * middle
    return net.eval()


def broken(place: int, how: str) -> nn.Sequential:
    """One convolution reads its padding, or samples every other pixel without one."""
    net = copy.deepcopy(sound())
    torch.manual_seed(1)
    if how == "pads":
        nn.init.normal_(net[place].weight, std=0.3)
    else:
        net[place].stride = (2, 2)
    return net


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("located"), np.random.default_rng(0)
    for i in range(3):
        pixels = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize("how", ["pads", "samples"])
@pytest.mark.parametrize("place", CONVS)
def test_the_broken_operation_is_found(images, place, how):
    found = equiaudit.inspect(broken(place, how), images, **HOW).located
    first, *others = found.places
    assert (first.name, first.depth) == (str(place), CONVS.index(place))
    assert first.reaches > 100 * max(other.reaches for other in others)
    entered = first.enters_whole if how == "pads" else first.enters_between
    assert entered > 0.01
    assert (first.enters_between is None) == (how == "pads")
    # Fixing it leaves nothing, and so does fixing all up to it; others alone do not help.
    assert found.unmodified > 1e-4
    assert first.only < 1e-5 * found.unmodified + 1e-6
    for other in others:
        assert other.only == pytest.approx(found.unmodified, rel=1e-3)
        fixed = other.depth > first.depth
        assert other.up_to == pytest.approx(0 if fixed else found.unmodified, rel=1e-3, abs=1e-6)
    # The error begins there.
    for each in found.places:
        assert (each.at_depth > 1e-4) == (each.depth >= first.depth)


def test_it_is_found_in_onnx_too_and_its_name_is_one_for_only(images, tmp_path):
    path = tmp_path / "net.onnx"
    torch.onnx.export(broken(4, "pads"), torch.zeros(1, 3, 16, 16), path, dynamo=False)
    found = equiaudit.inspect(path, images, output=tmp_path / "out", **HOW)
    first = found.located.places[0]
    assert first.depth == 2
    assert first.name == [row.where for row in found.ops][2]
    assert first.only < 1e-6 < found.located.unmodified
    plan = equiaudit.fix(path, tmp_path / "fixed.onnx", only=first.name, dry_run=True, **HOW)
    assert plan.outcome == "planned"
    written = json.loads((tmp_path / "out" / "inspection.json").read_text("utf-8"))
    assert written["located"]["places"][0]["name"] == first.name
    page = (tmp_path / "out" / "inspection.html").read_text("utf-8")
    assert page.count("<rect") == len(found.ops)
    text = render_inspection(found, width=200)
    assert text.index("Where it breaks") < text.index("Error along depth")
    assert first.name in text


class Flattened(nn.Module):
    """Without padding or strides, but every place has a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mix, self.head = nn.Conv2d(3, 2, 1), nn.Linear(512, 3)

    def forward(self, x):
        return self.head(self.mix(x).relu().flatten(1))


def test_a_flatten_is_found(images):
    found = equiaudit.inspect(Flattened().eval(), images, **HOW).located
    assert [place.op for place in found.places] == ["flatten"]
    assert found.places[0].reaches > 0.01
    assert found.places[0].only < 1e-6 < found.unmodified


def test_a_pad_of_its_own_is_to_blame_and_not_the_window_that_reads_it(images):
    net = sound()
    torch.manual_seed(1)
    net[2] = nn.Sequential(nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(6, 6, 4, stride=1))
    nn.init.normal_(net[2][1].weight, std=0.2)
    found = equiaudit.inspect(net.eval(), images, **HOW).located
    first, *others = found.places
    assert first.op == "pad"
    # What lies beyond the border on the circle, over the norm of the map that has zeros there.
    expected = []
    for path in sorted(images.iterdir()):
        pixels = torch.from_numpy(np.asarray(Image.open(path)).astype(np.float32))
        map_ = net[:2]((pixels.permute(2, 0, 1)[None] / 255 - 0.5) / 0.25).detach()
        around = nn.functional.pad(map_, (1, 2, 1, 2), mode="circular")
        beyond = around.square().sum() - map_.square().sum()
        expected.append(float((beyond / map_.square().sum()).sqrt()))
    assert first.enters_whole == pytest.approx(np.mean(expected), rel=1e-4)
    assert all(other.enters_whole < 1e-6 > other.reaches for other in others)
    alone = equiaudit.inspect(net, **HOW)
    assert first.node in [row.node for row in alone.ops]


class Unpooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool, self.last = nn.MaxPool2d(2, return_indices=True), nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, x):
        return self.last(nn.functional.max_unpool2d(*self.pool(x), 2))


def test_of_places_of_pixels_nothing_is_said(images):
    found = equiaudit.inspect(Unpooled().eval(), images, **HOW).located
    places = {place.op: place for place in found.places}
    assert {name for name, place in places.items() if place.reaches is None} == {
        "max_pool2d_with_indices",
        "max_unpool2d",
    }
    assert places["conv2d"].enters_whole > 0
    assert "–" in render_inspection(equiaudit.inspect(Unpooled().eval(), images, **HOW))


def test_what_cannot_be_converted_is_located_all_the_same(images):
    net = broken(2, "pads")
    found = equiaudit.inspect(net, images, **HOW | {"size": (16, 16)}).located
    assert found.reason is None
    odd = nn.Sequential(net[:4], nn.MaxPool2d(3, 3), net[4:]).eval()
    found = equiaudit.inspect(odd, images, **HOW).located
    assert "no whole grids" in found.reason
    assert {place.only for place in found.places} == {None}
    assert found.places[0].reaches > 0


def test_a_report_needs_images(images, tmp_path):
    with pytest.raises(InputError, match="about images"):
        equiaudit.inspect(sound(), output=tmp_path, **HOW)
    assert equiaudit.inspect(sound(), **HOW).located is None


def test_what_does_not_run_fixed_alone_has_no_figure_and_is_refused_by_fix(images, tmp_path):
    """A pool that leaves its map at 7 px, where the circle has 8."""
    net = nn.Sequential(nn.MaxPool2d(3, 2), nn.MaxPool2d(2, 2), nn.Conv2d(3, 4, 1), nn.Flatten())
    found = equiaudit.inspect(net.eval(), images, **HOW).located
    places = {place.name: place for place in found.places}
    assert places["1"].only is None
    assert places["1"].reaches > 0
    assert "another size" in found.reason
    with pytest.raises(NothingToDo, match="does not run with 0 left as it is"):
        equiaudit.fix(net, tmp_path / "fixed.pt", only="1", **HOW)
