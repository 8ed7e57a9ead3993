"""Labels that can be read in several ways, each against a model that knows the right one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from equiaudit import scan
from equiaudit.errors import InputError

HOW = {
    "size": (8, 8),
    "mean": (0, 0, 0),
    "std": (1, 1, 1),
    "shifts": ("circular",),
    "max_shift": 1,
    "offsets": 2,
}


class Knows(nn.Module):
    """Names the class whose grey is nearest: of class i that of `order[i]`."""

    def __init__(self, order: list[int]) -> None:
        super().__init__()
        self.register_buffer("grey", torch.tensor(order) * 20 / 255)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean((1, 2, 3))[:, None]
        return 1000 * (2 * self.grey * mean - self.grey**2)


def photo(path: Path, of: int) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), 20 * of, np.uint8)).save(path)
    return path.name


def folders(root: Path, names: list[str], each: int = 4) -> Path:
    """Folder k of `names` shows thing k."""
    for k, name in enumerate(names):
        for i in range(each):
            photo(root / name / f"{i}.png", k)
    return root


def accuracy(model: nn.Module, data: Path, **more: object) -> float:
    return scan(model, data, **HOW, **more).metric("circular.accuracy_clean").value


NUMBERS = [str(i) for i in range(12)]
NAMES = [f"class_{i}" for i in range(1, 13)]
CASED = ["Ant", "Bee", "Yak", "cat", "dog", "eel"]


def in_order(names: list[str], order: list[str]) -> list[int]:
    return [names.index(name) for name in order]


@pytest.mark.parametrize("names", [NUMBERS, NAMES], ids=["numbers", "names"])
@pytest.mark.parametrize("counted", ["string", "natural"])
def test_the_order_of_folders_is_the_models(tmp_path: Path, names: list[str], counted: str) -> None:
    order = sorted(names) if counted == "string" else names
    result = scan(Knows(in_order(names, order)), folders(tmp_path, names), **HOW)
    assert result.metric("circular.accuracy_clean").value == 1
    read = "(ImageFolder): right on" if counted == "string" else "from"
    assert any("The class folders are read by" in n and read in n for n in result.notes)


def test_upper_case_comes_first_for_imagefolder_and_not_for_timm(tmp_path: Path) -> None:
    data = folders(tmp_path, names := ["ant", "Bee", "cat", "Dog"])
    for order in (sorted(names), sorted(names, key=str.lower)):
        assert accuracy(Knows(in_order(names, order)), data) == 1


def test_a_model_that_does_not_tell_asks(tmp_path: Path) -> None:
    data = folders(tmp_path, NUMBERS)
    blind = Knows([0] * 12)
    with pytest.raises(InputError, match=r"in 2 ways.*class_order=\"index\" or \"string\""):
        scan(blind, data, **HOW)
    for counted in ("string", "index"):
        result = scan(blind, data, class_order=counted, accuracy_check=False, **HOW)
        assert result.settings["class_order"] == counted
        assert result.metric("circular.accuracy_clean").value == pytest.approx(1 / 12)


@pytest.mark.parametrize("counted", ["string", "natural"])
def test_a_part_of_numbered_folders_is_read_as_a_part(tmp_path: Path, counted: str) -> None:
    """0, 1, 10, 2 of twelve; the independent count is a loop over the files."""
    for k in (0, 1, 10, 2):
        for i in range(5):
            photo(tmp_path / str(k) / f"{i}.png", k)
    order = sorted(NUMBERS) if counted == "string" else NUMBERS
    wrong = Knows([*in_order(NUMBERS, order)[:-1], 0])
    right = 0
    for path in tmp_path.glob("*/*.png"):
        grey = np.asarray(Image.open(path))[0, 0, 0] / 255
        answer = int(np.argmin(np.abs(wrong.grey.numpy() - grey)))
        right += order[answer] == path.parent.name
    assert accuracy(wrong, tmp_path) == right / 20


def rows(root: Path, labels: list[str], shown: list[int], each: int = 3) -> Path:
    lines = ["file,label"]
    for label, of in zip(labels, shown, strict=True):
        lines += [f"{photo(root / f'{of}-{i}.png', of)},{label}" for i in range(each)]
    (root / "labels.csv").write_text("\n".join(lines))
    return root / "labels.csv"


def test_numbers_with_a_fraction_of_nothing_are_indices(tmp_path: Path) -> None:
    table = rows(tmp_path, [f"{i}.0" for i in range(12)], list(range(12)))
    assert accuracy(Knows(list(range(12))), tmp_path, labels=table) == 1


@pytest.mark.parametrize("base", [0, 1])
def test_labels_from_one_are_told_from_labels_from_zero(tmp_path: Path, base: int) -> None:
    """Neither class 0 nor the last is there, so 1 to 10 of 12 may be either."""
    labels = [str(i) for i in range(1, 11)]
    table = rows(tmp_path, labels, [i - base for i in range(1, 11)])
    assert accuracy(Knows(list(range(12))), tmp_path, labels=table) == 1
    with pytest.raises(InputError, match=r"class_order=\"index\" or \"natural\" or \"string\""):
        scan(Knows([0] * 12), tmp_path, labels=table, **HOW)


class Says(Knows):
    """The label alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).argmax(1)


