"""Images scaled to fit into the window as a whole, with grey beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from PIL import Image

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


@dataclass(frozen=True)
class Letterbox:
    """The whole image, scaled to fit into the window; `pad` (0..255) is the grey beside it."""

    pad: int
    place: Literal["centre", "top-left"]

    def fitted(self, size: tuple[int, int], window: tuple[int, int]) -> tuple[int, int]:
        """(width, height) of an image of such a size within the window (H, W): truncated."""
        scale = min(window[1] / size[0], window[0] / size[1])
        width, height = (max(1, int(side * scale)) for side in size)
        return min(width, window[1]), min(height, window[0])

    def corner(self, size: tuple[int, int], window: tuple[int, int]) -> tuple[int, int]:
        """(left, top) of an image of that fitted size."""
        if self.place == "top-left":
            return 0, 0
        return (window[1] - size[0]) // 2, (window[0] - size[1]) // 2

    def drawn(
        self, plane: Image.Image, window: tuple[int, int], interpolation: str, beside: int
    ) -> Image.Image:
        """A plane of the window's size, `beside` in all its bands beside the image."""
        size, bands = self.fitted(plane.size, window), len(plane.getbands())
        made = Image.new(plane.mode, window[::-1], beside if bands == 1 else (beside,) * bands)
        made.paste(plane.resize(size, RESAMPLING[interpolation]), self.corner(size, window))
        return made

    def grey(self, mode: str) -> int:
        """The pad in a plane of that mode: "F" planes have 16 bits."""
        return self.pad * 257 if mode == "F" else self.pad
