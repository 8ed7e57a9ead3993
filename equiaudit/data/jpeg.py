"""JPEG by simplejpeg where that is installed: libjpeg-turbo as in Pillow, without its copies.

Its pixels are Pillow's (a test compares them over subsampling, quality and kinds of scan). What it
has anything against is left to Pillow, whose word on damaged files counts.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageFile


@cache
def _decoder() -> Any:
    try:
        import simplejpeg
    except ImportError:
        return None
    return simplejpeg.decode_jpeg


def fast_rgb(image: ImageFile.ImageFile, content: bytes) -> Image.Image | None:
    """The pixels of an RGB image whose file is `content`; None where Pillow is to decode it."""
    decode = _decoder()
    if decode is None or image.format != "JPEG" or image.mode != "RGB":
        return None
    try:
        pixels = decode(content, "RGB", strict=True)
    except Exception:  # a damaged file raises what the decoder likes
        return None
    return Image.fromarray(np.asarray(pixels)) if pixels.shape[1::-1] == image.size else None
