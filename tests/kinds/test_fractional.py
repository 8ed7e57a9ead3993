"""Moves by fractions against other libraries, slow loops and images that are known everywhere."""

import math

import numpy as np
import pytest
import torch
from scipy import fft, ndimage

from equiaudit.kinds import KINDS, RESAMPLERS, around

WINDOW, REACH = (12, 9), 4
HEIGHT, WIDTH = (side + 2 * REACH for side in WINDOW)
BETWEEN = [(0.5, 0.0), (-1.25, 2.75), (3.75, -3.25), (1 / 3, -2 / 3)]
WHOLE = [(0, 0), (3, -4), (-4, 4), (1, 0)]


def noise(height=HEIGHT, width=WIDTH, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).random((3, height, width)))


def subpixel(resampler, canvas, offset):
    return KINDS["subpixel"].by(resampler).cut(canvas, WINDOW, REACH, offset)


def places(offset, axis):
    """Where in the canvas the pixels of the window are taken from."""
    return [REACH - offset[axis] + i for i in range(WINDOW[axis])]


def in_turn(x, offset, weights):
    """x at the places of a window, by a loop; `weights(place, n)` of n pixels, mirrored."""
    for axis in (0, 1):
        side = x.shape[1 + axis]
        rows = []
        for place in places(offset, axis):
            row = 0
            for n, weight in weights(place, side):
                inside = n % (2 * side)
                row = row + weight * x.take(min(inside, 2 * side - 1 - inside), 1 + axis)
            rows.append(row)
        x = np.stack(rows, 1 + axis)
    return x


def lanczos(place, side):
    found = []
    for n in range(math.floor(place) - 2, math.floor(place) + 4):
        found.append((n, np.sinc(place - n) * np.sinc((place - n) / 3)))
    total = sum(weight for _, weight in found)
    return [(n, weight / total) for n, weight in found]


@pytest.mark.parametrize("resampler", RESAMPLERS)
@pytest.mark.parametrize("offset", WHOLE)
def test_whole_moves_take_the_same_way_and_are_those_of_crop_to_the_last_bit(resampler, offset):
    for canvas in (noise().float(), noise(), (255 * noise()).to(torch.uint8), noise().half()):
        plain = KINDS["crop"].cut(canvas, WINDOW, REACH, offset)
        assert torch.equal(subpixel(resampler, canvas, offset), plain)
        inner = canvas[:, REACH:-REACH, REACH:-REACH]
        rolled = KINDS["fractional"].cut(canvas, WINDOW, REACH, offset)
        assert torch.equal(rolled, inner.roll(offset, (1, 2)))


@pytest.mark.parametrize("offset", BETWEEN)
def test_bilinear_is_what_scipy_makes_of_it(offset):
    canvas = noise()
    where = np.meshgrid(places(offset, 0), places(offset, 1), indexing="ij")
    made = [ndimage.map_coordinates(c, where, order=1, mode="reflect") for c in canvas.numpy()]
    np.testing.assert_allclose(subpixel("bilinear", canvas, offset), made, atol=1e-12)


@pytest.mark.parametrize("offset", BETWEEN)
def test_lanczos_is_a_loop_over_six_pixels(offset):
    canvas = noise()
    slow = in_turn(canvas.numpy(), offset, lanczos)
    np.testing.assert_allclose(subpixel("lanczos", canvas, offset), slow, atol=1e-12)


@pytest.mark.parametrize("offset", BETWEEN)
def test_fourier_is_the_cosine_series_of_the_canvas(offset):
    """That of the mirrored image is the discrete cosine transform, at places between pixels."""
    canvas = noise()
    x = canvas.numpy()
    for axis in (0, 1):
        side = x.shape[1 + axis]
        parts = np.moveaxis(fft.dct(x, axis=1 + axis), 1 + axis, -1) / side
        parts[..., 0] /= 2
        turns = np.outer(np.arange(side), np.array(places(offset, axis)) + 0.5)
        x = np.moveaxis(parts @ np.cos(np.pi * turns / side), -1, 1 + axis)
    np.testing.assert_allclose(subpixel("fourier", canvas, offset), x, atol=1e-12)


