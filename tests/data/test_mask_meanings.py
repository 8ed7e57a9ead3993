"""Values of masks with two readings are asked about; those with one are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from equiaudit.data import (
    Decoded,
    Geometry,
    MaskReader,
    check_sizes,
    decode,
    open_dense_dataset,
    read_class_table,
)
from equiaudit.errors import InputError

SIZE = (12, 16)
IDS = np.random.default_rng(0).integers(0, 3, SIZE)
BITS = (IDS > 0).astype(np.uint8)


def picture(root: Path, name: str = "a", exif: int | None = None) -> None:
    """A photo, stored lying where EXIF turns it."""
    path = root / "images" / f"{name}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(1).integers(0, 255, (*SIZE, 3)).astype(np.uint8)
    tags = Image.Exif()
    if exif is not None:
        tags[0x0112] = exif
    Image.fromarray(pixels).save(path, exif=tags)


def place(root: Path, name: str = "a", ending: str = ".png") -> Path:
    path = root / "masks" / f"{name}{ending}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def grey(root: Path, values: np.ndarray, name: str = "a", ending: str = ".png") -> None:
    picture(root, name)
    Image.fromarray(values.astype(np.uint8)).save(place(root, name, ending))


def palette(root: Path, values: np.ndarray, colours: list[tuple[int, int, int]]) -> None:
    """Indices `values`; `colours` are of the first entries, and of the last where negative."""
    picture(root)
    out = Image.new("P", values.shape[::-1])
    table = [(i, i, i) for i in range(256)]
    table[: len(colours)] = colours
    out.putpalette([level for colour in table for level in colour])
    out.putdata(values.ravel().tolist())
    out.save(place(root))


def read_all(root: Path, reader: MaskReader, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    data = open_dense_dataset(root, "segmentation", reader)
    found = [decode(item, Geometry(window=size), data.truth) for item in data.items]
    assert all(isinstance(each, Decoded) for each in found), found
    return [each.truth.values for each in found]


def read(root: Path, reader: MaskReader, size: tuple[int, int] = SIZE) -> np.ndarray:
    return read_all(root, reader, size)[0]


def test_a_palette_mask_of_0_and_255_is_class_1_where_255_is_white(tmp_path: Path) -> None:
    palette(tmp_path, BITS * 255, [])
    assert np.array_equal(read(tmp_path, MaskReader(2)), BITS)


def test_a_palette_mask_of_0_and_255_in_the_colour_of_void_has_two_readings(tmp_path: Path) -> None:
    colours = [(i, 0, 0) for i in range(255)] + [(224, 224, 192)]
    palette(tmp_path, BITS * 255, colours)
    with pytest.raises(InputError, match=r"--ignore-index 255.*--mask-threshold 1 "):
        read(tmp_path, MaskReader(2))
    assert set(np.unique(read(tmp_path, MaskReader(2, ignore=255)))) == {-1, 0}
    assert np.array_equal(read(tmp_path, MaskReader(2, threshold=1)), BITS)


def test_beside_class_1_the_255_of_a_palette_is_void(tmp_path: Path) -> None:
    values = np.where(IDS == 2, 255, IDS)
    palette(tmp_path, values, [])
    assert np.array_equal(read(tmp_path, MaskReader(2)), np.where(values == 255, -1, values))


def test_255_means_the_same_in_all_masks(tmp_path: Path) -> None:
    """One file alone would be read as 0 and 1."""
    grey(tmp_path, BITS, "a")
    grey(tmp_path, BITS * 255, "b")
    with pytest.raises(InputError, match=r"what 255 means cannot be told"):
        read_all(tmp_path, MaskReader(2))
    both = read_all(tmp_path, MaskReader(2, threshold=1))
    assert all(np.array_equal(each, BITS) for each in both)


def test_the_colours_of_a_palette_name_the_classes_whatever_its_order(tmp_path: Path) -> None:
    table = tmp_path / "classes.csv"
    table.write_text("name,index,colour\na,0,#000000\nb,1,#ff0000\nc,2,#00ff00\n")
    order = [(0, 255, 0), (0, 0, 0), (255, 0, 0)]  # c, a, b
    palette(tmp_path / "d", IDS, order)
    reader = MaskReader(3, table=read_class_table(table))
    assert np.array_equal(read(tmp_path / "d", reader), np.array([2, 0, 1])[IDS])
    palette(tmp_path / "e", IDS, [])  # a ramp of grey, which the table does not name: ids
    assert np.array_equal(read(tmp_path / "e", reader), IDS)


def test_grey_levels_are_colours_where_the_table_has_grey_alone(tmp_path: Path) -> None:
    table = tmp_path / "classes.csv"
    table.write_text("name,index,colour\na,0,#000000\nb,1,#808080\nc,2,#ffffff\n")
    grey(tmp_path, np.array([0, 128, 255])[IDS])
    assert np.array_equal(read(tmp_path, MaskReader(3, table=read_class_table(table))), IDS)


def test_ignore_index_0_asks_where_ids_begin(tmp_path: Path) -> None:
    grey(tmp_path, IDS)
    with pytest.raises(InputError, match=r"--mask-offset -1 .*--mask-offset 0 "):
        read(tmp_path, MaskReader(2, ignore=0))
    assert np.array_equal(read(tmp_path, MaskReader(2, ignore=0, offset=-1)), IDS - 1)
    stated = np.where(IDS == 0, -1, IDS)
    assert np.array_equal(read(tmp_path, MaskReader(3, ignore=0, offset=0)), stated)


def test_one_based_masks_are_told_from_zero_based_ones(tmp_path: Path) -> None:
    grey(tmp_path / "one", IDS + 1)
    with pytest.raises(InputError, match=r"holds class 3 .*--mask-offset -1"):
        read(tmp_path / "one", MaskReader(3))
    assert np.array_equal(read(tmp_path / "one", MaskReader(3, offset=-1)), IDS)
    grey(tmp_path / "last absent", BITS + 1)
    with pytest.raises(InputError, match=r"holds class 0 .*--mask-offset -1 .*--mask-offset 0 "):
        read(tmp_path / "last absent", MaskReader(3))
    assert np.array_equal(read(tmp_path / "last absent", MaskReader(3, offset=0)), BITS + 1)
    grey(tmp_path / "zero", IDS)
    assert np.array_equal(read(tmp_path / "zero", MaskReader(3)), IDS)
    with pytest.raises(InputError, match=r"class 0 .*offset -1, .*--ignore-index 0"):
        read(tmp_path / "zero", MaskReader(3, offset=-1))


@pytest.mark.parametrize("values", [(0, 128, 255), (0, 60, 255)])
def test_levels_between_black_and_white_need_a_threshold(
    tmp_path: Path, values: tuple[int, ...]
) -> None:
    levels = np.array(values)[IDS]
    grey(tmp_path, levels)
    with pytest.raises(InputError, match=r"--mask-threshold 128"):
        read(tmp_path, MaskReader(2))
    assert np.array_equal(read(tmp_path, MaskReader(2, threshold=128)), levels >= 128)


def test_a_threshold_that_no_mask_reaches_is_refused(tmp_path: Path) -> None:
    grey(tmp_path, BITS)
    with pytest.raises(InputError, match=r"reaches 128: the highest value is 1 "):
        read(tmp_path, MaskReader(2, threshold=128))
    picture(tmp_path / "bits")
    Image.fromarray(BITS.astype(bool)).save(place(tmp_path / "bits"))
    assert np.array_equal(read(tmp_path / "bits", MaskReader(2, threshold=128)), BITS)


def test_a_jpeg_mask_needs_a_threshold(tmp_path: Path) -> None:
    picture(tmp_path)
    soft = np.zeros(SIZE, np.uint8)
    soft[4:9, 5:12] = 255
    Image.fromarray(soft).save(place(tmp_path, ending=".jpg"), quality=60)
    with pytest.raises(InputError, match=r"JPEG, which blurs .*--mask-threshold 128"):
        read(tmp_path, MaskReader(2))
    assert np.array_equal(read(tmp_path, MaskReader(2, threshold=128)), soft > 0)


@pytest.mark.parametrize(
    ("dtype", "void"), [("int8", -1), ("int16", -100), ("int32", -7), ("uint16", 60_000)]
)
def test_signed_and_deep_tiff_masks(tmp_path: Path, dtype: str, void: int) -> None:
    picture(tmp_path)
    values = np.where(IDS == 2, void, IDS).astype(dtype)
    tifffile.imwrite(place(tmp_path, ending=".tif"), values)
    with pytest.raises(InputError, match=rf"holds class {void} "):
        read(tmp_path, MaskReader(2))
    found = read(tmp_path, MaskReader(2, ignore=void))
    assert np.array_equal(found, np.where(IDS == 2, -1, IDS))


@pytest.mark.parametrize("dtype", ["float32", "uint32"])
def test_whole_numbers_of_any_type_are_ids(tmp_path: Path, dtype: str) -> None:
    picture(tmp_path)
    tifffile.imwrite(place(tmp_path, ending=".tif"), IDS.astype(dtype))
    assert np.array_equal(read(tmp_path, MaskReader(3)), IDS)


@pytest.mark.parametrize("dtype", ["bool", "int64", "float32", "uint8"])
def test_numpy_masks(tmp_path: Path, dtype: str) -> None:
    picture(tmp_path)
    np.save(place(tmp_path, ending=".npy"), BITS[None].astype(dtype))
    assert np.array_equal(read(tmp_path, MaskReader(2)), BITS)
    np.save(place(tmp_path, ending=".npy"), BITS * np.float32(0.7))
    with pytest.raises(InputError, match=r"holds fractions.*--mask-threshold"):
        read(tmp_path, MaskReader(2))


@pytest.mark.parametrize("what", ["objects", "short", "huge", "cube"])
def test_a_hostile_numpy_mask_skips_its_image(tmp_path: Path, what: str) -> None:
    picture(tmp_path)
    path = place(tmp_path, ending=".npy")
    if what == "objects":
        np.save(path, np.array([[{}]]), allow_pickle=True)
    elif what == "cube":
        np.save(path, np.zeros((3, 4, 5)))
    else:
        with path.open("wb") as stream:
            shape = (1 << 40, 1 << 40) if what == "huge" else SIZE
            header = {"descr": "<i8", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)
    data = open_dense_dataset(tmp_path, "segmentation", MaskReader(2))
    found = decode(data.items[0], Geometry(window=SIZE), data.truth)
    assert "its mask cannot be read" in found.reason


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colour_files_that_are_grey_are_read_as_grey(tmp_path: Path, mode: str) -> None:
    picture(tmp_path)
    Image.fromarray((BITS * 255).astype(np.uint8)).convert(mode).save(place(tmp_path))
    assert np.array_equal(read(tmp_path, MaskReader(2)), BITS)


def test_an_alpha_channel_that_says_something_else_is_refused(tmp_path: Path) -> None:
    picture(tmp_path)
    alpha = Image.fromarray((BITS * 255).astype(np.uint8))
    image = Image.new("RGBA", SIZE[::-1], (255, 255, 255, 0))
    image.putalpha(alpha)
    image.save(place(tmp_path))
    with pytest.raises(InputError, match=r"alpha channel that says something else"):
        read(tmp_path, MaskReader(2))


def test_masks_at_a_whole_fraction_of_the_size_are_enlarged(tmp_path: Path) -> None:
    grey(tmp_path, BITS[::2, ::2])
    assert np.array_equal(
        read(tmp_path, MaskReader(2)), BITS[::2, ::2].repeat(2, axis=0).repeat(2, axis=1)
    )
    data = open_dense_dataset(tmp_path, "segmentation", MaskReader(2))
    note = "the mask is 2 times smaller than its image and was enlarged"
    assert note in decode(data.items[0], Geometry(window=SIZE), data.truth).notes
    grey(tmp_path, BITS[::2])
    with pytest.raises(InputError, match=r"6x16 px .*12x16"):
        read(tmp_path, MaskReader(2))


def test_a_mask_is_turned_as_its_image_where_its_size_tells(tmp_path: Path) -> None:
    """Orientation 6 stands upright after a quarter turn to the right."""
    upright = np.rot90(BITS, -1)
    for folder, mask in (("stored", BITS), ("upright", upright)):
        picture(tmp_path / folder, exif=6)
        Image.fromarray(np.ascontiguousarray(mask)).save(place(tmp_path / folder))
        assert np.array_equal(read(tmp_path / folder, MaskReader(2), SIZE[::-1]), upright)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_turning_a_mask_turns_it_as_pillow_turns_images(tmp_path: Path, orientation: int) -> None:
    from PIL import ImageOps

    picture(tmp_path, exif=orientation)
    image = Image.fromarray(BITS)
    image.save(place(tmp_path))
    image.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(image))
    reader = MaskReader(2, lying="stored")
    assert np.array_equal(read(tmp_path, reader, expected.shape), expected)


def test_a_half_turn_asks_how_the_mask_lies(tmp_path: Path) -> None:
    picture(tmp_path, exif=3)
    Image.fromarray(BITS).save(place(tmp_path))
    with pytest.raises(InputError, match=r"EXIF orientation \(3\).*--mask-orientation stored"):
        read(tmp_path, MaskReader(2))
    data = open_dense_dataset(tmp_path, "segmentation", MaskReader(2))
    with pytest.raises(InputError, match=r"a\.png .*--mask-orientation"):
        check_sizes(data.items, Geometry(window=SIZE), data.truth, workers=1)
    assert np.array_equal(read(tmp_path, MaskReader(2, lying="stored")), BITS[::-1, ::-1])
    assert np.array_equal(read(tmp_path, MaskReader(2, lying="upright")), BITS)
