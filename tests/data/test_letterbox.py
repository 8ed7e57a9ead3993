"""Letterboxed images: every pixel is that of a loop over Pillow's own resizing."""

import numpy as np
import pytest
from PIL import Image

from equiaudit.data.letterbox import Letterbox

SIZES = ((80, 60), (60, 80), (33, 100), (416, 416), (7, 5), (500, 3))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("place", ["centre", "top-left"])
@pytest.mark.parametrize("window", [(64, 64), (48, 80)])
def test_pixels_are_those_of_a_loop(size, place, window):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    made = np.asarray(Letterbox(114, place).drawn(image, window, "bilinear", 114))

    scale = min(window[0] / size[1], window[1] / size[0])
    width, height = max(1, int(size[0] * scale)), max(1, int(size[1] * scale))
    inner = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    top = (window[0] - height) // 2 if place == "centre" else 0
    left = (window[1] - width) // 2 if place == "centre" else 0
    assert made.shape == (*window, 3)
    for row in range(window[0]):
        for column in range(window[1]):
            y, x = row - top, column - left
            within = 0 <= y < height and 0 <= x < width
            expected = inner[y, x] if within else (114, 114, 114)
            assert tuple(made[row, column]) == tuple(expected)
