"""Data sets in archives and shards equal the same files in a folder."""

import gzip
import io
import json
import lzma
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from equiaudit.data import Decoded, Geometry, decode_ahead, open_dataset
from equiaudit.data.places import folder_of
from equiaudit.errors import InputError

FILES = {f"{name}/{i}.png": 10 * i + k for k, name in enumerate(("ant", "bee")) for i in range(20)}


def png(value: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((9, 9, 3), value, np.uint8)).save(out, "PNG")
    return out.getvalue()


def tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def seen(data: str | Path) -> dict[str, tuple[int | None, int]]:
    """File -> label and value, by eight threads at once."""
    items = open_dataset(data).items
    images = decode_ahead(items, Geometry((9, 9)), workers=8, ahead=16)
    return {
        image.item.file: (image.item.label, int(image.pixels[0, 0, 0]))
        for image in images
        if isinstance(image, Decoded)
    }


EXPECTED = {name: (int(name.startswith("bee")), value) for name, value in FILES.items()}


@pytest.mark.parametrize("form", ["zip", "zip-url", "tar", "tar-url", "tar-dot"])
def test_class_folders_in_an_archive(tmp_path: Path, form: str) -> None:
    content = {name: png(value) for name, value in FILES.items()}
    if form.startswith("zip"):
        path = tmp_path / "d.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in content.items():
                archive.writestr(name, data)
    else:
        dot = "./" if form == "tar-dot" else ""
        path = tar(tmp_path / "d.tar", {dot + name: data for name, data in content.items()})
    if form.endswith("url"):
        pytest.importorskip("fsspec")
        assert seen(f"{form[:3]}://::file://{path}") == EXPECTED
    else:
        assert seen(path) == EXPECTED


@pytest.mark.parametrize("shards", [1, 3])
def test_webdataset(tmp_path: Path, shards: int) -> None:
    """Samples KEY.jpg, KEY.cls in tar shards, after the format of the webdataset library."""
    for shard in range(shards):
        files = {}
        for i in range(4):
            files |= {f"{i:04}.png": png(10 * i + shard), f"{i:04}.cls": b"%d\n" % (i % 3)}
        tar(tmp_path / f"val-{shard:03}.tar", files)
    found = seen(tmp_path if shards > 1 else tmp_path / "val-000.tar")
    prefix = [f"val-{s:03}/" if shards > 1 else "" for s in range(shards)]
    assert found == {
        f"{prefix[s]}{i:04}.png": (i % 3, 10 * i + s) for s in range(shards) for i in range(4)
    }


@pytest.mark.parametrize("shards", [1, 2])
def test_compressed_shards_with_json(tmp_path: Path, shards: int) -> None:
    """KEY.json names the class by one of the keys that labels have; a .cls beside it goes first."""
    for shard in range(shards):
        files = {}
        for i in range(4):
            about = json.dumps({"width": 9, "label": i % 3, "caption": "0"}).encode()
            files |= {f"{i:04}.png": png(10 * i + shard), f"{i:04}.json": about}
        files["0003.cls"] = b"2"
        plain = tar(tmp_path / "x.tar", files)
        with gzip.open(tmp_path / f"val-{shard:03}.tar.gz", "wb") as packed:
            packed.write(plain.read_bytes())
        plain.unlink()
    found = seen(tmp_path if shards > 1 else tmp_path / "val-000.tar.gz")
    expected = [(0, 0), (1, 10), (2, 20), (2, 30)]
    assert list(found.values()) == [(k, v + s) for s in range(shards) for k, v in expected]


def test_json_without_a_class_labels_nothing(tmp_path: Path) -> None:
    caption = tar(tmp_path / "c.tar", {"0.png": png(1), "0.json": b'{"caption": "a dog"}'})
    assert not open_dataset(caption).labelled
    files = {"0.png": png(1), "0.json": b'{"label": 0}', "1.png": png(1), "1.json": b"{}"}
    with pytest.raises(InputError, match=r"1.png has no class: there is no 1.cls, and no 1.json"):
        open_dataset(tar(tmp_path / "d.tar", files))


def test_a_sample_without_a_class_is_named(tmp_path: Path) -> None:
    path = tar(tmp_path / "d.tar", {"0.png": png(1), "0.cls": b"0", "1.png": png(2)})
    with pytest.raises(InputError, match=r"1.png has no class: there is no 1.cls"):
        open_dataset(path)


def test_what_is_packed_as_a_whole_or_damaged(tmp_path: Path) -> None:
    (tmp_path / "d.7z").write_bytes(b"x")
    with pytest.raises(InputError, match="of a kind that is not read"):
        open_dataset(tmp_path / "d.7z")
    content = {
        "cut.tar.gz": gzip.compress(b"x" * 10_000)[:20],
        "cut.tar.xz": lzma.compress(b"x" * 10_000)[:40],
    }
    for name in ("d.zip", "d.tar", "d.tar.gz", "d.tar.bz2", "d.tar.xz", *content):
        (tmp_path / name).write_bytes(content.get(name, b"no archive"))
        with pytest.raises(InputError, match=f"{name} cannot be read"):
            open_dataset(tmp_path / name)


def test_names_that_climb_are_left_out(tmp_path: Path) -> None:
    path = tar(tmp_path / "d.tar", {"../../a/1.png": png(1), "a/2.png": png(2), ".h/3.png": png(3)})
    assert [item.file for item in open_dataset(path).items] == ["a/2.png"]


def test_an_archive_travels_by_its_path(tmp_path: Path) -> None:
    place = folder_of(tar(tmp_path / "d.tar", {"a/1.png": png(7)}))
    there = pickle.loads(pickle.dumps(place))
    assert there == place
    assert (there / "a/1.png").read(1 << 20) == png(7)
