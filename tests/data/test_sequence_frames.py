from __future__ import annotations

from pathlib import Path

import cases
import numpy as np
import pytest
from PIL import Image

from equiaudit.data.geometry import Geometry
from equiaudit.data.masks import MaskReader
from equiaudit.data.sequences import Frames, SequenceSource, open_sequences, read_frames
from equiaudit.errors import InputError
from equiaudit.results import Skipped

WINDOW = (32, 48)
SIZE = (96, 160)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def picture(size: tuple[int, int] = SIZE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def mask(size: tuple[int, int] = SIZE, value: int = 255) -> np.ndarray:
    values = np.zeros(size, np.uint8)
    values[40:46, 70:78] = value
    return values


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        save(tmp_path / "images" / f"{name}.png", picture())
        save(tmp_path / "masks" / f"{name}.png", mask())
    return tmp_path


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """One scene; frame k is cut k px further to the right."""
    scene, defects = picture((60, 120)), mask((60, 120))
    for k in (0, 1, 2, 10):
        cut = slice(28, 60), slice(40 + k, 88 + k)
        save(tmp_path / "image_middle" / f"S_1_{k}.png", scene[cut])
        save(tmp_path / "mask_middle" / f"S_1_{k}.png", defects[cut])
    return tmp_path


def read(
    source: SequenceSource,
    window: tuple[int, int] = WINDOW,
    reader: MaskReader = MaskReader(2),  # noqa: B008
) -> Frames:
    found = read_frames(source, Geometry(window, gray=True), reader=reader)
    assert isinstance(found, Frames)
    return found


def test_photos_give_both_settings(photos: Path) -> None:
    data = open_sequences(photos)
    assert [(s.name, s.setting) for s in data.items] == [
        ("a.png", "middle"),
        ("b.png", "middle"),
        ("a.png", "boundary"),
        ("b.png", "boundary"),
    ]
    for source in data.items:
        found = read(source)
        assert found.pixels.shape == (17, *WINDOW, 1)
        assert (found.defects.sum(axis=(1, 2)) == 48).all()
        assert (found.pixels[1, :, :-1] == found.pixels[0, :, 1:]).all()


def test_frames_are_read_as_they_are_in_the_order_of_their_numbers(frames: Path) -> None:
    (source,) = open_sequences(frames).items
    assert (source.name, source.setting, source.slides) == ("S_1", "middle", False)
    found = read(source)
    assert found.pixels.shape == (4, *WINDOW, 1)
    starts = [int(np.argwhere(d)[:, 1].min()) for d in found.defects]
    assert starts == [30, 29, 28, 20]


def test_published_frames() -> None:
    data = open_sequences(cases.path("caps_sdi"))
    assert [(s.name, s.setting, len(s.pairs)) for s in data.items] == [
        ("SDI_3", "middle", 2),
        ("SDI_3", "boundary", 2),
    ]
    for source in data.items:
        found = read_frames(source, Geometry((128, 128)))
        assert isinstance(found, Frames)
        assert found.defects.sum(axis=(1, 2)).tolist() == [67, 67]
        assert (found.pixels[1, :, :-1] == found.pixels[0, :, 1:]).all()


def test_limit_keeps_photos_with_both_settings(photos: Path) -> None:
    kept = open_sequences(photos, limit=1, seed=3).items
    assert [s.setting for s in kept] == ["middle", "boundary"]
    assert len({s.name for s in kept}) == 1


@pytest.mark.parametrize(("value", "classes"), [(1, 2), (255, 2), (7, 8)])
def test_any_class_but_the_background_is_a_defect(photos: Path, value: int, classes: int) -> None:
    (photos / "masks" / "b.png").unlink()
    (photos / "images" / "b.png").unlink()
    save(photos / "masks" / "a.png", mask(value=value))
    data = open_sequences(photos, MaskReader(classes))
    assert read(data.items[0], reader=data.reader).defects[0].sum() == 48


def test_beside_class_ids_255_says_nothing_where_that_is_stated(photos: Path) -> None:
    values = mask(value=1)
    values[38:40, 70:78] = 255
    save(photos / "masks" / "a.png", values)
    with pytest.raises(InputError, match=r"both 1 and 255.*--ignore-index 255"):
        read(open_sequences(photos).items[0])
    data = open_sequences(photos, MaskReader(2, ignore=255))
    assert read(data.items[0], reader=data.reader).defects[0].sum() == 48


def test_soft_masks_need_a_threshold(photos: Path) -> None:
    """Their 255 is the middle of the defect, no void."""
    soft = mask(value=255)
    soft[39, 70:78] = soft[46, 70:78] = 90
    save(photos / "masks" / "a.png", soft)
    with pytest.raises(InputError, match=r"holds class 90.*--mask-threshold 128"):
        read(open_sequences(photos).items[0])
    data = open_sequences(photos, MaskReader(2, threshold=128))
    assert read(data.items[0], reader=data.reader).defects[0].sum() == 48
    data = open_sequences(photos, MaskReader(2, threshold=1))
    assert read(data.items[0], reader=data.reader).defects[0].sum() == 64


def test_what_makes_no_sequence_is_skipped_with_the_reason(photos: Path) -> None:
    save(photos / "masks" / "a.png", np.zeros(SIZE, np.uint8))
    save(photos / "masks" / "b.png", np.full(SIZE, 255, np.uint8))
    (photos / "images" / "c.png").write_bytes(b"not an image")
    save(photos / "masks" / "c.png", mask())
    found = [read_frames(s, Geometry(WINDOW, gray=True)) for s in open_sequences(photos).items[:3]]
    reasons = [f.reason for f in found if isinstance(f, Skipped)]
    assert reasons[:2] == ["no defect", "no room for a sequence at the middle"]
    assert "cannot be read" in reasons[2]


def test_a_missing_mask_is_an_error(photos: Path) -> None:
    (photos / "masks" / "b.png").unlink()
    with pytest.raises(InputError, match=r"b\.png has no mask"):
        open_sequences(photos)


def test_a_mask_of_another_size_is_an_error(photos: Path) -> None:
    save(photos / "masks" / "a.png", mask((100, 160)))
    with pytest.raises(InputError, match="100x160"):
        read_frames(open_sequences(photos).items[0], Geometry(WINDOW, gray=True))


def test_frames_of_another_size_than_the_window_are_an_error(frames: Path) -> None:
    (source,) = open_sequences(frames).items
    with pytest.raises(InputError, match="32x48 px, and the model sees 32x32"):
        read_frames(source, Geometry((32, 32), gray=True))


def test_frames_without_a_number_are_an_error(frames: Path) -> None:
    save(frames / "image_middle" / "last.png", picture(WINDOW))
    save(frames / "mask_middle" / "last.png", mask(WINDOW))
    with pytest.raises(InputError, match="no frame number"):
        open_sequences(frames)


@pytest.mark.parametrize("made", ["nothing", "flat"])
def test_another_layout_is_an_error(tmp_path: Path, made: str) -> None:
    if made == "flat":
        save(tmp_path / "a.png", picture())
    with pytest.raises(InputError, match="no sequences"):
        open_sequences(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        open_sequences(tmp_path / "absent")
