"""Shifts against arithmetic on the pixels themselves, on images whose every pixel differs."""

import numpy as np
import pytest
import torch

from equiaudit.models.pixels import normalise, on_device
from equiaudit.models.types import Preprocess
from equiaudit.shifts.canvas import canvas, cut

WINDOW, REACH = (6, 8), 3
HOW = Preprocess(size=WINDOW, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.5))
OFFSETS = [(0, 0), (1, 0), (0, 1), (-2, 3), (3, -1), (-3, -3)]


def source(margin=0):
    height, width = WINDOW[0] + 2 * margin, WINDOW[1] + 2 * margin
    pixels = np.random.default_rng(0).integers(1, 255, (height, width, 3))
    return pixels.astype(np.uint8)


def model_sees(pixels):
    x = pixels.astype(np.float32) / 255
    x = (x - np.float32(HOW.mean)) / np.float32(HOW.std)
    return torch.from_numpy(x).permute(2, 0, 1)


def shifted(kind, pixels, offset, how=HOW):
    device = torch.device("cpu")
    x = normalise(pixels[None], how, device)[0]
    black = normalise(np.zeros((1, 1, 1, 3), np.uint8), how, device).reshape(-1)
    return cut(canvas(x, kind, WINDOW, REACH, black), WINDOW, REACH, offset)


@pytest.mark.parametrize("offset", OFFSETS)
def test_circular_is_roll(offset):
    pixels = source()
    expected = model_sees(np.roll(pixels, offset, axis=(0, 1)))
    assert torch.allclose(shifted("circular", pixels, offset), expected, atol=1e-6)


@pytest.mark.parametrize("offset", OFFSETS)
def test_crop_moves_the_content_and_lets_real_pixels_in(offset):
    pixels = source(REACH)
    dy, dx = offset
    top, left = REACH - dy, REACH - dx
    expected = model_sees(pixels[top : top + WINDOW[0], left : left + WINDOW[1]])
    assert torch.allclose(shifted("crop", pixels, offset), expected, atol=1e-6)


@pytest.mark.parametrize("offset", OFFSETS)
def test_zero_pad_lets_black_in_before_normalisation(offset):
    pixels = source()
    moved = np.zeros_like(pixels)
    for y in range(WINDOW[0]):
        for x in range(WINDOW[1]):
            from_y, from_x = y - offset[0], x - offset[1]
            if 0 <= from_y < WINDOW[0] and 0 <= from_x < WINDOW[1]:
                moved[y, x] = pixels[from_y, from_x]
    assert torch.allclose(shifted("zero-pad", pixels, offset), model_sees(moved), atol=1e-6)


def test_the_kinds_agree_where_the_content_is_the_same():
    """Inside, all kinds hold the same pixels: a wrong sign in one of them would show."""
    pixels = source(REACH)
    bare = pixels[REACH:-REACH, REACH:-REACH]
    views = [shifted("crop", pixels, (2, -1)), shifted("circular", bare, (2, -1))]
    views.append(shifted("zero-pad", bare, (2, -1)))
    for view in views[1:]:
        assert torch.equal(view[:, 2:, :-1], views[0][:, 2:, :-1])
        assert not torch.equal(view[:, :2], views[0][:, :2])
    assert not torch.equal(views[1], views[2])


def test_circular_wraps_more_than_once():
    pixels = source()
    device = torch.device("cpu")
    x = normalise(pixels[None], HOW, device)[0]
    far = 20
    made = canvas(x, "circular", WINDOW, far, x[:, 0, 0])
    for offset in [(20, -19), (-13, 17)]:
        assert torch.equal(cut(made, WINDOW, far, offset), torch.roll(x, offset, (1, 2)))


def test_sixteen_bits_and_channel_order():
    wide = source().astype(np.uint16) * 257
    device = torch.device("cpu")
    assert torch.allclose(normalise(wide[None], HOW, device)[0], model_sees(source()), atol=1e-6)
    bgr = Preprocess(size=WINDOW, mean=HOW.mean, std=HOW.std, channels="bgr")
    assert torch.equal(
        normalise(source()[None], bgr, device), normalise(source()[None], HOW, device).flip(1)
    )


def test_uint8_models_get_raw_pixels():
    raw = Preprocess(size=WINDOW, mean=(0,) * 3, std=(1,) * 3, dtype="uint8")
    device = torch.device("cpu")
    for pixels in (source(), source().astype(np.uint16) * 257):
        x = normalise(pixels[None], raw, device)
        assert x.dtype == torch.uint8
        assert np.array_equal(x[0].permute(1, 2, 0).numpy(), source())
    half = Preprocess(size=WINDOW, mean=HOW.mean, std=HOW.std, dtype="float16")
    assert normalise(source()[None], half, device).dtype == torch.float16


class Sent:
    """Stands for a tensor, and notes how it is sent."""

    def __init__(self):
        self.calls = []

    def pin_memory(self):
        self.calls.append("pinned")
        return self

    def to(self, device, **how):
        self.calls.append((device.type, how))
        return self


@pytest.mark.parametrize(
    ("device", "calls"),
    [("cuda:1", ["pinned", ("cuda", {"non_blocking": True})]), ("cpu", [("cpu", {})])],
)
def test_pixels_go_to_an_accelerator_from_pinned_memory(device, calls):
    sent = Sent()
    on_device(sent, torch.device(device))
    assert sent.calls == calls