def test_a_model_that_returns_labels_is_asked_for_them(tmp_path: Path) -> None:
    table = rows(tmp_path, [str(i) for i in range(1, 11)], list(range(10)))
    assert accuracy(Says(list(range(12))), tmp_path, labels=table) == 1


def test_all_classes_from_one(tmp_path: Path) -> None:
    table = rows(tmp_path, [str(i) for i in range(1, 5)], [0, 1, 2, 3])
    result = scan(Knows([0, 1, 2, 3]), tmp_path, labels=table, **HOW)
    assert result.metric("circular.accuracy_clean").value == 1
    assert any("read by numbers from 1" in note for note in result.notes)


def test_less_than_nothing_is_no_label(tmp_path: Path) -> None:
    table = rows(tmp_path, ["-1", "0", "1"], [0, 1, 2])
    with pytest.raises(InputError, match=r"Line 2 .*'0-0.png' with -1"):
        scan(Knows([0, 1, 2]), tmp_path, labels=table, **HOW)


def test_parts_of_a_data_set_are_no_classes(tmp_path: Path) -> None:
    for part in ("train", "val"):
        folders(tmp_path / part, ["ant", "bee"])
    with pytest.raises(InputError, match=r"parts of a data set.*DATA/val"):
        scan(Knows([0, 1]), tmp_path, **HOW)


def test_a_few_images_that_are_all_wrong_stop_the_scan(tmp_path: Path) -> None:
    names = ["ant", "bee", "cat", "dog"]
    data = folders(tmp_path, names, each=2)
    with pytest.raises(InputError, match="Accuracy is 0 of 8 over 4 classes"):
        scan(Knows([1, 2, 3, 0]), data, **HOW)
    assert accuracy(Knows([0, 1, 2, 3]), data) == 1


def test_too_few_images_to_tell_are_noted(tmp_path: Path) -> None:
    data = folders(tmp_path, ["ant", "bee"], each=1)
    notes = scan(Knows([0, 1]), data, **HOW).notes
    assert any("accuracy is 2 of 2 over 2 classes: too few" in note for note in notes)


def test_names_reach_the_result_and_the_samples(tmp_path: Path) -> None:
    """Of an ONNX file's metadata, and over those of a file of names."""
    import onnx

    names = ["golden retriever", "Labrador", "eel"]
    path = tmp_path / "net.onnx"
    torch.onnx.export(Knows([0, 1, 2]).eval(), (torch.zeros(1, 3, 8, 8),), path, dynamo=True)
    proto = onnx.load(path)
    proto.metadata_props.add(key="names", value=str(dict(enumerate(names))))
    onnx.save(proto, path)
    data = folders(tmp_path / "d", ["golden_retriever", "labrador"], each=3)
    how = {key: value for key, value in HOW.items() if key != "size"}
    result = scan(path, data, output=tmp_path / "out", **how)
    assert result.class_names == dict(enumerate(names))
    assert result.metric("circular.accuracy_clean").value == 1
    rows = (tmp_path / "out" / "samples.csv").read_text().splitlines()
    assert rows[1].endswith(",golden retriever,golden retriever,")
    (tmp_path / "names").write_text("golden_retriever\nlabrador\nconger")
    result = scan(path, data, class_names=tmp_path / "names", **how)
    assert result.class_names[2] == "conger"
    (tmp_path / "names").write_text("golden_retriever\nlabrador")
    with pytest.raises(InputError, match=r"names 2 classes, and net.onnx has 3"):
        scan(path, data, class_names=tmp_path / "names", **how)
