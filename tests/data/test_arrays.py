"""Images as arrays: each pixel against the number it was written from."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from equiaudit.data import (
    Decoded,
    Geometry,
    MaskReader,
    decode,
    open_dataset,
    open_dense_dataset,
)
from equiaudit.data.items import Item
from equiaudit.results import Skipped

RAMP = np.arange(48).reshape(6, 8)


def read(path: Path, stated: tuple[float, float] | None = None, **how: object) -> Decoded | Skipped:
    return decode(Item(path.name, path, None, 0), Geometry((6, 8), value_range=stated, **how))


def reason(path: Path, stated: tuple[float, float] | None = None) -> str:
    found = read(path, stated)
    assert isinstance(found, Skipped)
    return found.reason


def pixels(path: Path, stated: tuple[float, float] | None = None) -> np.ndarray:
    found = read(path, stated)
    assert isinstance(found, Decoded), found
    return found.pixels


def saved(path: Path, values: np.ndarray) -> Path:
    np.save(path, values)
    return path


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=-1)


def test_bytes_are_as_they_are(tmp_path: Path) -> None:
    values = RAMP.astype(np.uint8)
    np.testing.assert_array_equal(pixels(saved(tmp_path / "a.npy", values)), grey(values))
    rgb = np.stack([values, values + 1, values + 2], -1)
    np.testing.assert_array_equal(pixels(saved(tmp_path / "b.npy", rgb)), rgb)


def test_sixteen_bits_keep_theirs(tmp_path: Path) -> None:
    values = (RAMP * 1300).astype(np.uint16)
    found = pixels(saved(tmp_path / "a.npy", values))
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, grey(values))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32])
@pytest.mark.parametrize("kind", ["npy", "tif"])
def test_other_numbers_need_a_range(tmp_path: Path, dtype: type, kind: str) -> None:
    values = (RAMP - 10).astype(dtype)
    path = tmp_path / f"a.{kind}"
    if kind == "npy":
        np.save(path, values)
    else:
        pytest.importorskip("tifffile").imwrite(path, values)
    assert "--image-range LOW,HIGH" in reason(path)
    expected = np.rint(np.clip((RAMP - 10.0) / 20, 0, 1) * 65535)
    np.testing.assert_allclose(pixels(path, (0, 20)), grey(expected), atol=1)


def test_a_tiff_that_pillow_does_not_read_has_a_mask(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    tifffile.imwrite(tmp_path / "images" / "a.tif", RAMP.astype(np.float64))
    np.save(tmp_path / "masks" / "a.npy", RAMP % 2)
    data = open_dense_dataset(tmp_path, "segmentation", MaskReader(2))
    found = decode(data.items[0], Geometry((6, 8), value_range=(0, 47)), data.truth)
    assert isinstance(found, Decoded), found
    np.testing.assert_array_equal(found.truth.values, RAMP % 2)


def test_twelve_bits_in_sixteen(tmp_path: Path) -> None:
    values = (RAMP * 87).astype(np.uint16)
    path = tmp_path / "a.png"
    Image.fromarray(values).save(path)
    found = read(path)
    assert isinstance(found, Decoded)
    assert any("--image-range 0,4095" in note for note in found.notes)
    np.testing.assert_array_equal(found.pixels, grey(values))
    expected = np.rint(values / 4095 * 65535)
    np.testing.assert_allclose(pixels(path, (0, 4095)), grey(expected), atol=1)
    Image.fromarray((RAMP * 1300).astype(np.uint16)).save(path)
    whole = read(path)
    assert isinstance(whole, Decoded)
    assert whole.notes == ()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: np.zeros((3, 6, 8), np.uint8), r"shape (3, 6, 8) is no image"),
        (lambda: np.zeros((0, 8), np.uint8), r"shape (0, 8) is no image"),
        (lambda: np.zeros((6, 8), np.complex64), "no kind of pixel"),
        (lambda: np.array([[None] * 8] * 6, dtype=object), "no kind of pixel"),
        (lambda: np.full((6, 8), np.nan), "no known scale"),
    ],
)
def test_arrays_that_are_no_image(tmp_path: Path, make, said: str) -> None:
    np.save(tmp_path / "a.npy", make(), allow_pickle=True)
    assert said in reason(tmp_path / "a.npy")


def test_an_array_that_lies_about_its_size(tmp_path: Path) -> None:
    out = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (9000, 9000)}
    np.lib.format.write_array_header_1_0(out, header)
    (tmp_path / "a.npy").write_bytes(out.getvalue() + b"x")
    assert "cut off" in reason(tmp_path / "a.npy")
    assert "not all finite" in reason(
        saved(tmp_path / "b.npy", np.full((6, 8), np.inf)), (0.0, 1.0)
    )


def test_arrays_beside_images_are_none(tmp_path: Path) -> None:
    saved(tmp_path / "features.npy", RAMP)
    assert len(open_dataset(tmp_path)) == 1
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    assert [item.file for item in open_dataset(tmp_path).items] == ["a.png"]


@pytest.mark.parametrize("kind", ["gif", "jp2", "avif"])
def test_further_formats(tmp_path: Path, kind: str) -> None:
    if kind == "avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    image = Image.fromarray(grey(RAMP.astype(np.uint8) * 5))
    first = {"gif": {"save_all": True, "append_images": [Image.new("RGB", (8, 6))]}}
    path = tmp_path / f"a.{kind}"
    image.save(path, **{"avif": {"quality": 100}, "jp2": {}, **first}[kind])
    assert [item.file for item in open_dataset(tmp_path).items] == [path.name]
    found = read(path)
    assert isinstance(found, Decoded)
    np.testing.assert_allclose(found.pixels, grey(RAMP * 5), atol=0 if kind == "jp2" else 6)
    assert found.notes == (("the first of several frames",) if kind == "gif" else ())


def dicom(path: Path, values: np.ndarray, **tags: object) -> Path:
    """A secondary capture, little endian, 16 bits, as pydicom writes it."""
    pydicom = pytest.importorskip("pydicom")
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=["a"])
    data = pydicom.Dataset()
    data.file_meta = meta
    data.SOPClassUID = meta.MediaStorageSOPClassUID
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.Rows, data.Columns = values.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, int(values.dtype.kind == "i")
    data.PixelData = values.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path


def test_dicom_is_seen_through_its_window(tmp_path: Path) -> None:
    """DICOM PS3.3 C.11.2.1.2.1, pixel by pixel, in Hounsfield units."""
    values = (RAMP * 20 - 300).astype(np.int16)
    tags = {"RescaleSlope": 2, "RescaleIntercept": -24, "WindowCenter": 40, "WindowWidth": 400}
    found = read(dicom(tmp_path / "a.dcm", values, **tags))
    assert isinstance(found, Decoded), found
    for row, column in np.ndindex(6, 8):
        x = 2.0 * int(values[row, column]) - 24
        if x <= 40 - 0.5 - 399 / 2:
            y = 0.0
        elif x > 40 - 0.5 + 399 / 2:
            y = 1.0
        else:
            y = (x - (40 - 0.5)) / 399 + 0.5
        assert abs(int(found.pixels[row, column, 0]) - y * 65535) <= 1
    assert found.notes == ("DICOM by the file's own window",)
    inverse = pixels(
        dicom(tmp_path / "b.dcm", values, PhotometricInterpretation="MONOCHROME1", **tags)
    )
    np.testing.assert_allclose(inverse.astype(int), 65535 - found.pixels.astype(int), atol=1)


def test_dicom_without_a_window_needs_a_range(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", RAMP.astype(np.uint16))
    assert "states no window" in reason(path)
    expected = np.rint(RAMP / 47 * 65535)
    np.testing.assert_allclose(pixels(path, (0, 47)), grey(expected), atol=1)
    curved = dicom(
        tmp_path / "b.dcm",
        RAMP.astype(np.uint16),
        WindowCenter=20,
        WindowWidth=40,
        VOILUTFunction="SIGMOID",
    )
    assert "SIGMOID" in reason(curved)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint32])
def test_samples_of_a_tiff_without_a_scale(tmp_path: Path, dtype: type) -> None:
    """None is below 0, which would give them away."""
    path = tmp_path / "a.tif"
    pytest.importorskip("tifffile").imwrite(path, (RAMP * 2).astype(dtype))
    assert f"{np.dtype(dtype)} pixels have no known scale" in reason(path)
    expected = np.rint((RAMP * 2) / 94 * 65535)
    np.testing.assert_allclose(pixels(path, (0, 94)), grey(expected), atol=1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_tiff_whose_zero_is_white(tmp_path: Path, dtype: type) -> None:
    """Of every depth, with and without a range, as it is shown."""
    white = 255 if dtype == np.uint8 else 65535
    path, values = tmp_path / "a.tif", (white - RAMP * (white // 50)).astype(dtype)
    pytest.importorskip("tifffile").imwrite(path, values, photometric="miniswhite")
    stated = (0, white) if dtype == np.float32 else None
    np.testing.assert_allclose(pixels(path, stated), grey(white - values.astype(float)), atol=1)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_planes_of_16_bits(tmp_path: Path, compression: str | None) -> None:
    """Pillow 13 takes the bytes of uncompressed ones for samples."""
    tifffile = pytest.importorskip("tifffile")
    values = np.random.default_rng(0).integers(0, 65536, (3, 6, 8)).astype(np.uint16)
    how = {"photometric": "rgb", "planarconfig": "separate", "compression": compression}
    tifffile.imwrite(tmp_path / "a.tif", values, **how)
    np.testing.assert_array_equal(pixels(tmp_path / "a.tif"), np.moveaxis(values, 0, -1))
    tifffile.imwrite(tmp_path / "b.tif", values, extratags=[(274, 3, 1, 6, True)], **how)
    assert "to be turned" in reason(tmp_path / "b.tif")
