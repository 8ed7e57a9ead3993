"""One image file to one array of pixels: decoded, turned upright, resized, cropped."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from equiaudit.data.arrays import (
    NO_SCALE,
    array_planes,
    array_size,
    in_range,
    is_array,
    is_numpy,
    is_tiff,
    negative,
    tiff_planes,
    tiff_size,
)
from equiaudit.data.deep import is_deep, is_inverted, is_misread, read_deep, unscaled
from equiaudit.data.geometry import Geometry, TooSmall
from equiaudit.data.items import Item
from equiaudit.data.jpeg import fast_rgb
from equiaudit.data.letterbox import RESAMPLING
from equiaudit.data.places import Place, read_bytes
from equiaudit.data.stacks import stack_planes, stack_size
from equiaudit.data.truth import Frame, Truth, TruthReader, UnreadableTruth
from equiaudit.errors import EquiauditError
from equiaudit.results import Skipped

# The content decides, not the suffix; formats that call other programs are not among these.
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "JPEG2000", "AVIF")
_MAX_FILE_BYTES = 1 << 30
_HEADER_BYTES = 1 << 18
_FIRST = 132
"""Bytes that tell an array from an image."""
_TWELVE_BITS = 4095
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True, eq=False)
class Decoded:
    """One image's pixels.

    `pixels` is C-contiguous (H + 2 margin, W + 2 margin, C), larger where there is `room`; C is 3
    of RGB, 1 of grey, or `Geometry.channels`. uint8 with 255 or uint16 with 65535 as white. Its
    middle H x W is what it is with margin 0.
    `sha256` is of the file's bytes.
    """

    item: Item
    pixels: np.ndarray
    sha256: str
    notes: tuple[str, ...] = ()
    truth: Truth | None = None
    """The mask or target, cut as the pixels are, where one was asked for."""


def decode(item: Item, geometry: Geometry, truth: TruthReader | None = None) -> Decoded | Skipped:
    """Read one image; `Skipped` with the file and the reason where it cannot be read.

    EXIF orientation is applied. Palette, 1-bit and CMYK become 8-bit RGB as Pillow converts
    them; an alpha channel is dropped, not composited, as training loaders do; of an
    animation the first frame counts. 16-bit samples keep their precision. Resize and centre
    follow torchvision's `Resize` and `CenterCrop` on PIL images to the bit.

    Raises TooSmall where the image does not hold the window and its margin, and what `truth`
    raises for a mask or target that does not fit.
    """
    try:
        content = read_content(item.path)
        planes, notes = upright_planes(content, geometry)
    except EquiauditError:  # the network is lost, which says nothing about the image
        raise
    # Hostile files raise whatever a decoder may: struct.error, SyntaxError, MemoryError, ...
    except Exception as error:
        return Skipped(name=item.file, reason=reason_of(error))
    try:
        known = None
        if truth is not None:
            turned = 1 if geometry.channels else _header(io.BytesIO(content))[1]
            known = truth.read(item, geometry, Frame(planes[0].size[::-1], turned))
    except UnreadableTruth as error:
        return Skipped(name=item.file, reason=str(error))
    planes = scaled(planes, geometry)
    box = centre_box(item.file, planes[0].size, geometry)
    pixels = pixel_array([plane.crop(box) for plane in planes], geometry.gray)
    notes += () if known is None else known.notes
    return Decoded(item, pixels, hashlib.sha256(content).hexdigest(), notes, known)


def check_size(item: Item, geometry: Geometry, truth: TruthReader | None = None) -> None:
    """Raise as `decode` would of sizes, from the files' headers alone; other faults pass."""
    try:
        size, orientation = read_header(item.path, geometry.channels)
    except EquiauditError:
        raise
    except Exception:
        return  # `decode` says why, in its turn.
    size = size[::-1] if orientation >= 5 else size
    if truth is not None:
        truth.check(item, Frame(size[::-1], orientation))
    if geometry.letterbox is not None:
        size = geometry.window[::-1]
    elif geometry.resize is not None:
        size = resized_size(size, geometry.resize)
    centre_box(item.file, size, geometry)


def read_header(place: Place, channels: int | None = None) -> tuple[tuple[int, int], int]:
    """(width, height) as stored, and EXIF's orientation: from 5 on the image lies on its side.

    `channels` as in `Geometry`. Of a remote file the first 256 KiB are read, and the rest where
    the header is not there.
    """
    if channels is not None:
        head = read_bytes(place, _HEADER_BYTES)
        return stack_size(head if is_numpy(head) else read_content(place), channels), 1
    if isinstance(place, Path):
        return _header(place)
    try:
        return _header(io.BytesIO(read_bytes(place, _HEADER_BYTES)))
    except (EquiauditError, FileNotFoundError):
        raise
    except Exception:
        return _header(io.BytesIO(read_content(place)))


