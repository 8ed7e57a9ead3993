import os
from pathlib import Path

import cases
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from equiaudit.data import Dataset, Geometry, decode, open_dataset
from equiaudit.errors import InputError
from equiaudit.results import Skipped


def touch(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(file.encode())
    return root


def table(path: Path, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(("file,label", *rows)))
    return path


def labels(dataset: Dataset) -> dict[str, int | None]:
    return {item.file: item.label for item in dataset.items}


def test_flat_folder_is_unlabelled_and_in_byte_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "B.JPG", "a.webp", "a-1.tiff", "ä.bmp", "c.jpeg", "d.tif", "n.txt")
    touch(tmp_path, ".hidden.png", ".cache/x.png", "__MACOSX/y.png")
    dataset = open_dataset(tmp_path)
    expected = ["B.JPG", "a-1.tiff", "a.webp", "b.png", "c.jpeg", "d.tif", "ä.bmp"]
    assert [item.file for item in dataset.items] == expected
    assert [item.index for item in dataset.items] == list(range(7))
    assert all(item.path == tmp_path / item.file for item in dataset.items)
    assert not dataset.labelled
    assert dataset.class_names == {}


def test_class_folders_count_from_zero_in_sorted_order(tmp_path: Path) -> None:
    touch(tmp_path, "dog/1.png", "cat/1.png", "cat/deep/2.png", "yak/1.png")
    dataset = open_dataset(tmp_path, num_classes=3)
    expected = {"cat/1.png": 0, "cat/deep/2.png": 0, "dog/1.png": 1, "yak/1.png": 2}
    assert labels(dataset) == expected
    assert dataset.class_names == {0: "cat", 1: "dog", 2: "yak"}
    assert dataset.labelled
    assert any("sorted order" in note for note in dataset.notes)


def test_an_empty_class_folder_still_counts(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "c/1.png")
    (tmp_path / "b").mkdir()
    dataset = open_dataset(tmp_path, num_classes=3)
    assert labels(dataset) == {"a/1.png": 0, "c/1.png": 2}
    assert any("'b'" in note for note in dataset.notes)


def test_folders_are_matched_with_the_models_names(tmp_path: Path) -> None:
    touch(tmp_path, "tabby_cat/1.png", "Airliner/1.png")
    names = ["zebra", "tabby cat", "airliner"]
    dataset = open_dataset(tmp_path, class_names=names, num_classes=3)
    assert labels(dataset) == {"Airliner/1.png": 2, "tabby_cat/1.png": 1}
    assert dataset.class_names == {0: "zebra", 1: "tabby cat", 2: "airliner"}


def test_a_name_of_two_classes_matches_neither(tmp_path: Path) -> None:
    touch(tmp_path, "crane/1.png")
    with pytest.raises(InputError, match="--labels"):
        open_dataset(tmp_path, class_names=["crane", "crane"], num_classes=2)


def test_integer_folders_are_the_indices(tmp_path: Path) -> None:
    touch(tmp_path, "7/1.png", "10/1.png", "002/1.png")
    dataset = open_dataset(tmp_path, num_classes=11)
    assert labels(dataset) == {"002/1.png": 2, "10/1.png": 10, "7/1.png": 7}
    with pytest.raises(InputError, match=r"class '10'.*0 to 8"):
        open_dataset(tmp_path, num_classes=9)


def test_a_wrong_number_of_classes_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.png", "dog/1.png")
    with pytest.raises(InputError, match=r"2 classes.*has 1000.*--labels FILE.csv"):
        open_dataset(tmp_path, num_classes=1000)


def test_unlike_names_of_the_right_number_are_noted(tmp_path: Path) -> None:
    touch(tmp_path, "n01/1.png", "n02/1.png")
    dataset = open_dataset(tmp_path, class_names=["tench", "ray"], num_classes=2)
    assert labels(dataset) == {"n01/1.png": 0, "n02/1.png": 1}
    assert any("do not bear the names" in note for note in dataset.notes)


