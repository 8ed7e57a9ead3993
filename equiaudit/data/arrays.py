"""Images that are arrays of numbers: NumPy files, DICOM, and TIFFs that Pillow does not read.

What stands for black and white is known for 8 and 16 bits without a sign, and of a DICOM file by
its window; of all else it is never guessed, but said (`Geometry.value_range`).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Range = tuple[float, float]

_NUMPY, _DICOM, _DICOM_AT = b"\x93NUMPY", b"DICM", 128
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WHITE = 65535
_ORIENTATION = 274
NO_SCALE = "have no known scale; --image-range LOW,HIGH says what is black and white"


def array_size(head: bytes) -> tuple[int, int]:
    """(width, height) of a NumPy or DICOM file by its header."""
    if is_numpy(head):
        return _size(numpy_shape(head))
    data = _pydicom().dcmread(io.BytesIO(head), stop_before_pixels=True)
    return int(data.Columns), int(data.Rows)


def is_array(content: bytes) -> bool:
    """Whether `array_planes` reads it."""
    return content.startswith(_NUMPY) or content[_DICOM_AT : _DICOM_AT + 4] == _DICOM


def is_numpy(content: bytes) -> bool:
    """Whether it begins as a NumPy file does."""
    return content.startswith(_NUMPY)


def is_tiff(content: bytes) -> bool:
    """Whether it begins as a TIFF does."""
    return content.startswith(_TIFF)


def array_planes(
    content: bytes, stated: Range | None, max_pixels: int
) -> tuple[list[Image.Image], tuple[str, ...]]:
    """The planes of a NumPy or DICOM file, as `scaled_planes` gives them, and notes.

    ValueError where it is no image, or `stated` is needed and not there.
    """
    if is_numpy(content):
        check_pixels(_size(numpy_shape(content)), max_pixels)
        return scaled_planes(numpy_values(content), stated), ()
    return _dicom(content, stated, max_pixels)


def tiff_planes(content: bytes, stated: Range | None, max_pixels: int) -> list[Image.Image]:
    """The planes of a TIFF whose samples Pillow does not read, by tifffile."""
    with open_tiff(io.BytesIO(content)) as file:
        page = file.pages[0]
        check_pixels(_size(_interleaved(page)), max_pixels)
        if page.tags.valueof(_ORIENTATION, 1) != 1:
            raise ValueError("a TIFF of such samples that is to be turned is not read")
        values = page.asarray()
        apart = page.planarconfig == 2 and values.ndim == 3
        planes = scaled_planes(np.moveaxis(values, 0, -1) if apart else values, stated)
        return [negative(plane) for plane in planes] if page.photometric == 0 else planes


def tiff_size(file: Path | io.BytesIO) -> tuple[int, int]:
    """(width, height) of such a TIFF."""
    with open_tiff(file) as tiff:
        return _size(_interleaved(tiff.pages[0]))


def _interleaved(page: Any) -> tuple[int, ...]:
    """The shape with channels last."""
    shape: tuple[int, ...] = page.shape
    return (*shape[1:], shape[0]) if page.planarconfig == 2 and len(shape) == 3 else shape


def negative(plane: Image.Image) -> Image.Image:
    """Black for white."""
    return Image.fromarray((_WHITE if plane.mode == "F" else 255) - np.asarray(plane))


def open_tiff(file: Path | io.BytesIO) -> Any:
    """A `tifffile.TiffFile`."""
    try:
        import tifffile
    except ImportError:
        raise ValueError('a TIFF that takes tifffile: pip install "equiaudit[medical]"') from None
    return tifffile.TiffFile(file)


def scaled_planes(values: np.ndarray, stated: Range | None) -> list[Image.Image]:
    """(H, W), (H, W, 1), (H, W, 3) or (H, W, 4) numbers -> planes.

    One "L" or "RGB" plane of 8 bits; else one or three "F" planes in 0..65535, black and white at
    0 and 65535 of uint16, or at `stated`. A fourth channel is dropped.
    """
    _size(values.shape)
    values = values[..., None] if values.ndim == 2 else values[..., :3]
    if values.dtype == np.bool_:
        values = values.astype(np.uint8) * 255
    if values.dtype == np.uint8 and stated is None:
        return [Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)]
    if stated is None and values.dtype != np.uint16:
        raise ValueError(f"{values.dtype} values {NO_SCALE}")
    return [in_range(values[..., i], stated) for i in range(values.shape[2])]


def in_range(values: np.ndarray, stated: Range | None) -> Image.Image:
    """One "F" plane in 0..65535; what lies outside `stated` is black or white."""
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError("its values are not all finite")
    low, high = stated or (0.0, float(_WHITE))
    scaled = np.clip((numbers - low) / (high - low), 0, 1) * _WHITE
    return Image.fromarray(scaled.astype(np.float32))


def _size(shape: Sequence[int]) -> tuple[int, int]:
    """(width, height); ValueError for what is no image."""
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3, 4)) or 0 in shape:
        shown = ", ".join(map(str, shape))
        raise ValueError(f"shape ({shown}) is no image (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)")
    return shape[1], shape[0]


def check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    """ValueError for a (width, height) of more than `max_pixels`."""
    if size[0] * size[1] > max_pixels:
        raise ValueError(f"{size[0]}x{size[1]} px are more than the {max_pixels} allowed")


def _numpy_header(stream: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise ValueError(f"NumPy format {version[0]}.{version[1]} is not read")


def numpy_shape(head: bytes) -> tuple[int, ...]:
    """That of a NumPy file, by its first bytes."""
    return _numpy_header(io.BytesIO(head))[0]


def numpy_values(content: bytes) -> np.ndarray:
    """The numbers of a NumPy file; ValueError where it holds others, or is cut off."""
    shape, _, dtype = _numpy_header(io.BytesIO(content))
    # Before NumPy sets aside what the header asks for.
    if dtype.hasobject or dtype.kind not in "buif":
        raise ValueError(f"{dtype} is no kind of pixel")
    if int(np.prod(shape, dtype=object)) * dtype.itemsize > len(content):
        raise ValueError("the file is cut off")
    return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))


def _pydicom() -> Any:
    try:
        import pydicom
    except ImportError:
        raise ValueError('a DICOM file takes pydicom: pip install "equiaudit[medical]"') from None
    return pydicom


def _dicom(
    content: bytes, stated: Range | None, max_pixels: int
) -> tuple[list[Image.Image], tuple[str, ...]]:
    """By its first window, or `stated` in units after the modality's rescaling."""
    data = _pydicom().dcmread(io.BytesIO(content))
    check_pixels((int(data.Columns), int(data.Rows)), max_pixels)
    frames = int(data.get("NumberOfFrames", 1) or 1)
    if frames * int(data.Rows) * int(data.Columns) > max_pixels:
        raise ValueError(f"{frames} frames are more than the {max_pixels} px allowed")
    values = data.pixel_array[0] if frames > 1 else data.pixel_array
    notes = ("the first of several frames",) if frames > 1 else ()
    if int(data.get("SamplesPerPixel", 1)) > 1:
        return scaled_planes(values, stated), notes
    numbers = values * float(data.get("RescaleSlope", 1)) + float(data.get("RescaleIntercept", 0))
    window = stated or _window(data)
    if window is None:
        raise ValueError(f"the file states no window, so its values {NO_SCALE}")
    plane = in_range(numbers, window)
    if data.get("PhotometricInterpretation") == "MONOCHROME1":  # its least value is white
        plane = negative(plane)
    said = () if stated else ("DICOM by the file's own window",)
    return [plane], (*notes, *said)


def _window(data: Any) -> Range | None:
    """What the file's first linear window shows as black and white (DICOM PS3.3 C.11.2.1.2)."""
    centre, width = (_first(data.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None:
        return None
    function = data.get("VOILUTFunction", "LINEAR")
    if function == "LINEAR" and width > 1:
        return centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
    if function == "LINEAR_EXACT" and width > 0:
        return centre - width / 2, centre + width / 2
    raise ValueError(f"its window is {function}, and linear ones are read")


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    several = not isinstance(value, str | int | float) and hasattr(value, "__getitem__")
    return float(value[0] if several else value)