@pytest.mark.parametrize("sides", [(8, 9), (7, 12), (1, 2)])
@pytest.mark.parametrize("offset", BETWEEN)
def test_fractional_turns_phases_and_the_highest_of_an_even_side_is_a_cosine(sides, offset):
    x = noise(*sides)
    found = x.numpy()
    for axis, moved in zip((1, 2), offset, strict=True):
        side = found.shape[axis]
        turn = np.exp(-2j * np.pi * np.fft.fftfreq(side) * moved)
        if side % 2 == 0:
            turn[side // 2] = np.cos(np.pi * moved)
        shape = [side if i == axis else 1 for i in range(3)]
        moved = np.fft.ifft(np.fft.fft(found, axis=axis) * turn.reshape(shape), axis=axis)
        assert np.abs(moved.imag).max() < 1e-12
        found = moved.real
    np.testing.assert_allclose(KINDS["fractional"].carry(x, offset), found, atol=1e-12)


def wave(height, width, dy, dx):
    """An image without detail, known between its pixels, moved down by dy and right by dx."""
    y, x = np.meshgrid(np.arange(height) - dy, np.arange(width) - dx, indexing="ij")
    slow = np.cos(2 * np.pi * y / 16 + 1) + np.sin(2 * np.pi * x / 14 + 2 * np.pi * y / 16)
    return torch.from_numpy(slow)[None]


@pytest.mark.parametrize(("kind", "error"), [*zip(RESAMPLERS, (0.02, 0.05, 0.1), strict=True)])
def test_content_moves_down_and_right_by_the_fraction(kind, error):
    canvas, offset = wave(48, 42, 0, 0), (2.25, -1.5)
    made = KINDS["subpixel"].by(kind).cut(canvas, (32, 26), 8, offset)
    true = wave(48, 42, *offset)[:, 8:40, 8:34]
    assert (made - true).abs().max() < error
    wrong = wave(48, 42, -2.25, 1.5)[:, 8:40, 8:34]
    assert (made - wrong).abs().max() > 1


def test_of_a_band_limited_torus_nothing_is_lost():
    x, there = wave(32, 28, 0, 0), (5.75, -3.3)
    moved = KINDS["fractional"].carry(x, there)
    torch.testing.assert_close(moved, wave(32, 28, *there), atol=1e-12, rtol=0)
    back = KINDS["fractional"].carry(moved, tuple(-d for d in there))
    torch.testing.assert_close(back, x, atol=1e-12, rtol=0)


def test_values_beyond_the_range_stay_and_bytes_are_rounded():
    edge = torch.zeros(1, HEIGHT, WIDTH)
    edge[:, HEIGHT // 2 :] = 1
    made = subpixel("lanczos", edge, (0.5, 0))
    assert made.min() < -0.02
    assert made.max() > 1.02
    of_bytes = subpixel("lanczos", (200 * edge + 55).to(torch.uint8), (0.5, 0))
    exact = subpixel("lanczos", 200 * edge.double() + 55, (0.5, 0))
    assert torch.equal(of_bytes, exact.round().clamp(0, 255).to(torch.uint8))
    assert of_bytes.max() == 255


def test_whole_offsets_around_a_fraction_the_nearest_first():
    assert around((2, -3)) == [(2, -3)]
    assert around((0.75, -3)) == [(1, -3), (0, -3)]
    assert around((-0.25, 1.75))[0] == (0, 2)
    assert sorted(around((-0.25, 1.75))) == [(-1, 1), (-1, 2), (0, 1), (0, 2)]
    assert around((0.5, 0.5))[0] == (0, 0)


def test_linear_nets_follow_fractions_and_a_relu_does_not():
    """Stride 1 on the torus: a convolution turns no phase but the image's."""
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(1, 4, 3, padding=1, padding_mode="circular", dtype=torch.float64)
    x, kind = wave(32, 28, 0, 0), KINDS["fractional"]

    def error(net):
        with torch.no_grad():
            y, scale = net(x), net(x).abs().max()
            moved = [(net(kind.carry(x, d)) - kind.carry(y, d)).abs().max() for d in BETWEEN]
        return max(moved) / scale

    assert error(conv) < 1e-5
    assert error(torch.nn.Sequential(conv, torch.nn.ReLU(), torch.nn.Conv2d(4, 4, 1).double())) > (
        1e-3
    )
