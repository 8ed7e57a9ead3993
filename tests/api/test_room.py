"""Images as large as the window: crop shifts are left out with a note, unless asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import equiaudit
from equiaudit.audit.geometry import geometry
from equiaudit.data.decoding import _too_small
from equiaudit.errors import InputError
from equiaudit.models import Preprocess

HOW = {"size": 16, "mean": (0, 0, 0), "std": (1, 1, 1), "task": "classification", "offsets": 2}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.Flatten(), nn.Linear(196, 3)).eval()


@pytest.fixture
def images(tmp_path):
    def made(side):
        for i in range(3):
            pixels = np.random.default_rng(i).integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        return tmp_path

    return made


def test_crop_is_left_out_with_a_note_where_images_are_as_large_as_the_window(net, images):
    result = equiaudit.scan(net, images(16), **HOW)
    assert set(result.shifts) == {"circular", "zero-pad"}
    (note,) = (note for note in result.notes if "left out" in note)
    assert note.startswith("crop shifts are left out: '0.png' is 16x16 px")


@pytest.mark.parametrize(
    ("side", "asked"),
    [(16, {"gates": "crop.agreement>=0.5"}), (16, {"shifts": ("crop", "circular")}), (40, {})],
)
def test_what_was_asked_for_is_refused_and_where_there_is_some_room_a_reach_is_named(
    net, images, side, asked
):
    with pytest.raises(InputError, match="crop shifts of up to 16 px") as caught:
        equiaudit.scan(net, images(side), **HOW, **asked)
    assert ("max_shift=12 or less" in str(caught.value)) == (side == 40)


def test_crops_stay_where_there_is_room(net, images):
    result = equiaudit.scan(net, images(20), **HOW, max_shift=2)
    assert "crop" in result.shifts


@pytest.mark.parametrize("source", ["flag --size", "ONNX input shape"])
def test_no_smaller_window_is_proposed_to_a_model_of_one_size(source):
    how = Preprocess((16, 16), (0.0,) * 3, (1.0,) * 3, source={"size": source})
    for margin in (0, 4):
        tip = _too_small("a.png", (16, 16), geometry(how, margin)).tip
        assert ("--size" in tip) == source.startswith("flag")