def _header(file: Path | io.BytesIO) -> tuple[tuple[int, int], int]:
    first = file.getvalue() if isinstance(file, io.BytesIO) else read_bytes(file, _FIRST)
    if is_array(first):
        head = first if isinstance(file, io.BytesIO) else read_bytes(file, _HEADER_BYTES)
        return array_size(head), 1
    try:
        with Image.open(file, formats=FORMATS) as image:
            return image.size, orientation_of(image)
    except UnidentifiedImageError:
        if not is_tiff(first):
            raise
        if isinstance(file, io.BytesIO):
            file.seek(0)
        return tiff_size(file), 1


def orientation_of(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 where the file states none."""
    found = image.getexif().get(_EXIF_ORIENTATION, 1)
    return found if found in _UPRIGHT else 1


def read_content(place: Place) -> bytes:
    """The file's bytes; ValueError for one that is unreasonably large."""
    content = read_bytes(place, _MAX_FILE_BYTES + 1)
    if len(content) > _MAX_FILE_BYTES:
        raise ValueError(f"the file is larger than {_MAX_FILE_BYTES >> 20} MiB")
    return content


def open_image(content: bytes) -> ImageFile.ImageFile:
    """The image, its format told by content."""
    return Image.open(io.BytesIO(content), formats=FORMATS)


def check_area(size: tuple[int, int], max_pixels: int) -> None:
    """ValueError for an image that is not to be decoded, by the (width, height) it states."""
    if size[0] * size[1] > max_pixels:
        raise ValueError(f"{size[0]}x{size[1]} px are more than the {max_pixels} allowed")


def upright_planes(content: bytes, geometry: Geometry) -> tuple[list[Image.Image], tuple[str, ...]]:
    """The whole image as one "L" or "RGB" plane, or as "F" planes where it has 16 bits.

    As `geometry.channels` planes where it asks for so many.
    """
    stated = geometry.value_range
    if geometry.channels is not None:
        return stack_planes(content, geometry.channels, stated, geometry.max_pixels), ()
    if is_array(content):
        return array_planes(content, stated, geometry.max_pixels)
    try:
        image = open_image(content)
    except UnidentifiedImageError:
        if not is_tiff(content):
            raise
        return tiff_planes(content, stated, geometry.max_pixels), ()
    check_area(image.size, geometry.max_pixels)
    if is_misread(image):
        return tiff_planes(content, stated, geometry.max_pixels), ()
    planes, notes = _planes(content, image, stated)
    turn = _turn(image)
    if turn is not None:
        planes = [plane.transpose(turn) for plane in planes]
    return planes, notes


def turn_of(orientation: int) -> Image.Transpose | None:
    """What turns stored pixels upright, None where they are."""
    return _UPRIGHT.get(orientation)


def _turn(image: ImageFile.ImageFile) -> Image.Transpose | None:
    if image.format == "TIFF":  # Pillow has turned these on loading
        return None
    return _UPRIGHT.get(orientation_of(image))


def _planes(
    content: bytes, image: ImageFile.ImageFile, stated: tuple[float, float] | None
) -> tuple[list[Image.Image], tuple[str, ...]]:
    notes = []
    deep = None
    if (numbers := unscaled(image)) is not None:
        if stated is None:
            what = "floating-point" if image.mode == "F" else numbers.dtype
            raise ValueError(f"{what} pixels {NO_SCALE}")
        deep = [in_range(numbers, stated)]
    elif is_deep(image):
        deep = read_deep(partial(open_image, content))
        if deep is None:
            notes.append(f"16-bit {image.mode} read as 8-bit")
        elif stated is not None:
            deep = [in_range(np.asarray(plane), stated) for plane in deep]
        elif max(float(np.asarray(plane).max()) for plane in deep) <= _TWELVE_BITS:
            notes.append(
                "16-bit values up to 4095 at most, with 65535 taken for white; --image-range"
                " 0,4095 says otherwise"
            )
    if deep and is_inverted(image):
        deep = [negative(plane) for plane in deep]
    planes = deep or [fast_rgb(image, content) or _eight_bit(image)]
    if getattr(image, "is_animated", False) and image.format != "MPO":
        notes.append("the first of several frames")
    return planes, tuple(notes)


def _eight_bit(image: ImageFile.ImageFile) -> Image.Image:
    return image.convert("L" if image.mode in ("1", "L", "LA", "La") else "RGB")


def reason_of(error: Exception) -> str:
    """Why a file could not be read, as part of a sentence."""
    if isinstance(error, FileNotFoundError):
        return "the file is gone"
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or damaged at its start"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = "".join(c if c.isprintable() else " " for c in text).strip()
    return text[:200] or type(error).__name__


def scaled(planes: Sequence[Image.Image], geometry: Geometry) -> list[Image.Image]:
    """Planes of the size that the window is cut from."""
    box, how = geometry.letterbox, geometry.interpolation
    if box is not None:
        return [box.drawn(p, geometry.window, how, box.grey(p.mode)) for p in planes]
    if geometry.resize is not None:
        return [_resized(plane, geometry.resize, how) for plane in planes]
    return list(planes)


def _resized(plane: Image.Image, to: int | tuple[int, int], interpolation: str) -> Image.Image:
    """The shorter side, or height and width, to `to`, as in torchvision."""
    size = resized_size(plane.size, to)
    return plane if size == plane.size else plane.resize(size, RESAMPLING[interpolation])


def resized_size(size: tuple[int, int], to: int | tuple[int, int]) -> tuple[int, int]:
    """(width, height) after resizing the shorter side, or both sides to (height, width).

    The longer side is truncated, not rounded, as torchvision does.
    """
    if not isinstance(to, int):
        return to[1], to[0]
    width, height = size
    if min(width, height) == to:
        return size
    longer = int(to * max(width, height) / min(width, height))
    return (to, longer) if width <= height else (longer, to)


def centre_box(file: str, size: tuple[int, int], geometry: Geometry) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the window and its margin.

    `round` (half to even) is torchvision's choice of the centre. It leaves room for the
    margin wherever the sizes do: of 2m + 1 px to spare it puts m or m + 1 on either side.
    """
    (width, height), (need_height, need_width) = size, geometry.needed
    if height < need_height or width < need_width:
        raise _too_small(file, size, geometry)
    top = round((height - geometry.window[0]) / 2) - geometry.margin
    left = round((width - geometry.window[1]) / 2) - geometry.margin
    right, bottom = left + need_width, top + need_height
    across = min(geometry.room, max(0, min(left, width - right)))
    down = min(geometry.room, max(0, min(top, height - bottom)))
    return left - across, top - down, right + across, bottom + down


def _too_small(file: str, size: tuple[int, int], geometry: Geometry) -> TooSmall:
    width, height = size
    need_height, need_width = geometry.needed
    resized = " after resizing" if geometry.resize is not None else ""
    window = f"{geometry.window[0]}x{geometry.window[1]}"
    message = f"{file!r} is {height}x{width} px (height x width){resized}, and "
    if geometry.letterbox is not None:
        return TooSmall(
            "A letterboxed image is in the window as a whole, so no real pixels can enter: there"
            " are no crop shifts of it.",
            tip="Give --shifts circular,zero-pad.",
        )
    if geometry.margin == 0:
        return TooSmall(
            f"{message}the window is {window}.",
            tip=f"Give a larger `resize` in --preprocess FILE{_smaller_window(geometry)}.",
        )
    fits = min(height - geometry.window[0], width - geometry.window[1]) // 2
    shorter = f"--max-shift {fits} or less, " if fits > 0 else ""
    return TooSmall(
        f"{message}crop shifts of up to {geometry.margin} px of a {window} window need"
        f" {need_height}x{need_width}.",
        tip=f"Give {shorter}--shifts circular,zero-pad, or a larger `resize` in --preprocess"
        f" FILE{_smaller_window(geometry)}.",
    )


def _smaller_window(geometry: Geometry) -> str:
    return "" if geometry.fixed else ", or, where the model takes other sizes, a smaller --size"


def pixel_array(planes: Sequence[Image.Image], gray: bool) -> np.ndarray:
    """(h, w, 3 or 1) uint8, or uint16 of "F" planes; of more than 3 planes as many."""
    if planes[0].mode == "F":
        return _deep_array(planes, gray)
    if len(planes) > 3:
        return np.stack([np.asarray(plane) for plane in planes], axis=-1)
    image = planes[0].convert("L" if gray else "RGB")
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels[..., None] if gray else pixels)


def _deep_array(planes: Sequence[Image.Image], gray: bool) -> np.ndarray:
    channels = np.stack([np.asarray(plane) for plane in planes], axis=-1)
    if gray and len(planes) == 3:  # the weights of Pillow's "L"
        channels = channels @ np.array([[0.299], [0.587], [0.114]], np.float32)
    elif not gray and len(planes) == 1:
        channels = np.repeat(channels, 3, axis=-1)
    return np.ascontiguousarray(np.clip(np.rint(channels), 0, 65535).astype(np.uint16))
