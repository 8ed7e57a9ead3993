"""simplejpeg's pixels are Pillow's, and what it refuses is Pillow's to judge."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from equiaudit.data import Decoded, Geometry, decode, jpeg
from equiaudit.data.items import Item
from equiaudit.results import Skipped

SIZE = (37, 51)


def photo() -> Image.Image:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    noise = 20 * np.random.default_rng(0).normal(size=SIZE)
    waves = [127 + 90 * np.sin(x / 7) + noise, 127 + 90 * np.cos(y / 5 + x / 9), (5 * x * y) % 255]
    return Image.fromarray(np.stack(waves, -1).clip(0, 255).astype(np.uint8))


def files() -> dict[str, bytes]:
    made = {}
    for subsampling in (0, 1, 2):
        for progressive in (False, True):
            for quality in (40, 95):
                out = io.BytesIO()
                how = {"subsampling": subsampling, "progressive": progressive, "quality": quality}
                photo().save(out, "JPEG", **how)
                made[f"{subsampling} {progressive} {quality}"] = out.getvalue()
    for mode in ("L", "CMYK"):
        out = io.BytesIO()
        photo().convert(mode).save(out, "JPEG")
        made[mode] = out.getvalue()
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    photo().resize(SIZE).save(out, "JPEG", exif=exif)
    made["turned"] = out.getvalue()
    made["cut"] = made["0 False 95"][:900]
    return made


def read(path: Path) -> Decoded | Skipped:
    return decode(Item(path.name, path, None, 0), Geometry(SIZE))


@pytest.mark.parametrize("name", files())
def test_both_decoders_say_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("simplejpeg")
    path = tmp_path / "a.jpg"
    path.write_bytes(files()[name])
    fast = read(path)
    monkeypatch.setattr(jpeg, "_decoder", lambda: None)
    slow = read(path)
    assert type(fast) is type(slow)
    assert isinstance(fast, Skipped) == (name == "cut")
    if isinstance(fast, Decoded):
        np.testing.assert_array_equal(fast.pixels, slow.pixels)
        assert fast.notes == slow.notes


def test_it_is_left_to_pillow_where_it_disagrees_with_the_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(files()["0 False 95"])
    expected = read(path)

    def of_another_size(*_: object, **__: object) -> np.ndarray:
        return np.zeros((9, 9, 3), np.uint8)

    def raises(*_: object, **__: object) -> np.ndarray:
        raise ValueError

    for wrong in (of_another_size, raises):
        monkeypatch.setattr(jpeg, "_decoder", lambda wrong=wrong: wrong)
        found = read(path)
        np.testing.assert_array_equal(found.pixels, expected.pixels)
