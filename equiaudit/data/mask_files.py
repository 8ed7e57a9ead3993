"""What the file of a mask holds, before anything is made of it."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile

from equiaudit.data.decoding import (
    check_area,
    open_image,
    orientation_of,
    read_content,
    read_header,
    reason_of,
)
from equiaudit.data.places import Place, read_bytes
from equiaudit.data.truth import UnreadableTruth
from equiaudit.errors import EquiauditError, InputError

Ids = NDArray[np.int32]

_NUMPY = b"\x93NUMPY"
_NUMPY_HEADER = 1 << 16
_SAMPLE_FORMAT, _SIGNED, _UNSIGNED = 339, 2, 1
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
_LARGEST = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Stored:
    """One mask as it is stored, or upright where it says itself how it lies."""

    values: NDArray[Any] | None
    """(H, W) int32 ids, indices or levels; float32 where they are no whole numbers; None of a
    file in colours."""
    colours: Ids | None
    """(H, W) red << 16 | green << 8 | blue; None of plain grey."""
    indexed: bool
    """`values` are places in a palette."""
    bits: bool
    """Black and white, one bit a pixel."""
    lossy: bool
    orientation: int
    """EXIF's, 1 where it has none or was applied."""
    sha256: str

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)"""
        array = self.colours if self.values is None else self.values
        assert array is not None
        return array.shape[0], array.shape[1]


def read_stored(path: Place, max_pixels: int) -> Stored:
    """Read a mask: any image, or a NumPy array.

    Raises UnreadableTruth for a damaged file, and InputError, with its path, for a mask in a
    form that has several readings or none.
    """
    try:
        content = read_content(path)
        digest = hashlib.sha256(content).hexdigest()
        if content.startswith(_NUMPY):
            array = _whole_numbers(_array(content, max_pixels))
            return Stored(array, None, False, False, False, 1, digest)
        image = open_image(content)
        check_area(image.size, max_pixels)
        orientation = 1 if image.format == "TIFF" else orientation_of(image)
        _refuse_readings(path, image)
        signed = _sample_format(image)
        image.load()
    except EquiauditError:
        raise
    except Exception as error:  # what hostile files raise is up to them
        raise UnreadableTruth(f"its mask cannot be read: {reason_of(error)}") from None
    values, colours = _held(path, image, signed)
    return Stored(
        values=values,
        colours=colours,
        indexed=image.mode in ("P", "PA") and colours is not None,
        bits=image.mode == "1",
        lossy=image.format in ("JPEG", "MPO"),
        orientation=orientation,
        sha256=digest,
    )


def stored_header(path: Place) -> tuple[tuple[int, int], int]:
    """(H, W) as stored, and EXIF's orientation; raises what a damaged file makes it raise."""
    start = read_bytes(path, len(_NUMPY))
    if start == _NUMPY:
        shape, _ = _numpy_header(io.BytesIO(read_bytes(path, _NUMPY_HEADER)))
        return _plane(shape), 1
    (width, height), orientation = read_header(path)
    is_tiff = isinstance(path, Path) and start[:2] in (b"II", b"MM")
    return (height, width), 1 if is_tiff else orientation


