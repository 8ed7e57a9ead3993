"""Scans under shifts by fractions: whole ones are crop's, and what is found a loop finds."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from dense_small import (
    WINDOW,
    dense_model,
    dense_scan,
    image_data,
    segmentation_data,
    segmenter,
    write_masks,
)
from PIL import Image
from small import MEAN, SIZE, STD, dataset, small_model, small_net, write_images
from torch import nn

import equiaudit
from equiaudit.audit.engine import run_scan
from equiaudit.audit.merging import merged, open_shards, run_shard
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.shards import Shard
from equiaudit.errors import InputError
from equiaudit.gates import check_names, parse_gate
from equiaudit.kinds import KINDS, RESAMPLERS
from equiaudit.report import FORMATS, render
from equiaudit.shifts import make_plan

BOTH = ("subpixel", "fractional")


def scan(model, data, **settings):
    options = ScanOptions(**({"max_shift": 3, "offsets": 5, "images": False} | settings))
    done, journal = run_scan(model, data, options)
    journal.discard()
    return done


def plain(result):
    """All of a `ShiftResult` but its name."""
    return result.model_dump(exclude={"kind"})


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("f")
    return write_images(folder, count=10, size=(23, 24), classes=("a", "b", "c", "d"))


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    return write_masks(tmp_path_factory.mktemp("m"), count=3)


@pytest.mark.parametrize("resampler", RESAMPLERS)
def test_whole_shifts_of_labels_are_crops_and_circulars_to_the_last_digit(images, resampler):
    kinds = ("crop", "subpixel", "circular", "fractional")
    settings = {"shifts": kinds, "fraction": 1, "resampler": resampler, "accuracy_check": False}
    done = scan(small_model(), dataset(images), **settings)
    found = done.result.shifts
    assert plain(found["subpixel"]) == plain(found["crop"])
    assert plain(found["fractional"]) == plain(found["circular"])
    assert plain(found["crop"]) != plain(found["circular"])
    rows = [line.split(",") for line in done.samples.splitlines()]
    by_kind = {kind: [r[:1] + r[2:] for r in rows if r[1] == kind] for kind in kinds}
    assert by_kind["subpixel"] == by_kind["crop"] != []


@pytest.mark.parametrize("resampler", RESAMPLERS)
def test_what_is_found_under_one_kind_does_not_hang_on_those_beside_it(images, resampler):
    """Contrasts of circular shifts reach further: there, a canvas of crops holds nothing."""
    settings = {"resampler": resampler, "accuracy_check": False, "max_shift": 2}
    model, data = small_model(), dataset(images)
    together = scan(model, data, shifts=("circular", "subpixel"), **settings).result
    alone = scan(model, data, shifts=("subpixel",), **settings).result
    plan = make_plan(("circular",), window=SIZE, max_shift=2, stride=(4, 4), paired=True)
    assert plan.reach > 2
    assert plain(together.shifts["subpixel"]) == plain(alone.shifts["subpixel"])


@pytest.mark.parametrize("task", ["segmentation", "image"])
def test_whole_shifts_of_maps_are_crops_and_circulars_to_the_last_digit(masks, task):
    data = segmentation_data(masks) if task == "segmentation" else image_data(masks / "images")
    net = segmenter()
    kinds = ("crop", "subpixel", "circular", "fractional")
    done = dense_scan(data, dense_model(net, task), shifts=kinds, fraction=1)
    found = done.result.shifts
    assert plain(found["subpixel"])["dense"]["profile"] == plain(found["crop"])["dense"]["profile"]
    for fine, coarse in (("subpixel", "crop"), ("fractional", "circular")):
        assert plain(found[fine]) == plain(found[coarse])


def made(path, size, kind, offset):
    """The window as the model receives it, (1, 3, H, W)."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(np.float32) / 255
    x = torch.from_numpy((pixels - np.float32(MEAN)) / np.float32(STD)).permute(2, 0, 1)
    height, width = size
    top, left = round((x.shape[1] - height) / 2), round((x.shape[2] - width) / 2)
    if kind == "fractional":
        inner = x[:, top : top + height, left : left + width]
        return KINDS[kind].carry(inner, offset)[None]
    around = x[:, top - 3 : top + height + 3, left - 3 : left + width + 3]
    return KINDS[kind].cut(around, size, 3, offset)[None]


def plan_of(kind, **settings):
    plan = make_plan((kind,), **({"max_shift": 3, "offsets": 5} | settings))
    return plan, plan.series[0]


