"""Images that equal a circular shift of themselves."""

from __future__ import annotations

import torch

__all__ = ["breaking_period"]

_PROBES = 64


def breaking_period(image: torch.Tensor, stride: tuple[int, int]) -> tuple[int, int] | None:
    """A period (rows, columns) of `image` (C, H, W) that `stride` does not divide, or None.

    Exact: the image equals its roll by the period in every pixel. Every period maps the
    positions of the rarest pixel value onto each other, so those are the only candidates;
    most are struck out at a few probed pixels, and the rest are compared in full.
    """
    height, width = image.shape[-2:]
    _, colours = torch.unique(image.flatten(1), dim=1, return_inverse=True)
    colours = colours.reshape(height, width)
    candidates = _breaking(_candidates(colours), stride)
    for row, column in _probed(colours, candidates).tolist():
        if torch.equal(colours.roll((row, column), (0, 1)), colours):
            return row, column
    return None


def _candidates(colours: torch.Tensor) -> torch.Tensor:
    """(K, 2) shifts that map one position of the rarest colour onto another."""
    rarest = torch.bincount(colours.flatten()).argmin()
    places = (colours == rarest).nonzero()
    size = torch.tensor(colours.shape)
    return (places - places[0]) % size


def _breaking(shifts: torch.Tensor, stride: tuple[int, int]) -> torch.Tensor:
    return shifts[(shifts % torch.tensor(stride) != 0).any(1)]


def _probed(colours: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """The shifts under which the probed pixels keep their colour."""
    height, width = colours.shape
    generator = torch.Generator().manual_seed(0)
    for probe in torch.randint(height * width, (_PROBES,), generator=generator).tolist():
        row, column = divmod(probe, width)
        moved = colours[(row - shifts[:, 0]) % height, (column - shifts[:, 1]) % width]
        shifts = shifts[moved == colours[row, column]]
    return shifts