def test_images_beside_class_folders_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.png", "2.png")
    with pytest.raises(InputError, match="neither"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("row", ["{}", "images/{}"])
@pytest.mark.parametrize("root", ["", "images"])
@pytest.mark.parametrize("where", ["labels.csv", "images/labels.csv", "../elsewhere/labels.csv"])
def test_csv_rows_are_found_from_either_root(
    tmp_path: Path, row: str, root: str, where: str
) -> None:
    data = touch(tmp_path / "data", "images/a.png", "images/sub/b.png", "weights/w.bin")
    rows = [f"{row.format('a.png')},1", f"{row.format('sub/b.png')},0"]
    path = table(data / where, *rows)
    dataset = open_dataset(data / root, labels=path, num_classes=2)
    assert labels(dataset) == {"a.png": 1, "sub/b.png": 0}
    assert dataset.root == data / "images"


def test_csv_class_names(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.png")
    path = table(tmp_path / "l.csv", "a.png,ray", "b.png,tench")
    with_names = open_dataset(tmp_path, labels=path, class_names=["tench", "x", "ray"])
    assert labels(with_names) == {"a.png": 2, "b.png": 0}
    assert labels(open_dataset(tmp_path, labels=path)) == {"a.png": 0, "b.png": 1}
    with pytest.raises(InputError, match="2 classes"):
        open_dataset(tmp_path, labels=path, num_classes=5)


def test_csv_wins_over_folders_and_keeps_extra_columns_aside(tmp_path: Path) -> None:
    touch(tmp_path, "cat/a.png", "dog/b.png", "c.png")
    path = tmp_path / "l.csv"
    path.write_text("\ufefflabel,wnid,file\r\n3,n1,cat/a.png\r\n4,n2,dog\\b.png\r\n5,n3,c.png\r\n")
    assert labels(open_dataset(tmp_path, labels=path)) == {
        "c.png": 5,
        "cat/a.png": 3,
        "dog/b.png": 4,
    }


def test_csv_leftovers_are_noted_and_keep_the_index(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.png", "c.png")
    path = table(tmp_path / "l.csv", "c.png,1", "gone.png,1", "../../etc/passwd,0")
    dataset = open_dataset(tmp_path, labels=path)
    assert [(item.file, item.index) for item in dataset.items] == [("c.png", 2)]
    assert any("2 rows" in note and "gone.png" in note for note in dataset.notes)
    assert any("2 images" in note and "'a.png', 'b.png'" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no columns .* it is empty"),
        ("who,label,when\na.png,1,2", "no column file; its first line is 'who, label, when'"),
        ("file,label\na.png,", "Line 2 .* lacks"),
        ("file,label\na.png", "Line 2 .* lacks"),
        ("file,label\nz.png,1", "None of the 1 files"),
        ("file,label", "None of the 0 files"),
        ("file,label\na.png,1\na.png,2", "twice: '1' in line 2 and '2' in line 3"),
        ("file,label\na.png,9", "class '9'"),
        ("file,label\na.png,-1", "Line 2 .* labels 'a.png' with -1, .*Take out the rows"),
        ("file,label\na.png,1.5", "Line 2 .* labels 'a.png' with 1.5, .*count from 0"),
    ],
)
def test_bad_csv(tmp_path: Path, text: str, message: str) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        open_dataset(tmp_path, labels=tmp_path / "l.csv", num_classes=3)


def test_csv_that_cannot_be_read(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    with pytest.raises(InputError, match="no labels file"):
        open_dataset(tmp_path, labels=tmp_path / "none.csv")
    (tmp_path / "l.csv").write_bytes(b"file,label\n\xff\xfe\x00,1")
    with pytest.raises(InputError, match="cannot be read"):
        open_dataset(tmp_path, labels=tmp_path / "l.csv")


def test_a_table_that_is_not_read_is_noted(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "masks/a.png", "labels.csv")
    dataset = open_dataset(tmp_path)
    assert [item.file for item in dataset.items] == ["a.png"]
    assert any("labels.csv is not read" in note for note in dataset.notes)


def test_nothing_to_open(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        open_dataset(tmp_path / "none")
    with pytest.raises(InputError, match="no images"):
        open_dataset(tmp_path)
    touch(tmp_path, "a.txt", "sub/b.npz")
    with pytest.raises(InputError, match="no images"):
        open_dataset(tmp_path)
    with pytest.raises(InputError, match="not a folder"):
        open_dataset(tmp_path / "a.txt")
    with pytest.raises(InputError, match="limit"):
        open_dataset(tmp_path, limit=0)


def test_links_loops_pipes_and_odd_names(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "<b>\n\x1b[31m.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "selfdir").symlink_to("selfdir")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(b"x")
    touch(tmp_path, "\U0001f600.png")  # F0 in bytes, and as a character after any odd byte
    dataset = open_dataset(tmp_path)
    names = [item.file for item in dataset.items]
    first = ["<b>\n\x1b[31m.png", "a.png", "gone.png", "self.png"]
    assert names == [*first, "\U0001f600.png", "\\xff.png"]
    for item in dataset.items:
        assert isinstance(decode(item, Geometry((1, 1))), Skipped)
        item.file.encode("utf-8")


def test_two_folders_that_hold_each_other_end(tmp_path: Path) -> None:
    touch(tmp_path, "x/1.png", "y/2.png")
    (tmp_path / "x" / "y").symlink_to(tmp_path / "y")
    (tmp_path / "y" / "x").symlink_to(tmp_path / "x")
    assert len(open_dataset(tmp_path)) == 2


@pytest.fixture(scope="module")
def hundred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = [f"{c}/{i:02}.png" for c in "abcd" for i in range(25)]
    return touch(tmp_path_factory.mktemp("hundred"), *names)


@given(seed=st.integers(0, 10**6), limit=st.integers(1, 120), more=st.integers(0, 40))
def test_limit_is_a_nested_sorted_subset(hundred: Path, seed: int, limit: int, more: int) -> None:
    full = {item.file: item for item in open_dataset(hundred).items}
    few = open_dataset(hundred, limit=limit, seed=seed).items
    many = open_dataset(hundred, limit=limit + more, seed=seed).items
    assert len(few) == min(limit, 100)
    assert set(few) <= set(many)
    assert all(full[item.file] == item for item in few)
    assert list(few) == sorted(few, key=lambda item: item.index)


def test_limit_spreads_over_the_whole(hundred: Path) -> None:
    counts = np.zeros(100)
    for seed in range(300):
        counts[[item.index for item in open_dataset(hundred, limit=20, seed=seed).items]] += 1
    # Binomial(300, 0.2): 60 +- 7 each
    assert counts.min() > 30
    assert counts.max() < 92
    drawn = {open_dataset(hundred, limit=20, seed=seed).items for seed in range(5)}
    assert len(drawn) == 5


def test_listing_hash_sees_names_sizes_and_labels(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.png")
    path = table(tmp_path / "l.csv", "a.png,1", "b.png,0")
    first = open_dataset(tmp_path).listing_sha256
    assert open_dataset(tmp_path).listing_sha256 == first
    assert open_dataset(tmp_path, labels=path).listing_sha256 != first
    assert open_dataset(tmp_path, limit=1).listing_sha256 != first
    (tmp_path / "a.png").write_bytes(b"longer than before")
    longer = open_dataset(tmp_path).listing_sha256
    assert longer != first
    (tmp_path / "a.png").rename(tmp_path / "c.png")
    assert open_dataset(tmp_path).listing_sha256 not in (first, longer)


def test_a_folder_that_may_not_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match="cannot be listed: Permission denied"):
        open_dataset(tmp_path)


def test_photos_with_a_table() -> None:
    folder = cases.path("imagenet")
    path = folder / "labels.csv"
    from_images = open_dataset(folder / "images", labels=path, num_classes=1000)
    assert len(from_images) == 200
    read = "200 of 200 images labelled from columns file, label of labels.csv."
    assert from_images.notes == (read,)
    assert open_dataset(folder, labels=path, num_classes=1000) == from_images
    item = next(i for i in from_images.items if i.file == "n01496331_electric_ray.jpg")
    assert item.label == 5
    pixels = decode(item, Geometry((224, 224), margin=16)).pixels
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(item.path).convert("RGB")))