@pytest.mark.parametrize("kind", BOTH)
def test_labels_maps_and_distances_are_those_of_a_loop(images, kind):
    found = scan(small_model(), dataset(images), shifts=(kind,), accuracy_check=False).result
    plan, series = plan_of(kind, window=SIZE, stride=(4, 4))
    own, net, kept = found.shifts[kind], small_net(), {}
    files = sorted(images.rglob("*.png"), key=str)
    offsets = [plan.offsets(series, i).tolist() for i in range(len(files))]
    assert sum(d % 1 != 0 for each in offsets for at in each for d in at) > 50
    with torch.inference_mode():
        for path, each in zip(files, offsets, strict=True):
            clean = net(made(path, SIZE, kind, (0, 0))).argmax()
            for at in each:
                same = net(made(path, SIZE, kind, tuple(at))).argmax() == clean
                kept.setdefault(tuple(at), []).append(bool(same))
    flat = [same for each in kept.values() for same in each]
    assert 0.1 < np.mean(flat) < 0.99
    assert own.metrics["agreement"].value == pytest.approx(np.mean(flat), abs=1e-12)
    grid = own.agreement_map
    assert grid.rows == tuple(step / 4 for step in range(-12, 13))
    for (dy, dx), same in kept.items():
        i, j = grid.rows.index(dy), grid.cols.index(dx)
        assert (grid.agree[i][j], grid.total[i][j]) == (sum(same), len(same))
    phases, sums = own.phase_map, {}
    assert phases.rows == tuple(step / 4 for step in range(16))
    for (dy, dx), same in kept.items():
        sums.setdefault((dy % 4, dx % 4), []).extend(same)
    for (dy, dx), same in sums.items():
        assert phases.agree[phases.rows.index(dy)][phases.cols.index(dx)] == sum(same)
    far = {max(map(abs, at)) for at in kept}
    assert [point.distance for point in own.by_distance] == sorted(far)
    assert found.fingerprint.plan["fraction"] == 4
    assert ("resampler" in found.fingerprint.plan) == (kind == "subpixel")
    texts = {name: render(found, name) for name in FORMATS}
    assert all("fractions in steps of 1/4 px" in texts[name] for name in ("text", "md", "html"))
    assert "fractions of a pixel" in texts["html"]


@pytest.mark.parametrize("kind", BOTH)
def test_pixels_keep_their_label_where_one_of_those_around_has_it(masks, kind):
    result = dense_scan(segmentation_data(masks), shifts=(kind,), max_shift=3).result
    plan, series = plan_of(kind, window=WINDOW, stride=(2, 2))
    height, width = WINDOW
    shares = []
    for i in range(3):
        path = masks / "images" / f"{i:03}.png"
        clean = labels(made(path, WINDOW, kind, (0, 0)))
        each = []
        for dy, dx in plan.offsets(series, i).tolist():
            shifted, same = labels(made(path, WINDOW, kind, (dy, dx))), []
            for y in range(height):
                for x in range(width):
                    rows = {int(np.floor(y + dy)), int(np.ceil(y + dy))}
                    columns = {int(np.floor(x + dx)), int(np.ceil(x + dx))}
                    if kind == "subpixel" and not (
                        rows <= set(range(height)) and columns <= set(range(width))
                    ):
                        continue
                    near = [shifted[a % height, b % width] for a in rows for b in columns]
                    same.append(clean[y, x] in near)
            each.append(np.mean(same))
        shares.append(np.mean(each))
    name = "massc" if kind == "subpixel" else "mascc"
    metrics = result.shifts[kind].metrics
    assert metrics[name].value == pytest.approx(np.mean(shares), abs=1e-12)
    assert 0.5 < np.mean(shares) < 0.999
    assert {"miou_clean", "lost_object"} <= metrics.keys()
    assert not {"miou_shifted", "miou_worst"} & metrics.keys()
    assert result.shifts[kind].dense.classes == ()
    check_names((parse_gate(f"{kind}.{name}>=0.5"),), (kind,), labelled=True)
    with pytest.raises(InputError):
        check_names((parse_gate(f"{kind}.miou_shifted>=0.5"),), (kind,), labelled=True)


def labels(x):
    with torch.inference_mode():
        return segmenter()(x)[0].argmax(0).numpy()


@pytest.mark.parametrize("resampler", ["lanczos", "bilinear"])
def test_an_image_that_is_passed_on_is_where_it_belongs(masks, resampler):
    """The unshifted output moved as the input was; moved back instead, it would be smoothed."""
    data = image_data(masks / "images")
    same = dense_model(nn.Identity(), "image")
    found = dense_scan(data, same, shifts=BOTH, resampler=resampler).result.shifts
    assert all(found[kind].metrics["nmse_max"].value < 1e-12 for kind in BOTH)
    still = dense_model(lambda x: x.roll(1, -1), "image")
    assert (
        dense_scan(data, still, shifts=BOTH).result.shifts["fractional"].metrics["nmse_max"].value
        < 1e-12
    )
    nothing = dense_model(lambda x: x * torch.linspace(0, 1, WINDOW[1]), "image")
    worse = dense_scan(data, nothing, shifts=BOTH, resampler=resampler).result.shifts
    assert all(worse[kind].metrics["nmse_max"].value > 1e-3 for kind in BOTH)


def test_images_by_fourier_are_refused_as_borders_are_in_every_pixel(masks):
    with pytest.raises(InputError, match="whole row"):
        dense_scan(
            image_data(masks / "images"),
            dense_model(nn.Identity(), "image"),
            shifts=("subpixel",),
            resampler="fourier",
        )


