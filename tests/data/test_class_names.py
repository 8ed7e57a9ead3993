"""Which class a folder or a row means to a model whose classes have names, numbers or wnids."""

import json
from pathlib import Path

import pytest

from equiaudit.data import open_dataset
from equiaudit.data.class_names import names_in_metadata, read_class_names
from equiaudit.errors import InputError


def folders(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "1.png").write_bytes(b"x")
    return root


def classes(root: Path, **known: object) -> dict[str, int | None]:
    return {i.file.partition("/")[0]: i.label for i in open_dataset(root, **known).items}


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "tench\ngoldfish\ngreat white shark\n",
        "index,name\n1,goldfish\n0,tench\n2,great white shark\n",
        '["tench", "goldfish", "great white shark"]',
        '{"1": "goldfish", "0": "tench", "2": "great white shark"}',
        '{"tench": 0, "goldfish": 1, "great white shark": 2}',
    ],
)
def test_every_form_of_a_file_of_names(tmp_path: Path, text: str) -> None:
    found = read_class_names(written(tmp_path / "names", text))
    assert found.names == ("tench", "goldfish", "great white shark")
    assert found.ids is None


@pytest.mark.parametrize(
    "text",
    [
        "n01440764 tench, Tinca tinca\nn01443537 goldfish\n",
        json.dumps({"0": ["n01440764", "tench, Tinca tinca"], "1": ["n01443537", "goldfish"]}),
    ],
)
def test_wnids_beside_names(tmp_path: Path, text: str) -> None:
    found = read_class_names(written(tmp_path / "names", text))
    assert found.names == ("tench, Tinca tinca", "goldfish")
    data = folders(tmp_path / "d", "n01443537")
    known = {"class_names": found.names, "class_ids": found.ids, "num_classes": 2}
    assert classes(data, **known) == {"n01443537": 1}
    assert classes(folders(tmp_path / "e", "tench"), **known) == {"tench": 0}


@pytest.mark.parametrize(
    "text", ["", "[", "[1, [2]]", '{"0": "a", "2": "b"}', "index,name\n0,a\n0,b", "[" * 9999]
)
def test_no_names(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="class"):
        read_class_names(written(tmp_path / "names", text))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{0: 'person', 1: 'bicycle'}", ("person", "bicycle")),
        ('["a", "b"]', ("a", "b")),
        ("a, b, c", ("a", "b", "c")),
        ("{0: __import__('os')}", None),
        ("no names", None),
        ("(" * 5000, None),
    ],
)
def test_names_in_metadata(text: str, names: tuple[str, ...] | None) -> None:
    assert names_in_metadata(text) == names


def test_wnids_of_imagenet_in_part(tmp_path: Path) -> None:
    data = folders(tmp_path, "n01440764", "n15075141", "n02099712")
    assert classes(data, num_classes=1000) == {"n01440764": 0, "n02099712": 208, "n15075141": 999}
    assert classes(data, num_classes=1001)["n02099712"] == 209
    assert any("classes of ImageNet" in n for n in open_dataset(data, num_classes=1000).notes)
    with pytest.raises(InputError, match=r"3 classes .*has 999.*--class-names"):
        open_dataset(data, num_classes=999)


def test_one_wnid_that_is_not_there_refuses_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 classes"):
        open_dataset(folders(tmp_path, "n01440764", "n00000001"), num_classes=1000)


def test_a_part_of_named_classes(tmp_path: Path) -> None:
    names = ["scratch", "dent", "hole", "rust"]
    data = folders(tmp_path, "Hole", "dent")
    assert classes(data, class_names=names, num_classes=4) == {"Hole": 2, "dent": 1}
    with pytest.raises(InputError, match=r"no class 'bump' .it has 'scratch'"):
        open_dataset(folders(tmp_path, "bump"), class_names=names, num_classes=4)


def test_a_part_of_numbered_names(tmp_path: Path) -> None:
    data = folders(tmp_path, "class_00", "class_11", "class_02")
    assert classes(data, num_classes=12) == {"class_00": 0, "class_02": 2, "class_11": 11}
    assert open_dataset(data, num_classes=12).doubt is None
