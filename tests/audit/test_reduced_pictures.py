"""Pictures of large maps show what their captions say."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from equiaudit.audit.pictures import data_uri, reduced


def pixels(uri):
    return np.array(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


@pytest.mark.parametrize(("height", "width"), [(512, 512), (300, 517), (129, 40)])
def test_a_single_changed_pixel_survives_in_every_picture(height, width):
    rng = np.random.default_rng(0)
    for _ in range(20):
        y, x = rng.integers(height), rng.integers(width)
        change = np.zeros((height, width), np.uint8)
        change[y, x] = 255
        before = np.full((height, width, 3), 10, np.uint8)
        after = before.copy()
        after[y, x] = 200
        small = reduced([before, after, change[..., None]], change, 128)
        assert max(small[0].shape) <= 128
        assert len({each.shape[:2] for each in small}) == 1
        different = (small[0] != small[1]).any(axis=2)
        assert different.sum() == 1
        assert (small[2][..., 0] == 255 * different).all()


def test_nearest_neighbour_would_lose_it():
    change = np.zeros((512, 512, 3), np.uint8)
    change[101, 101] = 255
    assert pixels(data_uri(change, 128, smooth=False)).max() == 0
    (small,) = reduced([change], change[..., 0], 128)
    assert pixels(data_uri(small, 128, smooth=False)).max() == 255


def test_small_pictures_stay_as_they_are_and_no_colour_is_new():
    rng = np.random.default_rng(1)
    picture = rng.choice(np.array([[0, 0, 0], [9, 8, 7]], np.uint8), (300, 200))
    none = np.zeros((300, 200), np.uint8)
    assert reduced([picture], none, 300)[0] is picture
    (small,) = reduced([picture], none, 128)
    assert set(map(tuple, small.reshape(-1, 3))) == {(0, 0, 0), (9, 8, 7)}
