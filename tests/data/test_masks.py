from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from equiaudit.data import (
    Decoded,
    Geometry,
    MaskReader,
    TargetReader,
    check_sizes,
    decode,
    decode_ahead,
    open_dense_dataset,
    read_class_table,
)
from equiaudit.errors import InputError
from equiaudit.results import Skipped

SIZE = (12, 14)
WINDOW = Geometry(window=(8, 8), margin=1)


def ids(seed: int = 0, top: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, top, SIZE).astype(np.uint8)


def picture(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(1).integers(0, 255, (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def palette_png(path: Path, mask: np.ndarray) -> None:
    out = Image.new("P", mask.shape[::-1])
    out.putpalette([i * 7 % 256 for i in range(768)])
    out.putdata(mask.ravel().tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    out.save(path)


def grey_png(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


def read(root: Path, reader: MaskReader, geometry: Geometry = WINDOW) -> np.ndarray:
    (item,) = open_dense_dataset(root, "segmentation", reader).items
    found = decode(item, geometry, reader)
    assert isinstance(found, Decoded)
    return found.truth.values


def cut(mask: np.ndarray) -> np.ndarray:
    return mask[1:11, 2:12].astype(np.int16)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    picture(tmp_path / "images" / "a.jpg")
    return tmp_path


@pytest.mark.parametrize("write", [grey_png, palette_png])
def test_index_masks_are_read_as_they_are(root, write):
    write(root / "masks" / "a.png", ids())
    found = read(root, MaskReader(3))
    assert found.dtype == np.int16
    assert np.array_equal(found, cut(ids()))


def test_void_is_left_out_and_an_index_can_be_named(root):
    mask = ids()
    mask[mask == 2] = 255
    palette_png(root / "masks" / "a.png", mask)
    assert np.array_equal(
        read(root, MaskReader(2)), cut(np.where(mask == 255, -1, mask.astype(int)))
    )
    grey_png(root / "masks" / "a.png", ids())
    named = read(root, MaskReader(2, ignore=2))
    assert np.array_equal(named, cut(np.where(ids() == 2, -1, ids().astype(int))))


def test_black_and_white_masks_of_two_classes(root):
    mask = ids(top=2)
    grey_png(root / "masks" / "a.png", mask * 255)
    assert np.array_equal(read(root, MaskReader(2)), cut(mask))
    with pytest.raises(InputError, match=r"0 and 255 alone .*5 classes"):
        read(root, MaskReader(5))
    assert set(np.unique(read(root, MaskReader(5, ignore=255)))) == {-1, 0}
    assert set(np.unique(read(root, MaskReader(2, ignore=255)))) == {-1, 0}
    Image.fromarray(mask.astype(bool)).save(root / "masks" / "a.png")
    assert np.array_equal(read(root, MaskReader(2)), cut(mask))
    grey_png(root / "masks" / "a.png", np.where(ids() == 2, 255, ids()).astype(np.uint8))
    with pytest.raises(InputError, match="both 1 and 255"):
        read(root, MaskReader(2))


def test_colour_masks_need_a_table(root, tmp_path):
    colours = np.array([[0, 0, 0], [255, 0, 0], [9, 200, 30]], np.uint8)
    Image.fromarray(colours[ids()]).save(root / "masks.png")
    (root / "masks").mkdir()
    (root / "masks.png").rename(root / "masks" / "a.png")
    with pytest.raises(InputError, match="--classes"):
        read(root, MaskReader(3))
    table = tmp_path / "classes.csv"
    table.write_text("name,index,colour\nnone,0,#000000\ncrack,1,#FF0000\nvoid,255,09c81e\n")
    parsed = read_class_table(table)
    assert parsed.names == {0: "none", 1: "crack", 255: "void"}
    expected = np.array([0, 1, -1])[ids()]
    assert np.array_equal(read(root, MaskReader(2, table=parsed)), cut(expected))
    table.write_text("name,index,colour\nnone,0,#000000\ncrack,1,#FF0000\n")
    with pytest.raises(InputError, match=r"#09c81e \(row \d+, column \d+\)"):
        read(root, MaskReader(2, table=read_class_table(table)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,number\na,1\n", "has the columns name, number"),
        ("name,index\na,one\n", "line 2: index 'one'"),
        ("name,index,colour\na,0,red\n", "line 2: colour 'red'"),
        ("name,index,colour\na,0,#000000\nb,1,#000000\n", "line 3, repeats the colour"),
        ("name,index\n", "names no class"),
    ],
)
def test_a_bad_table_of_classes_is_one_sentence(tmp_path, text, said):
    path = tmp_path / "classes.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_class_table(path)


def test_class_ids_out_of_range_are_named(root):
    mask = ids(top=2)
    mask[5, 6] = 7
    grey_png(root / "masks" / "a.png", mask)
    with pytest.raises(InputError, match=r"a\.png holds class 7 \(row 5, column 6\).*0 to 1"):
        read(root, MaskReader(2))


def test_a_mask_of_another_size_is_named_before_work_starts(root):
    grey_png(root / "masks" / "a.png", ids()[:, :-1])
    reader = MaskReader(3)
    items = open_dense_dataset(root, "segmentation", reader).items
    with pytest.raises(InputError, match=r"a\.png is 12x13 px .*its image is 12x14"):
        check_sizes(items, WINDOW, reader, workers=1)
    with pytest.raises(InputError, match="12x13"):
        list(decode_ahead(items, WINDOW, reader, workers=1, ahead=1))
    check_sizes(items, WINDOW, workers=1)


def test_a_missing_mask_is_named_and_a_damaged_one_skips_its_image(root):
    (root / "masks").mkdir()
    with pytest.raises(InputError, match=r"a\.jpg has no mask"):
        open_dense_dataset(root, "segmentation", MaskReader(3))
    (root / "masks" / "a.png").write_bytes(b"no mask")
    (item,) = open_dense_dataset(root, "segmentation", MaskReader(3)).items
    found = decode(item, WINDOW, MaskReader(3))
    assert isinstance(found, Skipped)
    assert "its mask cannot be read" in found.reason


def test_masks_are_resized_with_their_image_without_mixing_ids(root):
    geometry = Geometry(window=(6, 6), resize=6)
    grey_png(root / "masks" / "a.png", ids() * 40)
    found = read(root, MaskReader(100), geometry)
    assert found.shape == (6, 6)
    assert set(np.unique(found)) <= {0, 40, 80}


def test_the_voc_layout(tmp_path):
    for name in ("a", "b", "c"):
        picture(tmp_path / "JPEGImages" / f"{name}.jpg")
    for name in ("a", "b"):
        palette_png(tmp_path / "SegmentationClass" / f"{name}.png", ids())
    found = open_dense_dataset(tmp_path, "segmentation", MaskReader(3))
    assert [item.file for item in found.items] == ["a.jpg", "b.jpg"]
    assert found.labelled
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("b\n")
    found = open_dense_dataset(tmp_path, "segmentation", MaskReader(3))
    assert [item.file for item in found.items] == ["b.jpg"]
    assert "val.txt" in found.notes[0]
    (lists / "val.txt").write_text("b\nc\n")
    with pytest.raises(InputError, match=r"lists c, which lacks"):
        open_dense_dataset(tmp_path, "segmentation", MaskReader(3))


def test_images_alone_have_no_masks_and_spare_masks_are_counted(tmp_path):
    picture(tmp_path / "flat" / "x.png")
    alone = open_dense_dataset(tmp_path / "flat", "segmentation", MaskReader(3))
    assert not alone.labelled
    assert alone.truth is None
    picture(tmp_path / "d" / "images" / "sub" / "x.png")
    for name in ("sub/x", "sub/y"):
        grey_png(tmp_path / "d" / "masks" / f"{name}.png", ids())
    paired = open_dense_dataset(tmp_path / "d", "segmentation", MaskReader(3))
    assert paired.items[0].truth == tmp_path / "d" / "masks" / "sub" / "x.png"
    assert paired.notes == ("masks without an image, left out: 1.",)
    grey_png(tmp_path / "d" / "masks" / "sub" / "x.bmp", ids())
    with pytest.raises(InputError, match=r"both masks/sub/x\.bmp and masks/sub/x\.png"):
        open_dense_dataset(tmp_path / "d", "segmentation", MaskReader(3))


def test_targets_are_cut_as_images_are(tmp_path):
    picture(tmp_path / "images" / "a.png")
    target = np.random.default_rng(3).integers(0, 255, (*SIZE, 3)).astype(np.uint8)
    (tmp_path / "targets").mkdir()
    Image.fromarray(target).save(tmp_path / "targets" / "a.png")
    (item,) = open_dense_dataset(tmp_path, "image", TargetReader()).items
    found = decode(item, WINDOW, TargetReader())
    assert np.array_equal(found.truth.values, target[1:11, 2:12])
    assert decode(item, WINDOW, TargetReader(gray=True)).truth.values.shape == (10, 10, 1)


def test_the_listing_changes_with_the_masks(root):
    grey_png(root / "masks" / "a.png", ids())
    first = open_dense_dataset(root, "segmentation", MaskReader(3)).listing_sha256
    assert open_dense_dataset(root, "segmentation", MaskReader(3)).listing_sha256 == first
    grey_png(root / "masks" / "a.png", ids(top=2))
    assert open_dense_dataset(root, "segmentation", MaskReader(3)).listing_sha256 != first
