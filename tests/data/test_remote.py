"""Images behind a URL are those of the folder that it leads to."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from equiaudit.data import (
    Decoded,
    Geometry,
    MaskReader,
    decode,
    has_masks,
    has_targets,
    is_lost,
    open_dataset,
    open_dense_dataset,
    place_of,
    remote,
    without_secrets,
)
from equiaudit.data.decoding import check_size
from equiaudit.data.prefetch import check_sizes, decode_ahead
from equiaudit.data.remote import RemotePath
from equiaudit.data.sequences import open_sequences
from equiaudit.errors import InputError, RunError
from equiaudit.results import Skipped

pytest.importorskip("fsspec", reason="URLs are read by fsspec, the extra `remote`")
from shaky import Shaky, install, upload

SECRET = "shaky://me:hunter2@host/images?X-Signature=abc"


@pytest.fixture(autouse=True)
def _shaky(monkeypatch):
    install()
    monkeypatch.setattr(remote, "_PAUSES", (0.0, 0.0, 0.0))


def write(folder: Path, *names: str, size: tuple[int, int] = (12, 10)) -> Path:
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(path, "PNG")
    return folder


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    folder = write(
        tmp_path / "photos", "b/2.png", "a/1.png", "a/B.png", "a/deep/x y.png", "ä/3.png"
    )
    write(folder, "ä/3.png", ".hidden/4.png", "a/.5.png", "__MACOSX/6.png")
    (folder / "empty").mkdir()
    (folder / "a" / "notes.txt").write_text("no image")
    return folder


def urls(folder: Path) -> list[str]:
    return [f"file://{folder}", upload(folder, "shaky://bucket/photos"), "shaky://bucket/photos/"]


def facts(dataset):
    items = [(i.file, i.label, i.index, str(i.truth is not None)) for i in dataset.items]
    notes = [note.partition(" is not read")[2] or note for note in dataset.notes]
    return items, dict(dataset.class_names), dataset.listing_sha256, notes, dataset.labelled


def pixels_of(dataset, size=(8, 8), truth=None):
    found = [decode(item, Geometry(size), truth) for item in dataset.items]
    return [
        (d.pixels.tobytes(), d.sha256, None if d.truth is None else d.truth.values.tobytes())
        for d in found
    ]


@pytest.mark.parametrize("limit", [None, 3])
def test_a_url_opens_as_its_folder_does(classes: Path, limit: int | None) -> None:
    local = open_dataset(classes, limit=limit, seed=2)
    assert local.class_names == {0: "a", 1: "b", 2: "empty", 3: "ä"}
    for url in urls(classes):
        remote_one = open_dataset(url, limit=limit, seed=2)
        assert facts(remote_one) == facts(local)
        assert pixels_of(remote_one) == pixels_of(local)


@pytest.mark.parametrize("below", ["", "/images"])
@pytest.mark.parametrize("table_is_remote", [False, True])
def test_labels_beside_the_images(tmp_path: Path, below: str, table_is_remote: bool) -> None:
    write(tmp_path / "d", "images/a.png", "images/sub/b.png")
    table = tmp_path / "d" / "labels.csv"
    table.write_text("\ufefffile,label\nimages/a.png,1\nimages/sub/b.png,0\n")
    local = open_dataset(tmp_path / "d", labels=table)
    for url in urls(tmp_path / "d"):
        labels = f"{url.rstrip('/')}/labels.csv" if table_is_remote else table
        assert facts(open_dataset(url.rstrip("/") + below, labels=labels)) == facts(local)


def test_a_table_that_is_not_read_is_noted(tmp_path: Path) -> None:
    write(tmp_path / "d", "images/a.png")
    (tmp_path / "d" / "labels.csv").write_text("file,label\n")
    (note,) = open_dataset(upload(tmp_path / "d", "shaky://u:p@b/d")).notes
    assert note == "shaky://b/d/labels.csv is not read; --labels does that."


@pytest.mark.parametrize("layout", [("images", "masks"), ("JPEGImages", "SegmentationClass")])
def test_masks_beside_the_images(tmp_path: Path, layout: tuple[str, str]) -> None:
    folder = write(tmp_path / "d", *(f"{layout[0]}/{name}.png" for name in "abc"))
    for i, name in enumerate("abc"):
        mask = np.full((12, 10), i % 2, np.uint8)
        (folder / layout[1]).mkdir(exist_ok=True)
        Image.fromarray(mask).save(folder / layout[1] / f"{name}.png")
    if layout[0] == "JPEGImages":
        (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
        (folder / "ImageSets" / "Segmentation" / "val.txt").write_text("a\nc\n")
    reader = MaskReader(2)
    local = open_dense_dataset(folder, "segmentation", reader)
    for url in urls(folder):
        place = place_of(url)
        assert has_masks(place)
        assert not has_targets(place)
        dataset = open_dense_dataset(place, "segmentation", reader)
        assert facts(dataset) == facts(local)
        assert pixels_of(dataset, truth=reader) == pixels_of(local, truth=reader)
        check_sizes(dataset.items, Geometry((8, 8)), reader, workers=2)


def test_sequences_open_as_in_their_folder(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", "images/a.png", "masks/a.png")
    local = open_sequences(folder)
    for url in urls(folder):
        found = open_sequences(url)
        assert found.listing_sha256 == local.listing_sha256
        assert [s.name for s in found.items] == [s.name for s in local.items]


def test_a_folder_is_listed_once_and_the_listing_is_let_go(tmp_path: Path) -> None:
    write(tmp_path / "d", "images/a.png", "masks/a.png")
    place = place_of(upload(tmp_path / "d", "shaky://b/d"))
    listed = []
    Shaky.fault = staticmethod(listed.append)
    assert has_masks(place)
    dataset = open_dense_dataset(place, "segmentation", MaskReader(2))
    assert listed == ["/b/d", "/b/d/masks/a.png"]  # The mask is looked at, once.
    assert b"a.png" not in pickle.dumps(place)
    assert pickle.loads(pickle.dumps(dataset.items[0].path)).read(9)[1:4] == b"PNG"


def test_what_is_not_there_or_no_folder_is_said(tmp_path: Path) -> None:
    upload(write(tmp_path / "d", "a.png"), "shaky://b/d")
    with pytest.raises(InputError, match="There is no folder shaky://b/nothing"):
        open_dataset("shaky://b/nothing")
    with pytest.raises(InputError, match=r"shaky://b/d/a\.png is not a folder"):
        open_dataset("shaky://b/d/a.png")
    (tmp_path / "e" / "f").mkdir(parents=True)
    empty = upload(tmp_path / "e", "shaky://b/e")
    with pytest.raises(InputError, match="There are no images in shaky://b"):
        open_dataset(empty)
    with pytest.raises(InputError, match=r"no labels file at shaky://b/none\.csv"):
        open_dataset("shaky://b/d", labels="shaky://b/none.csv")


def test_a_missing_driver_or_package_is_named(monkeypatch) -> None:
    import fsspec

    fsspec.register_implementation("absent", "no_such_package.X", errtxt="Install absentfs")
    monkeypatch.setitem(remote._DRIVERS, "absent", "absentfs")
    with pytest.raises(InputError, match=r"pip install absentfs") as caught:
        open_dataset("absent://me:hunter2@b/d?token=abc")
    assert_no_secret(str(caught.value))
    with pytest.raises(InputError, match="Protocol not known"):
        open_dataset("nosuchscheme://b/d")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(InputError, match=r'pip install "equiaudit\[remote\]"'):
        open_dataset("s3://b/d")


def assert_no_secret(text: str) -> None:
    for secret in ("me:", "hunter2", "X-Signature", "abc", "?"):
        assert secret not in text


def unreachable(path: str) -> None:
    raise ConnectionError(f"no route to shaky://me:hunter2@host{path}?X-Signature=abc")


def test_a_host_that_cannot_be_reached_is_asked_four_times_and_then_named(tmp_path: Path) -> None:
    upload(write(tmp_path / "d", "a.png"), SECRET)
    (item,) = open_dataset(SECRET).items
    Shaky.fault = staticmethod(unreachable)
    for work in (
        lambda: decode(item, Geometry((8, 8))),
        lambda: check_size(item, Geometry((8, 8))),
        lambda: list(decode_ahead([item], Geometry((8, 8)), workers=2, ahead=2)),
    ):
        Shaky.opened = []
        with pytest.raises(RunError, match="shaky://host/images cannot be reached: no") as caught:
            work()
        assert len(Shaky.opened) == 4
        assert_no_secret(str(caught.value))
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
    with pytest.raises(RunError, match="cannot be reached") as caught:
        open_dataset(SECRET)
    assert_no_secret(str(caught.value))
    assert is_lost(place_of(SECRET))


def test_a_network_that_comes_back_costs_nothing(tmp_path: Path) -> None:
    local = open_dataset(write(tmp_path / "d", "a.png", "b.png"))
    dataset = open_dataset(upload(tmp_path / "d", "shaky://b/d"))

    def twice(path: str) -> None:
        if Shaky.opened.count(path) < 3:
            raise TimeoutError("timed out")

    Shaky.fault = staticmethod(twice)
    assert pixels_of(dataset) == pixels_of(local)
    assert len(Shaky.opened) == 6


@pytest.mark.parametrize("fault", [FileNotFoundError, PermissionError])
def test_a_file_that_is_gone_or_forbidden_is_left_out_at_once(tmp_path: Path, fault) -> None:
    dataset = open_dataset(upload(write(tmp_path / "d", "a.png", "b.png"), SECRET))

    def own(path: str) -> None:
        if path.endswith("a.png"):
            raise fault(f"shaky://me:hunter2@host{path}?X-Signature=abc: refused")

    Shaky.fault = staticmethod(own)
    a, b = (decode(item, Geometry((8, 8))) for item in dataset.items)
    assert isinstance(a, Skipped)
    assert isinstance(b, Decoded)
    assert_no_secret(a.reason)
    assert len(Shaky.opened) == 2
    assert not is_lost(dataset.root)


def test_a_folder_that_is_gone_is_lost(tmp_path: Path) -> None:
    dataset = open_dataset(upload(write(tmp_path / "d", "a.png"), "shaky://b/d"))
    assert not is_lost(dataset.root)
    install()
    assert is_lost(dataset.root)


def test_no_more_is_read_than_a_file_may_have(tmp_path: Path, monkeypatch) -> None:
    from equiaudit.data import decoding

    dataset = open_dataset(upload(write(tmp_path / "d", "a.png"), "shaky://b/d"))
    monkeypatch.setattr(decoding, "_MAX_FILE_BYTES", 100)
    found = decode(dataset.items[0], Geometry((8, 8)))
    assert isinstance(found, Skipped)
    assert "larger than" in found.reason
    assert Shaky.asked == [101]


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    dataset = open_dataset(upload(write(tmp_path / "d", "a.png"), "shaky://b/d"))
    found = decode(dataset.items[0], Geometry((8, 8), max_pixels=64))
    assert isinstance(found, Skipped)
    assert "more than the 64 allowed" in found.reason


def test_a_header_takes_the_beginning_of_a_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", "big.png", size=(400, 400))
    Image.new("RGB", (9, 7)).save(folder / "late.tiff")  # its header lies behind the pixels
    big, late = open_dataset(upload(folder, "shaky://b/d")).items
    check_size(late, Geometry((7, 9)))
    assert Shaky.asked == [1 << 18]
    with pytest.raises(InputError, match="400x400"):
        check_size(big, Geometry((401, 401)))


def test_names_that_climb_or_hide_are_not_listed(monkeypatch) -> None:
    def found(self, path, **how):
        names = ("../../x.png", "a/../../y.png", "a//z.png", ".h/i.png", "ok.png")
        return {f"{path}/{name}": {"type": "file", "size": None} for name in names}

    monkeypatch.setattr(Shaky, "find", found)
    assert [item.file for item in open_dataset("shaky://b/d").items] == ["ok.png"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://bucket/a b.png", "s3://bucket/a"),
        ("https://me:pw@host:80/d?sig=x&y#z", "https://host:80/d"),
        ("hf://datasets/me/photos@main/d", "hf://datasets/me/photos@main/d"),
        ("zip::https://me:p@w@host/a.zip?q", "zip::https://host/a.zip"),
        ("cannot open 'ftp://me@host/x?y' now", "cannot open 'ftp://host/x' now"),
        ("a@b, who? nothing", "a@b, who? nothing"),
    ],
)
def test_secrets_are_taken_out(text: str, shown: str) -> None:
    assert without_secrets(text).startswith(shown)
    assert "pw" not in without_secrets(text)
    assert "sig" not in without_secrets(text)


def test_nothing_that_shows_a_place_shows_its_secrets() -> None:
    place = RemotePath.of(SECRET) / "a" / "b?c.png"
    for text in (str(place), repr(place), f"{place}", str(place.parent)):
        assert "hunter2" not in text
        assert "Signature" not in text
    assert str(place) == "shaky://host/images/a/b?c.png"  # of a file's name nothing is taken


@pytest.mark.parametrize("text", ["a::b", "C:\\x", "photos", "s3:/b", "/a://b", ""])
def test_paths_are_no_urls(text: str) -> None:
    assert place_of(text) == Path(text)
