"""Arrays and torch Datasets give what their files would; fix gives the module back."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import equiaudit
from equiaudit.errors import InputError

HOW = {"size": 16, "mean": (0.5,) * 3, "std": (0.2,) * 3}
QUICK = {"offsets": 2, "max_shift": 2, "accuracy_check": False}
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 20, 20, 3), dtype=np.uint8)
LABELS = [0, 1, 2, 0, 1, 2]


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(body, nn.Flatten(), nn.Linear(8, 3)).eval()


class Items:
    """As a torch Dataset has them."""

    def __init__(self, make):
        self.make = make

    def __len__(self):
        return len(PIXELS)

    def __getitem__(self, place):
        return self.make(place)


def figures(result):
    return {f"{k}.{n}": e.value for k, s in result.shifts.items() for n, e in s.metrics.items()}


@pytest.fixture(scope="module")
def from_files(net, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for i, (pixels, label) in enumerate(zip(PIXELS, LABELS, strict=True)):
        Image.fromarray(pixels).save(folder / f"{i}.png")
        with (folder / "labels.csv").open("a") as table:
            table.write(f"{'' if i else 'file,label' + chr(10)}{i}.png,{label}\n")
    found = equiaudit.scan(net, folder, labels=str(folder / "labels.csv"), **HOW, **QUICK)
    return figures(found)


FORMS = {
    "arrays": (PIXELS, LABELS),
    "a tensor, channels first": (torch.from_numpy(PIXELS).permute(0, 3, 1, 2), LABELS),
    "pairs": Items(lambda i: (PIXELS[i], LABELS[i])),
    "PIL images": Items(lambda i: (Image.fromarray(PIXELS[i]), torch.tensor(LABELS[i]))),
    "dicts": Items(lambda i: {"image": PIXELS[i], "label": np.int64(LABELS[i])}),
    "a list": list(zip(PIXELS, LABELS, strict=True)),
}


@pytest.mark.parametrize("form", FORMS)
def test_images_in_memory_give_what_their_files_would(net, from_files, form):
    found = equiaudit.scan(net, FORMS[form], **HOW, **QUICK)
    assert figures(found) == from_files
    assert "crop.accuracy_clean" in from_files
    assert not [*Path(tempfile.gettempdir()).glob("equiaudit-data-*")]


def test_images_alone_have_no_labels_and_limit_draws_some(net):
    found = equiaudit.scan(net, PIXELS, limit=3, **HOW, **QUICK)
    assert found.fingerprint.n_images == 3
    assert "circular.accuracy_clean" not in figures(found)


def test_floats_need_their_range_and_are_never_normalised(net):
    tensors = Items(lambda i: torch.from_numpy(PIXELS[i]).permute(2, 0, 1) / 255)
    with pytest.raises(InputError, match="image_range"):
        equiaudit.scan(net, tensors, **HOW, **QUICK)
    found = equiaudit.scan(net, tensors, image_range=(0, 1), **HOW, **QUICK)
    assert found.fingerprint.n_images == 6
    with pytest.raises(InputError, match="as normalised ones do"):
        equiaudit.scan(net, Items(lambda i: PIXELS[i] / 100 - 1), **HOW, **QUICK)


def test_masks_are_masks():
    torch.manual_seed(0)
    segmenter = nn.Conv2d(3, 2, 3, padding=1).eval()
    masks = (PIXELS[..., 0] > 128).astype(np.int64)
    found = equiaudit.scan(segmenter, (PIXELS, masks), **HOW, **QUICK)
    assert found.fingerprint.task == "segmentation"
    assert "circular.miou_clean" in figures(found)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ((PIXELS, LABELS[:-1]), "6 images and 5 labels"),
        (Items(lambda i: PIXELS[i, 0, 0]), "is no image"),
        (Items(lambda i: (PIXELS[i], "cat")), "neither a label nor a mask"),
        (Items(lambda i: (PIXELS[i], LABELS[i]) if i else PIXELS[i]), "others have none"),
        (Items(lambda i: (1, 2, 3)), "has 3 parts"),
        (Items(lambda i: {"pixels": 1}), "its keys are pixels"),
        (PIXELS[:0], "There are no images"),
    ],
)
def test_what_is_no_data_is_refused_in_a_sentence(net, data, said):
    with pytest.raises(InputError, match=said):
        equiaudit.scan(net, data, **HOW, **QUICK)


def test_fix_and_verify_take_them_too_and_the_module_comes_back(net, tmp_path):
    options = {"method": "mass", "seconds": 0, "task": "classification", **HOW}
    report = equiaudit.fix(net, tmp_path / "fixed.pt", **options)
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(report.module(x), report.module(x.roll((3, 5), (2, 3))))
    assert not report.module.training
    again = type(report).model_validate_json(report.model_dump_json())
    assert torch.equal(again.module(x), report.module(x))
    how = {"limit": 2, "seconds": 0, "task": "classification", **HOW}
    found = equiaudit.verify(report.module, PIXELS, **how)
    assert found.passed
    with pytest.raises(InputError, match="the outcome is 'planned'"):
        _ = equiaudit.fix(net, None, dry_run=True, method="mass", **HOW).module
