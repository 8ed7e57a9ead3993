"""Images whose symmetries break a careless origin rule: ties, blanks, stripes, thin lines."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def synthetic_images(size: tuple[int, int]) -> dict[str, Tensor]:
    """The synthetic set at `size` = (H, W): name -> (3, H, W) float32 in [0, 1], the same always.

    Sides of at least 16. Stripes of period p repeat on the circle only where p divides the side.
    """
    height, width = size
    images = {name: draw(*_grid(size)) for name, draw in _FORMULAS.items()}
    images |= {f"stripes-{p}": _stripes(width, p).expand(height, width) for p in range(1, 9)}
    images |= {f"rows-{p}": _stripes(height, p)[:, None].expand(size) for p in (2, 3, 4, 8)}
    images |= {f"checkerboard-{n}": _checkerboard(size, n) for n in (1, 2, 4, 8)}
    images |= {f"square-{n}": _box(size, n, n) for n in (5, 6, 12)}
    images |= {f"bar-{n}": _box(size, height, n) for n in (3, 4, 8)}
    images["text"] = _text(size)
    rgb = {name: _coloured(image) for name, image in images.items()}
    return rgb | {"noise": _noise(size)}


def _grid(size: tuple[int, int]) -> tuple[Tensor, Tensor, tuple[int, int]]:
    rows = torch.arange(size[0], dtype=torch.float32)[:, None].expand(size)
    cols = torch.arange(size[1], dtype=torch.float32)[None].expand(size)
    return rows, cols, size


_Formula = Callable[[Tensor, Tensor, tuple[int, int]], Tensor]
_FORMULAS: dict[str, _Formula] = {
    "blank": lambda r, c, n: torch.zeros(n),
    "constant": lambda r, c, n: torch.full(n, 0.5),
    "saturated": lambda r, c, n: torch.ones(n),
    "delta": lambda r, c, n: ((r == n[0] // 2) & (c == n[1] // 3)).float(),
    "two-deltas": lambda r, c, n: ((r == n[0] // 2) & (c % (n[1] // 2) == 3)).float(),
    "gradient-columns": lambda r, c, n: c / n[1],
    "gradient-rows": lambda r, c, n: r / n[0],
    "gradient-both": lambda r, c, n: (r / n[0] + c / n[1]) / 2,
    "disk": lambda r, c, n: _disk(r, c, n[0] / 2, n[1] / 2, min(n) / 4),
    "disks": lambda r, c, n: (
        _disk(r, c, n[0] / 4, n[1] / 4, 5.0) + _disk(r, c, 3 * n[0] / 4, 3 * n[1] / 4, 5.0)
    ),
    "half": lambda r, c, n: (c < n[1] // 2).float(),
}


FIRST = next(iter(_FORMULAS))
"""The name of the first image."""


def _disk(rows: Tensor, cols: Tensor, row: float, col: float, radius: float) -> Tensor:
    return ((rows - row) ** 2 + (cols - col) ** 2 <= radius**2).float()


def _stripes(length: int, period: int) -> Tensor:
    """A bright half in every period; period 1 is a constant."""
    at = torch.arange(length) % period
    return (at < (period + 1) // 2).float()


def _checkerboard(size: tuple[int, int], cell: int) -> Tensor:
    rows, cols = torch.arange(size[0]) // cell, torch.arange(size[1]) // cell
    return ((rows[:, None] + cols) % 2).float()


def _box(size: tuple[int, int], height: int, width: int) -> Tensor:
    image = torch.zeros(size)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    image[top : top + height, left : left + width] = 1.0
    return image


def _text(size: tuple[int, int]) -> Tensor:
    """Lines of glyphs of 5x3 dots, each row of letters a fixed pattern."""
    image = torch.zeros(size)
    state = 12345
    for top in range(2, size[0] - 6, 8):
        for left in range(2, size[1] - 4, 4):
            state = (1103515245 * state + 12345) % 2**31
            dots = torch.tensor([(state >> k) & 1 for k in range(8, 23)]).reshape(5, 3)
            image[top : top + 5, left : left + 3] = dots.float()
    return image


def _coloured(image: Tensor) -> Tensor:
    """Grey to three channels that are not multiples of each other."""
    return torch.stack([image, 0.75 * image + 0.1, 1.0 - image])


def _noise(size: tuple[int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(3, *size, generator=generator)
