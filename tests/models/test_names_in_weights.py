"""Class names where exporters and training loops put them, found without a flag."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from equiaudit import scan
from equiaudit.models import load
from equiaudit.models.preprocess import PreprocessOverrides

NAMES = ("heron", "adder", "newt")
HOW = PreprocessOverrides(size=(8, 8), mean=(0.0,) * 3, std=(1.0,) * 3)


class Net(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def traced(path: Path, **extra: str) -> Path:
    net = torch.jit.trace(Net().eval(), torch.rand(1, 3, 8, 8))
    torch.jit.save(net, str(path), _extra_files=extra)
    return path


def named(path: Path, **how: object) -> tuple[str, ...] | None:
    return load(path, preprocess=HOW, device="cpu", **how).class_names


INDEX = dict(enumerate(NAMES))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("config.txt", json.dumps({"stride": 32, "names": INDEX})),  # Ultralytics
        ("metadata.json", json.dumps({"dataset_meta": {"classes": NAMES}})),
        ("classes.txt", "\n".join(NAMES)),
        ("labels.txt", "n01 , a heron\nadder, viper\nnewt"),
        ("index_to_name.json", json.dumps(INDEX)),  # TorchServe
        ("class_to_idx.json", json.dumps({name: i for i, name in INDEX.items()})),
    ],
)
def test_extra_files_of_torchscript(file: str, text: str, tmp_path: Path) -> None:
    found = named(traced(tmp_path / "m.pt", **{file: text}))
    assert found == (("n01 , a heron", "adder, viper", "newt") if file == "labels.txt" else NAMES)


def test_extra_files_of_an_exported_program(tmp_path: Path) -> None:
    program = torch.export.export(Net().eval(), (torch.rand(2, 3, 8, 8),))
    torch.export.save(program, tmp_path / "m.pt2", extra_files={"names": json.dumps(NAMES)})
    assert named(tmp_path / "m.pt2") == NAMES


def test_metadata_of_safetensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    arch = f"{Path(__file__).stem}:Net"
    metadata = {"format": "pt", "id2label": json.dumps(INDEX)}
    save_file(Net().state_dict(), tmp_path / "m.safetensors", metadata=metadata)
    assert named(tmp_path / "m.safetensors", arch=arch) == NAMES


@pytest.mark.parametrize(
    ("beside", "found"),
    [
        ({"class_names": list(NAMES)}, NAMES),
        ({"class_to_idx": {name: i for i, name in INDEX.items()}}, NAMES),
        ({"meta": {"dataset_meta": {"CLASSES": NAMES}}}, NAMES),  # mmengine
        ({"hyper_parameters": {"labels": list(NAMES)}}, NAMES),  # Lightning
        ({"classes": 3, "labels": torch.zeros(3)}, None),
        ({"labels": [2, 0, 1]}, None),  # of samples, and as many by chance
        ({"classes": [*NAMES, "toad"]}, None),
        ({"metrics": {"names": ["loss", "top1", "top5"]}}, None),
    ],
)
def test_beside_the_weights_of_a_checkpoint(
    beside: dict, found: tuple | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    torch.save({"state_dict": Net().state_dict(), **beside}, tmp_path / "m.pth")
    assert named(tmp_path / "m.pth", arch=f"{Path(__file__).stem}:Net") == found


def test_folders_are_matched_with_them(tmp_path: Path) -> None:
    model = traced(tmp_path / "m.pt", **{"config.txt": json.dumps({"names": INDEX})})
    for name in ("newt", "adder"):  # a part of the classes, in no order of theirs
        (tmp_path / "d" / name).mkdir(parents=True)
        for i in range(2):
            pixels = np.full((8, 8, 3), 40 * i, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "d" / name / f"{i}.png")
    result = scan(model, tmp_path / "d", size=(8, 8), mean=(0,) * 3, std=(1,) * 3, offsets=2,
                  max_shift=1, shifts=("circular",), output=tmp_path / "out")  # fmt: skip
    assert result.class_names == INDEX
    rows = (tmp_path / "out" / "samples.csv").read_text().splitlines()
    assert {row["label_name"] for row in __import__("csv").DictReader(rows)} == {"newt", "adder"}
