"""Images of 16 bits a channel at full precision, which Pillow's own modes have for grey only.

Pillow reads 16-bit colour into 8 bits by keeping the high byte of each sample. It has the
same unpacker for both byte orders, so a second reading in the other byte order keeps the
low bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageFile

from equiaudit.data.arrays import NO_SCALE

_NATIVE_SWAPPED = "B" if sys.byteorder == "little" else "L"
_OTHER_ORDER = {"B": "L", "L": "B", "N": _NATIVE_SWAPPED}
_BITS, _PHOTOMETRIC, _PLANES, _SAMPLE_FORMAT, _SIGNED = 258, 262, 284, 339, 2
"""Tags of TIFF, and a value of the last."""
_SWAPPABLE = ("RGB;16", "RGBA;16", "RGBX;16")


def is_deep(image: ImageFile.ImageFile) -> bool:
    """Whether the file stores 16-bit samples (or 32-bit integer grey)."""
    return image.mode.startswith("I") or any(";16" in mode for mode in _raw_modes(image))


def unscaled(image: ImageFile.ImageFile) -> np.ndarray | None:
    """The numbers of an image whose black and white nobody knows; None of others.

    Those are floats and, of TIFF, samples with a sign or of 32 bits.
    """
    if image.mode == "F":
        return np.asarray(image)
    bits, kind = _tag(image, _BITS, 8), _tag(image, _SAMPLE_FORMAT, 1)
    if kind == _SIGNED and image.mode == "L":
        return np.asarray(image).view(np.int8)
    if image.mode != "I" or not hasattr(image, "tag_v2"):
        return None
    return np.asarray(image).astype(f"{'i' if kind == _SIGNED else 'u'}{bits // 8}")


def is_inverted(image: ImageFile.ImageFile) -> bool:
    """Whether it is a TIFF whose 0 is white; of 8 bits and less Pillow has seen to that."""
    return _tag(image, _PHOTOMETRIC, 1) == 0 and _tag(image, _BITS, 8) > 8


def is_misread(image: ImageFile.ImageFile) -> bool:
    """Whether it is a TIFF of 16 bits, a plane per colour, of which Pillow takes single bytes."""
    return _tag(image, _PLANES, 1) == 2 and _tag(image, _BITS, 8) == 16 and image.mode != "I;16"


def _tag(image: ImageFile.ImageFile, number: int, default: int) -> int:
    found = getattr(image, "tag_v2", {}).get(number, default)
    return int(found[0] if isinstance(found, tuple) else found)


def read_deep(reopen: Callable[[], ImageFile.ImageFile]) -> list[Image.Image] | None:
    """The grey plane, or the R, G, B planes, as mode "F" images with values 0..65535.

    Each call of `reopen` gives the same image, not yet loaded. None where Pillow has no way
    to the low bytes (16-bit CMYK or premultiplied alpha). ValueError where integer grey is
    outside 0..65535.
    """
    image = reopen()
    if image.mode.startswith("I"):
        return _planes(_in_range(np.asarray(image)))
    modes = _raw_modes(image)
    if modes == ["LA;16B"]:
        return _planes(_sample(_bytes(_with_raw_modes(image, ["RGBA"])), 0, 1))
    if not all(mode[:-1] in _SWAPPABLE for mode in modes):
        return None
    low = _with_raw_modes(reopen(), [mode[:-1] + _OTHER_ORDER[mode[-1]] for mode in modes])
    pixels, others = _bytes(image), _bytes(low)
    return _planes(*(pixels[..., i] << 8 | others[..., i] for i in range(3)))


def _raw_modes(image: ImageFile.ImageFile) -> list[str]:
    return [_raw_mode(tile.args) for tile in image.tile]


def _raw_mode(args: object) -> str:
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _with_raw_modes(image: ImageFile.ImageFile, modes: Sequence[str]) -> ImageFile.ImageFile:
    image.tile = [
        tile._replace(args=(mode, *tile.args[1:]) if isinstance(tile.args, tuple) else mode)
        for tile, mode in zip(image.tile, modes, strict=True)
    ]
    return image


def _bytes(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(np.uint16)


def _sample(pixels: np.ndarray, high: int, low: int) -> np.ndarray:
    joined: np.ndarray = pixels[..., high] << 8 | pixels[..., low]
    return joined


def _in_range(grey: np.ndarray) -> np.ndarray:
    if grey.min() < 0 or grey.max() > 65535:
        raise ValueError(f"integer pixels outside 0..65535 {NO_SCALE}")
    return grey


def _planes(*channels: np.ndarray) -> list[Image.Image]:
    return [Image.fromarray(channel.astype(np.float32)) for channel in channels]
