"""Tables of images with several labels: each reading, and each pair that can be confused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from equiaudit.data import class_folders_in, open_label_sets
from equiaudit.data.geometry import Geometry
from equiaudit.data.truth import Frame
from equiaudit.errors import InputError

NAMES = ("scratch", "oil stain", "rust")
WANTED = {"a.png": {0, 2}, "b.png": set(), "c.png": {1}, "d.png": {0, 1}}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    for file in WANTED:
        Image.new("RGB", (4, 4)).save(tmp_path / "data" / file)
    return tmp_path / "data"


def opened(folder, text, names=NAMES, ending="csv", **settings):
    table = folder.parent / f"labels.{ending}"
    table.write_text(text)
    how = {"class_names": names, "num_classes": 3, "limit": None, "seed": 0} | settings
    return open_label_sets(folder, labels=table, **how)


def sets_of(dataset):
    found = {}
    for item in dataset.items:
        truth = dataset.truth.read(item, Geometry((4, 4)), Frame((4, 4)))
        found[item.file] = set(np.flatnonzero(truth.values).tolist())
    return found


@pytest.mark.parametrize(
    "text",
    [
        "file,labels\na.png,scratch|rust\nb.png,\nc.png,oil stain\nd.png,oil stain|scratch\n",
        "file,labels\na.png,scratch;rust\nb.png,\nc.png,Oil_Stain\nd.png,oil stain; scratch\n",
        'file,tags\na.png,"scratch, rust"\nb.png,\nc.png,oil stain\nd.png,"oil stain,scratch"\n',
        "image;label\na;0 2\nb;\nc;1\nd;1 0\n",
        "a.png 0 2\nc.png 1\nd.png 1 0\n",
        "file,scratch,oil stain,rust\na.png,1,0,1\nb.png,0,0,0\nc.png,0,1,0\nd.png,1,1,0\n",
        "file,rust,scratch,oil-stain\na.png,1,1,0\nb.png,0,0,0\nc.png,0.0,0,1.0\nd.png,0,1,1\n",
        "image,0,1,2\na.png,1,0,1\nb.png,0,0,0\nc.png,0,1,0\nd.png,1,1,0\n",
        "file,label\na.png,scratch\na.png,rust\nc.png,oil stain\nd.png,scratch\nd.png,oil stain\n",
    ],
)
def test_every_way_to_write_it_comes_to_the_same(folder, text):
    dataset = opened(folder, text)
    found = sets_of(dataset)
    assert found == {file: own for file, own in WANTED.items() if file in found}
    assert len(found) == (4 if "b" in text.replace("label", "") else 3)
    assert dataset.labelled
    assert "images labelled" in dataset.notes[0]


def test_json_lines_hold_lists(folder):
    text = (
        '{"file_name": "a.png", "labels": ["scratch", "rust"]}\n'
        '{"file_name": "b.png", "labels": []}\n{"file_name": "c.png", "labels": ["oil stain"]}\n'
    )
    assert sets_of(opened(folder, text, ending="jsonl")) == {
        file: own for file, own in WANTED.items() if file != "d.png"
    }


def test_columns_without_names_are_in_the_order_of_outputs(folder):
    text = "file,u,v,w\na.png,1,0,1\nb.png,0,0,0\nc.png,0,1,0\nd.png,1,1,0\n"
    dataset = opened(folder, text, names=())
    assert sets_of(dataset) == WANTED
    assert "in the order of the model's outputs" in dataset.notes[0]


@pytest.mark.parametrize(
    ("text", "names", "match"),
    [
        ("file,u,v,w\na.png,1,0,1\n", NAMES, "none of the model's 3 classes"),
        ("file,x,y,z\na.png,1,0,1\n", (), "The column y of"),
        ("file,scratch,rust\na.png,1,0\n", NAMES, "there is none for oil stain"),
        ("file,scratch,oil stain,rust\na.png,1,-1,0\n", NAMES, "'-1' in the column oil stain"),
        ("file,scratch,oil stain,rust\na.png,1,,0\n", NAMES, "'' in the column oil stain"),
        ("file,labels\na.png,scratch|dust\n", NAMES, "'scratch|dust', which are not"),
        ("file,labels\na.png,0|3\n", NAMES, "'0|3', which are not"),
        ("file,labels\na.png,scratch|rust\n", (), "which are not indices of classes"),
        ("file,labels\na.png,scratch|rust\nb.png,rust;scratch\n", NAMES, "No one sign stands"),
        ("file,labels\na.png,a b\nb.png,a\n", ("a", "b", "a b"), "can be read as"),
        ("file,labels\na.png,1\nb.png,2\n", ("2", "1", "0"), "can be read as"),
        ("file,labels\na.png,0|1\na.png,2\n", NAMES, "two rows for 'a.png' that differ"),
        ("file,labels\nz.png,0|1\n", NAMES, "None of the 1 files"),
    ],
)
def test_what_is_not_certain_is_refused(folder, text, names, match):
    import re

    with pytest.raises(InputError, match=re.escape(match)):
        opened(folder, text, names=names)


def test_images_without_a_row_are_left_out_before_the_limit(folder):
    text = "file,labels\na.png,0\nc.png,1|2\n"
    dataset = opened(folder, text, limit=2)
    assert [item.file for item in dataset.items] == ["a.png", "c.png"]
    assert any("2 images have no row" in note for note in dataset.notes)
    other = opened(folder, "file,labels\na.png,0\nc.png,1\n", limit=2)
    assert other.listing_sha256 != dataset.listing_sha256
    assert "counted from 0" not in other.notes[0]
    from_one = opened(folder, "file,labels\na.png,1|2\nc.png,1\n")
    assert "counted from 0, which no image has" in from_one.notes[0]
    assert "--task classification can take the likeliest" in other.notes[0]


def test_without_a_table_nothing_is_known(folder):
    dataset = open_label_sets(
        folder, labels=None, class_names=NAMES, num_classes=3, limit=None, seed=0
    )
    assert not dataset.labelled
    assert dataset.truth is None
    assert len(dataset) == 4


def test_class_folders_are_seen(folder, tmp_path):
    assert class_folders_in(folder) == ""
    for name in ("cat", "dog"):
        (tmp_path / "more" / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "more" / name / "1.png")
    assert class_folders_in(tmp_path / "more") == "cat, dog"
