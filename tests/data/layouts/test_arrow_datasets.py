"""Folders of the `datasets` library, written as its documentation and its files have them."""

import io
import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from equiaudit.data import (
    Decoded,
    Geometry,
    MaskReader,
    class_folders_in,
    decode,
    open_dataset,
    open_dense_dataset,
    open_label_sets,
)
from equiaudit.data.items import Item
from equiaudit.data.places import folder_of
from equiaudit.errors import InputError
from equiaudit.results import Skipped

pa = pytest.importorskip("pyarrow")
NAMES = ["zebra", "cat", "ape"]
LABELS = [0, 1, 2, 0, 1, 2, 0, 1]
FEATURES = {"image": {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}}


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def cells(values: Sequence[int]) -> list[dict[str, object]]:
    return [{"bytes": png(np.full((9, 9, 3), v, np.uint8)), "path": None} for v in values]


def table(start: int, features: dict[str, object] | None = None, **columns: object):
    columns = {"image": cells(range(start, start + 8)), "label": LABELS} | columns
    stated = json.dumps({"info": {"features": FEATURES if features is None else features}})
    return pa.table(columns).replace_schema_metadata({"huggingface": stated})


def to_stream(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as out, pa.ipc.new_stream(out, content.schema) as stream:
        stream.write_table(content, max_chunksize=3)


def to_parquet(path: Path, content: object) -> None:
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(content, path, row_group_size=3)


def saved(root: Path) -> None:
    """save_to_disk of a DatasetDict."""
    root.mkdir()
    (root / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    for start, split in enumerate(("train", "test")):
        to_stream(root / split / "data-00000-of-00001.arrow", table(100 * start))
        (root / split / "state.json").write_text("{}")
        (root / split / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))


def shards(root: Path) -> None:
    """A repository of the hub."""
    (root / "data").mkdir(parents=True)
    (root / "README.md").write_text("---\n")
    for start, split in enumerate(("train", "test")):
        to_parquet(root / "data" / f"{split}-00000-of-00001.parquet", table(100 * start))


def cached(root: Path) -> None:
    """That in the hub's cache."""
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("0a1b")
    shards(root / "snapshots" / "0a1b")


def value(item: Item) -> int:
    image = decode(item, Geometry((9, 9)))
    assert isinstance(image, Decoded)
    return int(image.pixels[0, 0, 0])


@pytest.mark.parametrize("write", [saved, shards, cached])
def test_splits_rows_and_classes(write, tmp_path: Path) -> None:
    write(tmp_path / "d")
    data = open_dataset(tmp_path / "d", num_classes=3)
    assert data.layout == "datasets"
    assert [item.label for item in data.items] == LABELS
    assert [value(item) for item in data.items] == list(range(100, 108))
    assert data.class_names == dict(enumerate(NAMES))
    train = open_dataset(tmp_path / "d", num_classes=3, split="train")
    assert [value(item) for item in train.items] == list(range(8))


def test_the_model_has_the_classes_in_another_order(tmp_path: Path) -> None:
    """Names decide, where the model has them; the order of the feature where it has none."""
    shards(tmp_path)
    known = ("ape", "bear", "cat", "zebra")
    data = open_dataset(tmp_path, class_names=known, num_classes=4)
    assert [item.label for item in data.items] == [known.index(NAMES[i]) for i in LABELS]


@pytest.mark.parametrize(
    ("known", "said"),
    [({"num_classes": 4}, "has 3 classes .'zebra', ....*the model has 4"),
     ({"num_classes": 3, "class_names": ("ape", "dog", "zebra")},
      "Class 0 is 'zebra'.*is class 2 of the model")],
)  # fmt: skip
def test_indices_of_other_classes_are_not_taken(known, said: str, tmp_path: Path) -> None:
    shards(tmp_path)
    with pytest.raises(InputError, match=said) as refused:
        open_dataset(tmp_path, **known)
    assert "--class-names" in refused.value.tip


def test_two_columns_of_classes(tmp_path: Path) -> None:
    fine = {"names": ["a", "b"], "_type": "ClassLabel"}
    two = FEATURES | {"fine": fine}
    to_parquet(tmp_path / "test.parquet", table(0, two, fine=[i % 2 for i in range(8)]))
    data = open_dataset(tmp_path, num_classes=2)
    assert [item.label for item in data.items] == [0, 1] * 4
    with pytest.raises(InputError, match=r"in label .3 classes. and in fine .2.*model's 5"):
        open_dataset(tmp_path, num_classes=5)


def test_held_back_labels_and_plain_columns(tmp_path: Path) -> None:
    """-1 is no class; text is a name of one."""
    to_parquet(tmp_path / "a" / "test.parquet", table(0, label=[-1, *LABELS[1:]]))
    assert len(open_dataset(tmp_path / "a", num_classes=3)) == 7
    names = [NAMES[i] for i in LABELS]
    to_parquet(tmp_path / "b" / "test.parquet", table(0, {}, label=names))
    data = open_dataset(tmp_path / "b", class_names=NAMES, num_classes=3)
    assert [item.label for item in data.items] == LABELS


def test_a_second_column_of_images_holds_masks(tmp_path: Path) -> None:
    ids = [np.full((9, 9), i % 3, np.uint8) for i in range(8)]
    masks = [{"bytes": png(one), "path": None} for one in ids]
    both = {"image": {"_type": "Image"}, "annotation": {"_type": "Image"}}
    content = table(0, both, annotation=masks).drop_columns(["label"])
    to_parquet(tmp_path / "data" / "validation-00000-of-00001.parquet", content)
    data = open_dense_dataset(tmp_path, "segmentation", MaskReader(3, offset=0))
    assert data.layout == "datasets"
    read = [decode(item, Geometry((9, 9)), data.truth) for item in data.items]
    assert all(np.array_equal(r.truth.values, i) for r, i in zip(read, ids, strict=True))


def test_images_elsewhere_are_not_followed(tmp_path: Path) -> None:
    """A hostile table may name any file of this machine."""
    paths = [{"bytes": None, "path": "/etc/hostname"}] * 8
    to_parquet(tmp_path / "a" / "test.parquet", table(0, image=paths))
    with pytest.raises(InputError, match="no image in its first row, but a path"):
        open_dataset(tmp_path / "a", num_classes=3)
    later = pa.array([*cells(range(7)), paths[0]])
    to_parquet(tmp_path / "b" / "test.parquet", table(0, image=later))
    last = open_dataset(tmp_path / "b", num_classes=3).items[7]
    assert isinstance(decode(last, Geometry((9, 9))), Skipped)


@pytest.mark.parametrize("ending", [".arrow", ".parquet"])
def test_damaged_shards_are_named(ending: str, tmp_path: Path) -> None:
    whole = tmp_path / f"whole{ending}"
    (to_stream if ending == ".arrow" else to_parquet)(whole, table(0))
    content = whole.read_bytes()
    for cut in (5, len(content) // 2):
        path = tmp_path / f"test-{cut}{ending}"
        path.write_bytes(content[:cut])
        with pytest.raises(InputError, match=f"test-{cut}{ending} cannot be read"):
            open_dataset(path, num_classes=3)


def test_without_pyarrow_it_is_asked_for(tmp_path: Path, monkeypatch) -> None:
    shards(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(InputError, match="pyarrow, which reads those, is not installed") as refused:
        open_dataset(tmp_path, num_classes=3)
    assert "equiaudit[datasets]" in refused.value.tip


def test_tables_of_labels_beside_images_are_no_shards(tmp_path: Path) -> None:
    for name in ("cat/1.png", "dog/2.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(png(np.zeros((9, 9, 3), np.uint8)))
    rows = pa.table({"file": ["cat/1.png", "dog/2.png"], "label": [1, 0]})
    to_parquet(tmp_path / "train.parquet", rows)
    assert open_dataset(tmp_path).layout == "class-folders"
    data = open_dataset(tmp_path, labels=tmp_path / "train.parquet", num_classes=2)
    assert [item.label for item in data.items] == [1, 0]
    (tmp_path / "train.parquet").unlink()
    rows = rows.rename_columns(["file_name", "label"])
    to_parquet(tmp_path / "metadata.parquet", rows)
    found = open_dataset(tmp_path, num_classes=2)
    assert found.layout == "hugging-face"
    assert [item.label for item in found.items] == [1, 0]


def test_rows_travel_by_their_path(tmp_path: Path) -> None:
    shards(tmp_path)
    place = folder_of(tmp_path)
    there = pickle.loads(pickle.dumps(place))
    assert there == place
    name = "data/test-00000-of-00001/000003.png"
    assert (there / name).read(1 << 20) == png(np.full((9, 9, 3), 103, np.uint8))


# Several classes of an image

SETS: list[list[int]] = [[0, 2], [], [1], [2, 1], [0], [0, 1, 2], [], [2]]
HOT = [[int(k in own) for k in range(3)] for own in SETS]
CLASS = {"names": NAMES, "_type": "ClassLabel"}
IMAGE = {"_type": "Image"}


def sets_of(data) -> dict[int, set[int]]:
    """By the value that all pixels of an image have."""
    found = {}
    for item in data.items:
        read = decode(item, Geometry((9, 9)), data.truth)
        found[int(read.pixels[0, 0, 0])] = set(np.flatnonzero(read.truth.values).tolist())
    return found


def opened(root: Path, **how):
    settings = {"labels": None, "class_names": (), "num_classes": 3, "limit": None, "seed": 0}
    return open_label_sets(root, **(settings | how))


def shard(root: Path, labels: object, feature: object = None, start: int = 0, split="test") -> None:
    features = None if feature is None else {"image": IMAGE, "labels": feature}
    content = table(start, features or {}, labels=labels).drop_columns(["label"])
    to_parquet(root / "data" / f"{split}-00000-of-00001.parquet", content)


LISTS = [
    {"feature": CLASS, "_type": "Sequence", "length": -1},
    {"feature": CLASS, "_type": "List"},
    {"feature": CLASS, "_type": "LargeList"},
    [CLASS],
]


@pytest.mark.parametrize("feature", LISTS)
@pytest.mark.parametrize("kind", ["list", "large"])
def test_lists_of_class_label(feature, kind: str, tmp_path: Path) -> None:
    of = pa.list_(pa.int64()) if kind == "list" else pa.large_list(pa.int64())
    shard(tmp_path, pa.array(SETS, of), feature)
    data = opened(tmp_path)
    assert data.layout == "datasets"
    assert data.labelled
    assert sets_of(data) == {i: set(own) for i, own in enumerate(SETS)}
    assert "8 of 8 images labelled, 2 of them without any class, from column labels" in str(
        data.notes
    )


def test_names_of_the_feature_are_matched_with_the_models(tmp_path: Path) -> None:
    shard(tmp_path, SETS, LISTS[0])
    known = ("ape", "bear", "cat", "zebra")
    data = opened(tmp_path, class_names=known, num_classes=4)
    wanted = {i: {known.index(NAMES[k]) for k in own} for i, own in enumerate(SETS)}
    assert sets_of(data) == wanted
    with pytest.raises(InputError, match=r"has 3 classes .'zebra', ....*the model has 4"):
        opened(tmp_path, num_classes=4)


def test_plain_lists(tmp_path: Path) -> None:
    wanted = {i: set(own) for i, own in enumerate(SETS)}
    for name, labels in {
        "indices": SETS,
        "marks": HOT,
        "fixed": pa.array(HOT, pa.list_(pa.int8(), 3)),
        "flags": [[bool(k) for k in own] for own in HOT],
        "names": [[NAMES[k] for k in own] for own in SETS],
    }.items():
        shard(tmp_path / name, labels)
        names = NAMES if name == "names" else ()
        if name == "flags":  # of a type that no column of labels has
            assert not opened(tmp_path / name).labelled
        else:
            assert sets_of(opened(tmp_path / name, class_names=names)) == wanted, name


def test_lists_with_two_readings_are_refused(tmp_path: Path) -> None:
    shard(tmp_path / "a", [[0, 1], [1, 0]] * 4)
    with pytest.raises(InputError, match="may be class indices, or hold a 0 or 1") as refused:
        opened(tmp_path / "a", num_classes=2)
    assert "ClassLabel" in refused.value.tip
    shard(tmp_path / "b", [[0, 1], [1, 1]] * 4)  # no index is twice in a list
    assert sets_of(opened(tmp_path / "b", num_classes=2)) == {
        i: {1} if i % 2 == 0 else {0, 1} for i in range(8)
    }
    shard(tmp_path / "c", [[0, 1], [1, 0]] * 4, {"feature": CLASS, "_type": "List"})
    assert sets_of(opened(tmp_path / "c")) == {i: {0, 1} for i in range(8)}
    shard(tmp_path / "d", [[0, 3]] * 8)
    with pytest.raises(InputError, match=r"have '3' in labels, as that of .*000000.png"):
        opened(tmp_path / "d")


def test_splits_missing_cells_and_one_class_each(tmp_path: Path) -> None:
    for start, split in enumerate(("train", "test")):
        shard(tmp_path / "a", [None, *SETS[1:]], LISTS[0], 100 * start, split)
    data = opened(tmp_path / "a")
    assert sets_of(data) == {100 + i: set(own) for i, own in enumerate(SETS) if i}
    assert min(sets_of(opened(tmp_path / "a", split="train"))) == 1
    assert class_folders_in(tmp_path / "a") == ""
    to_stream(tmp_path / "b" / "data-00000-of-00001.arrow", table(0))
    one = opened(tmp_path / "b")
    assert [len(own) for own in sets_of(one).values()] == [1] * 8
    assert "one class each" in str(one.notes)


def test_of_a_classifier_they_are_no_labels(tmp_path: Path) -> None:
    shard(tmp_path, SETS, LISTS[0])
    data = open_dataset(tmp_path, num_classes=3)
    assert not data.labelled
    assert "--task multilabel" in str(data.notes)


def test_folders_have_no_splits(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match="alone have splits"):
        opened(tmp_path, split="test")
