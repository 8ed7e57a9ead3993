"""Which pixels of an image are wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from equiaudit.data.letterbox import Letterbox
from equiaudit.errors import InputError


class TooSmall(InputError):
    """An image is smaller than the window, or than the window and the room to move it."""


@dataclass(frozen=True)
class Geometry:
    """Which pixels of an image are wanted.

    `window` is (H, W), px. `margin` px more are taken on each side, for crop shifts; 0 when
    there are none, and up to `room` px beyond those as far as the image goes, the same on
    opposite sides. `resize` is the length of the shorter side before the crop, or (H, W) of the
    whole image whatever its proportions, None to keep the pixels as they are. `gray` asks for one
    channel instead of three. Images of more than `max_pixels` are not decoded (above twice
    Pillow's own MAX_IMAGE_PIXELS Pillow refuses).
    With `letterbox` the whole image is scaled to fit, and there is nothing beyond the window.
    `value_range` is (black, white) of images with more than 8 bits a channel, None for what the
    file says (0 and 65535 of 16 bits, the window of a DICOM file).
    """

    window: tuple[int, int]
    margin: int = 0
    room: int = 0
    resize: int | tuple[int, int] | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    gray: bool = False
    max_pixels: int = 89_478_485
    value_range: tuple[float, float] | None = None
    letterbox: Letterbox | None = None
    channels: int | None = None
    """4 to 32 of images that have as many, None for grey and RGB."""
    fixed: bool = False
    """The model takes no other window, so that none is worth proposing."""

    @property
    def needed(self) -> tuple[int, int]:
        """(H + 2 margin, W + 2 margin), px: the least that `decode` returns, and all without
        `room`."""
        height, width = self.window
        return height + 2 * self.margin, width + 2 * self.margin
