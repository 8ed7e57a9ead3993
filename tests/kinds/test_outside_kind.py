"""A kind of shift is added from outside: scanned, reported, gated, moved back, in the causes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import equiaudit
import equiaudit.shifts
from equiaudit.audit.engine import run_scan
from equiaudit.audit.options import ScanOptions
from equiaudit.errors import InputError
from equiaudit.kinds import KINDS, Cause, Kind, register
from equiaudit.kinds.pixels import middle, wrap
from equiaudit.report import FORMATS, render
from equiaudit.tasks.maps.frames import Frames

sys.path.append(str(Path(__file__).parent.parent / "audit"))
from dense_small import dense_model, segmentation_data, write_masks
from small import MEAN, STD, dataset, small_model, small_net, write_images


class Flip(Kind):
    """The image mirrored, and then rolled."""

    name = "flip"
    about = "mirrors the image and rolls it"
    whole = True
    cause = Cause("handedness", beyond="circular")

    def draw(self, canvas, source, window, black):
        wrap(canvas, middle(source, *window).flip(-1))

    def back(self, shifted, offset, common):
        dy, dx = offset
        return shifted.roll((-dy, -dx), (-2, -1)).flip(-1)


@pytest.fixture
def flip():
    register(Flip())
    yield KINDS["flip"]
    KINDS.remove("flip")


def test_labels_under_it_are_those_of_a_slow_loop(flip, tmp_path):
    data = dataset(write_images(tmp_path, count=8))
    options = ScanOptions(shifts=("circular", "flip"), max_shift=3, offsets=4, images=False)
    done, journal = run_scan(small_model(), data, options)
    net, mean, std = small_net(), np.float32(MEAN), np.float32(STD)

    def label(pixels):
        x = torch.from_numpy(((pixels.astype(np.float32) / 255) - mean) / std)
        return int(net(x.permute(2, 0, 1)[None]).argmax())

    from PIL import Image

    kept = []
    for record in journal.records.values():
        pixels = np.asarray(Image.open(tmp_path / record.file))[4:20, 4:20]
        offsets = equiaudit.shifts.make_plan(
            ("flip",), window=(16, 16), max_shift=3, offsets=4, stride=(4, 4)
        )
        moves = offsets.offsets(offsets.series[0], record.index)
        mirrored = [np.roll(pixels[:, ::-1], tuple(move), (0, 1)).copy() for move in moves]
        kept.append(np.mean([label(each) == label(pixels) for each in mirrored]))
    assert float(done.result.metric("flip.agreement")) == pytest.approx(np.mean(kept))
    part = {part.name: part for part in done.result.boundary}["flip: handedness"]
    assert part.meaning == "label changes from circular to flip at the same offset"
    assert part.estimate is not None


def test_it_is_reported_and_gated(flip, tmp_path):
    data = write_images(tmp_path, count=6)
    result = equiaudit.scan(
        small_net(),
        data,
        size=(16, 16),
        mean=MEAN,
        std=STD,
        shifts=("circular", "flip"),
        max_shift=3,
        offsets=3,
        gates=["flip.consistency>=0.01"],
    )
    assert result.gates[0].metric == "flip.consistency"
    texts = {name: render(result, name) for name in FORMATS}
    assert all("flip" in text for text in texts.values())
    assert "flip mirrors the image and rolls it" in texts["html"]


def test_maps_are_moved_back(flip, tmp_path):
    x = torch.rand(3, 16, 20)
    canvas = x.new_empty(3, 16 + 8, 20 + 8)
    flip.draw(canvas, x, (16, 20), x[:, 0, 0])
    moved = Frames((16, 20), torch.device("cpu")).moved(flip, (3, -2))
    seen = canvas[:, 4 - 3 : 20 - 3, 4 + 2 : 24 + 2]
    assert torch.equal(moved.back(seen), x)
    assert not torch.equal(seen, x)
    data = segmentation_data(write_masks(tmp_path))
    mirrored = dense_model(lambda x: x[:, :3])  # commutes with flips and rolls
    options = ScanOptions(shifts=("flip",), max_shift=3, offsets=3, images=False)
    done, _ = run_scan(mirrored, data, options)
    assert float(done.result.metric("flip.flip_rate")) == 0
    other, _ = run_scan(dense_model(), data, options)
    assert float(other.result.metric("flip.flip_rate")) > 0


def test_without_the_row_the_name_is_unknown(tmp_path):
    with pytest.raises(InputError, match="'flip' is unknown"):
        run_scan(small_model(), dataset(write_images(tmp_path)), ScanOptions(shifts=("flip",)))