def _numpy_header(stream: io.BytesIO) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    version = np.lib.format.read_magic(stream)
    read = (
        np.lib.format.read_array_header_1_0
        if version[0] == 1
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read(stream)
    return shape, dtype


def _plane(shape: tuple[int, ...]) -> tuple[int, int]:
    """(H, W) of an array whose other axes have one entry."""
    if len(shape) == 3 and 1 in (shape[0], shape[2]):
        shape = shape[1:] if shape[0] == 1 else shape[:2]
    if len(shape) != 2:
        raise ValueError(f"an array of shape {shape} is no mask")
    return shape[0], shape[1]


def _array(content: bytes, max_pixels: int) -> NDArray[Any]:
    shape, dtype = _numpy_header(io.BytesIO(content))
    height, width = _plane(shape)
    check_area((width, height), max_pixels)
    if dtype.kind not in "biuf":
        raise ValueError(f"an array of {dtype} holds no class ids")
    array: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    return array.reshape(height, width)


def _whole_numbers(values: NDArray[Any]) -> NDArray[Any]:
    """int32 where no fraction is lost, beyond its range the nearest; else float32."""
    if values.dtype.kind == "f":
        real = values.astype(np.float64)
        if not np.isfinite(real).all() or (real != np.rint(real)).any():
            return real.astype(np.float32)
        values = real
    whole: NDArray[Any] = np.clip(values, -_LARGEST, _LARGEST).astype(np.int32)
    return whole


def _refuse_readings(path: Place, image: ImageFile.ImageFile) -> None:
    """InputError for several masks in one file, and for levels that libraries read differently."""
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise InputError(
            f"The mask {path} holds several frames, and which is meant is not known.",
            tip="Write the one that is meant as a PNG.",
        )
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        raise InputError(
            f"The mask {path} is a TIFF that calls 0 white, which some libraries read as it is"
            " stored and others (Pillow, of 8 bits) inverted.",
            tip="Write masks as PNG files of class ids.",
        )


def _sample_format(image: ImageFile.ImageFile) -> int:
    tags = getattr(image, "tag_v2", None)
    found = () if tags is None else tags.get(_SAMPLE_FORMAT, ())
    return int(found[0]) if isinstance(found, tuple) and found else int(found or _UNSIGNED)


def _held(
    path: Place, image: ImageFile.ImageFile, sample_format: int
) -> tuple[NDArray[Any] | None, Ids | None]:
    mode = image.mode
    if mode == "L" and sample_format == _SIGNED:
        return np.asarray(image).view(np.int8).astype(np.int32), None
    if mode == "I" and sample_format == _UNSIGNED:
        return _whole_numbers(np.asarray(image).astype(np.int64) & 0xFFFFFFFF), None
    if mode in ("1", "L", "I", "I;16", "I;16B", "I;16L"):
        return np.asarray(image).astype(np.int32), None
    if mode == "F":
        return _whole_numbers(np.asarray(image)), None
    if mode in ("P", "PA"):
        indices = np.asarray(image if mode == "P" else image.getchannel(0)).astype(np.int32)
        colours = _packed(np.asarray(image.convert("RGB")))
        levels = colours & 255
        if image.format == "GIF" and (colours == levels * 0x010101).all():
            return levels, None  # GIF has no grey, and writers renumber what they use of it
        return indices, colours
    if mode in ("LA", "RGBA", "RGB"):
        return _of_channels(path, image)
    raise InputError(
        f"The mask {path} has Pillow's mode {mode}, which holds no class ids.",
        tip="Write masks as grey or palette PNG files of class ids.",
    )


def _of_channels(path: Place, image: ImageFile.ImageFile) -> tuple[NDArray[Any] | None, Ids | None]:
    """Grey where all channels are equal; colours besides where there are three."""
    pixels = np.asarray(image)
    grey = image.mode == "LA" or bool((pixels[..., :3] == pixels[..., :1]).all())
    if image.mode in ("LA", "RGBA") and grey:
        clear = pixels[..., -1] == 0
        if not (clear <= (pixels[..., 0] == 0)).all() or (
            pixels[..., 0].max() == 0 and np.ptp(pixels[..., -1]) > 0
        ):
            raise InputError(
                f"The mask {path} is grey with an alpha channel that says something else.",
                tip="Write it without alpha, as a grey PNG of class ids.",
            )
    colours = None if image.mode == "LA" else _packed(pixels)
    return (pixels[..., 0].astype(np.int32) if grey else None), colours


def _packed(pixels: NDArray[Any]) -> Ids:
    wide = pixels.astype(np.int32)
    packed: Ids = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    return packed