def test_linear_nets_of_stride_1_are_stable_and_with_a_relu_they_are_not(masks):
    torch.manual_seed(1)
    conv = nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular")
    data = image_data(masks / "images")

    def worst(net):
        found = dense_scan(data, dense_model(net.eval(), "image"), shifts=("fractional",))
        return found.result.shifts["fractional"].metrics["nmse_max"].value ** 0.5

    assert worst(conv) < 1e-5
    assert worst(nn.Sequential(conv, nn.ReLU())) > 1e-2


class Passed(nn.Module):
    """The image as it is."""

    def __init__(self):
        super().__init__()
        self.register_buffer("one", torch.ones(1))

    def forward(self, x):
        return x * self.one


def boxes_of(returned, window):
    """A box of 8 px around the centre of mass of all that is bright, by channel."""
    found = []
    rows, columns = (torch.arange(side, dtype=torch.float64) + 0.5 for side in window)
    for image in returned.cpu().double():
        boxes, kinds = [], []
        for channel, x in enumerate(image):
            mass = x.sum()
            if mass > 4:
                y, at = (x.sum(1) @ rows) / mass, (x.sum(0) @ columns) / mass
                boxes.append([at - 4, y - 4, at + 4, y + 4])
                kinds.append(channel)
        found.append(
            (
                torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
                torch.ones(len(boxes)),
                torch.tensor(kinds, dtype=torch.int64),
            )
        )
    return found


OF_BLOBS = {
    "mean": (0, 0, 0),
    "std": (1, 1, 1),
    "size": (36, 36),
    "max_shift": 3,
    "offsets": 6,
    "images": False,
    "device": "cpu",
}


def blobs(folder):
    """Three images without detail: a red blob, a green and a blue one."""
    y, x = np.mgrid[:44, :44]
    for i in range(3):
        far = [(y - 20 - 2 * i) ** 2 + (x - 16 - 5 * c) ** 2 for c in range(3)]
        pixels = np.rint(250 * np.exp(-np.stack(far, -1) / 8)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize("kind", BOTH)
def test_peaks_are_as_far_off_as_the_fraction_lies_from_a_pixel(tmp_path, kind):
    net, data = Passed(), blobs(tmp_path)
    found = equiaudit.scan(net, data, task="heatmap", shifts=(kind,), **OF_BLOBS)
    plan, series = plan_of(kind, window=(36, 36), offsets=6)
    each = np.stack([plan.offsets(series, i) for i in range(3)])
    rest = np.hypot(*np.moveaxis(each - np.rint(each), -1, 0))
    assert 0.3 < rest.mean() < rest.max()
    own = found.shifts[kind].metrics
    assert own["displacement"].value == pytest.approx(rest.mean(), abs=1e-12)
    assert own["displacement_max"].value == pytest.approx(rest.max(), abs=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
def test_boxes_are_moved_back_by_the_fraction(tmp_path, monkeypatch, sign):
    from equiaudit.tasks.detection import block

    if sign < 0:
        back = block.moved_back
        wrong = lambda found, at: back(found, (-at[0], -at[1]))  # noqa: E731
        monkeypatch.setattr(block, "moved_back", wrong)
    monkeypatch.setitem(sys.modules, "blobs", sys.modules[__name__])
    found = equiaudit.scan(
        Passed(), blobs(tmp_path), detector="blobs:boxes_of", shifts=("subpixel",), **OF_BLOBS
    ).shifts["subpixel"]
    largest = found.metrics["jitter_max"].value
    assert found.metrics["boxes_kept"].value == 1 if sign > 0 else largest > 1
    assert (largest < 0.1) == (sign > 0)


def test_shards_together_are_the_scan_and_what_is_done_is_kept(images, tmp_path):
    options = ScanOptions(
        shifts=(*BOTH, "circular"), max_shift=3, offsets=4, images=False, accuracy_check=False
    )
    model, data = small_model(), dataset(images)
    whole, journal = run_scan(model, data, options, folder=tmp_path / "kept")
    again, _ = run_scan(
        small_model(lambda x: pytest.fail("run again")), data, options, folder=tmp_path / "kept"
    )
    assert again.samples == whole.samples
    other = replace(options, resampler="bilinear")
    with pytest.raises(pytest.fail.Exception):
        run_scan(
            small_model(lambda x: pytest.fail("run again")), data, other, folder=tmp_path / "kept"
        )
    journal.discard()
    for i in (1, 2):
        run_shard(model, data, options, Shard(i, 2), tmp_path / "parts")
    parts = open_shards([tmp_path / "parts"])
    done = merged(parts)
    assert done.samples == whole.samples


def test_what_makes_no_plan_is_refused():
    for settings, word in (
        ({"fraction": 0}, "1 to 16"),
        ({"resampler": "cubic"}, "cubic"),
        ({"fraction": 16, "max_shift": 64}, "tables hold"),
    ):
        with pytest.raises(InputError, match=word):
            make_plan(("subpixel",), window=SIZE, **settings)
    assert (
        make_plan(("crop",), window=SIZE).hash == make_plan(("crop",), window=SIZE, fraction=2).hash
    )
