"""Padding by the border: against numpy's, and what counts as a border."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pictures import photographs

from equiaudit.sampling import border_pad, has_border

SIZE = (48, 40)
PADS = (2, 1, 3, 4)


def padded_slowly(x: np.ndarray, rows: bool, columns: bool, fill: float | str) -> np.ndarray:
    """One sample (C, H, W): numpy pads one axis after the other."""
    for axis, closed, (before, after) in ((1, rows, PADS[2:]), (2, columns, PADS[:2])):
        width = [(0, 0)] * 3
        width[axis] = (before, after)
        if not closed:
            x = np.pad(x, width, mode="wrap")
        elif fill == "edge":
            x = np.pad(x, width, mode="edge")
        else:
            x = np.pad(x, width, constant_values=fill)
    return x


@pytest.mark.parametrize("fill", [0.0, -np.inf, "edge"])
def test_each_sample_and_axis_is_padded_in_its_own_way(fill: float | str) -> None:
    x = torch.randn(4, 2, 5, 6, generator=torch.Generator().manual_seed(0))
    found = torch.tensor([[True, True], [True, False], [False, True], [False, False]])
    y = border_pad(x, PADS, (5, 6), found, fill)
    for got, image, (rows, columns) in zip(y, x, found.tolist(), strict=True):
        expected = padded_slowly(image.numpy(), rows, columns, fill)
        np.testing.assert_array_equal(got.numpy(), expected)


def test_no_padding_is_the_map_itself() -> None:
    x = torch.randn(1, 2, 5, 6)
    assert border_pad(x, (0, 0, 0, 0), (5, 6), torch.tensor([[True, False]]), 0.0) is x


def border_of(x: torch.Tensor) -> list[list[bool]]:
    return has_border(x, x.shape[1], (x.shape[2], x.shape[3])).tolist()


def test_photographs_end_at_their_border_and_nowhere_else() -> None:
    x = photographs(6, SIZE)
    assert np.mean(border_of(x)) > 0.8
    assert not np.any(border_of(torch.roll(x, (17, 11), (2, 3))))


def waves(size: tuple[int, int] = (64, 64)) -> torch.Tensor:
    """Closes on itself, and has no line that stands out."""
    y, x = (torch.arange(n) * (2 * torch.pi * 5 / n) for n in size)
    return (torch.sin(y)[:, None] + torch.cos(x)[None])[None, None]


def test_a_texture_that_closes_on_itself_has_no_border() -> None:
    assert border_of(waves()) == [[False, False]]


@pytest.mark.parametrize("thickness", [1, 2, 7])
def test_black_that_entered_is_a_border_however_thin(thickness: int) -> None:
    x = waves() + 3
    x[:, :, :thickness] = 0
    assert border_of(x) == [[True, False]]
    behind = torch.roll(x, -thickness, 2)  # the other side of the strip is as good
    assert border_of(behind) == [[True, False]]
    assert border_of(torch.roll(x, 20, 2)) == [[False, False]]


def test_each_image_is_judged_by_itself() -> None:
    x = waves() + 3
    black = x.clone()
    black[..., :3] = 0
    assert border_of(torch.cat([x, black, x])) == [[False, False], [False, True], [False, False]]
