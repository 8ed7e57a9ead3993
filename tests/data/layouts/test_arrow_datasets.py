"""Folders of the `datasets` library, written as its documentation and its files have them."""

import io
import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from equiaudit.data import Decoded, Geometry, MaskReader, decode, open_dataset, open_dense_dataset
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
