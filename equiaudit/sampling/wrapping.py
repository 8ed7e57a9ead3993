"""Circular padding and circular shifts, in forms that eager, export and scripting all take.

The functions take sizes as plain integers, so they also run on `torch.fx.Proxy` objects: the
rewriter inlines them into a graph, which then needs nothing but torch.

Signs: `roll(x, (a, b))` is `torch.roll` over the last two axes, so content moves down by a and
right by b. `S_h x[n] = x[(n + h) mod H]` (MASS, eq. 1) is `roll(x, -h)`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Pads = tuple[int, int, int, int]


def wrap_axis(x: Tensor, dim: int, size: int, start: int, stop: int) -> Tensor:
    """Elements `start..stop-1` of axis `dim`, an axis of length `size` read as a circle.

    `start` may be negative and `stop` may exceed `size`, by more than one turn if need be.
    """
    pieces = [torch.narrow(x, dim, at, length) for at, length in _turns(size, start, stop)]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim)


def _turns(size: int, start: int, stop: int) -> list[tuple[int, int]]:
    """The runs (first index, length) that read `start..stop-1` off a circle of `size`."""
    runs = []
    while start < stop:
        at = start % size
        length = min(size - at, stop - start)
        runs.append((at, length))
        start += length
    return runs


def circular_pad(
    x: Tensor, pads: Pads, size: tuple[int, int], *, channels_last: bool = False
) -> Tensor:
    """Pad x (B, C, H, W) circularly by `pads` = (left, right, top, bottom).

    A pad may exceed the map (it wraps again) and may be negative (it crops). `size` is (H, W).
    With `channels_last` the result keeps that memory format, which `F.pad` would not.
    """
    left, right, top, bottom = pads
    height, width = size
    if pads == (0, 0, 0, 0):
        return x
    within = max(left, right) <= width and max(top, bottom) <= height
    if within and min(pads) >= 0 and not channels_last:
        return F.pad(x, [left, right, top, bottom], mode="circular")
    if (top, bottom) != (0, 0):
        x = wrap_axis(x, 2, height, -top, height + bottom)
    return wrap_axis(x, 3, width, -left, width + right) if (left, right) != (0, 0) else x


def gather_window(
    x: Tensor,
    rows: Tensor,
    cols: Tensor,
    shape: tuple[int, int, int],
    out: tuple[int, int],
    *,
    channels_last: bool = False,
) -> Tensor:
    """Each sample's own rows and columns of x (B, C, H, W), in one gather.

    `rows` (B, R) and `cols` (B, Q) are int64 in range, `shape` is (C, H, W), `out` is (R, Q).
    Returns (B, C, R, Q), contiguous or, with `channels_last`, in that format. One index per
    pixel is read for all channels, so this costs about as much as a constant padding.
    """
    channels, height, width = shape
    pixel = rows.unsqueeze(2) * width + cols.unsqueeze(1)
    if not channels_last:
        index = pixel.reshape(-1, 1, out[0] * out[1]).expand(-1, channels, -1)
        flat = x.reshape(-1, channels, height * width)
        return torch.gather(flat, 2, index).reshape(-1, channels, out[0], out[1])
    sample = torch.cumsum(torch.ones_like(rows[:, 0]), 0) - 1  # names no batch size
    index = (pixel + sample.reshape(-1, 1, 1) * (height * width)).reshape(-1)
    flat = x.permute(0, 2, 3, 1).reshape(-1, channels)
    picked = torch.index_select(flat, 0, index)
    return picked.reshape(-1, out[0], out[1], channels).permute(0, 3, 1, 2)


def roll_by(x: Tensor, offsets: Tensor) -> Tensor:
    """Roll every sample by its own offset: content moves down and right, as in `torch.roll`.

    x is (B, C, H, W) of any dtype, `offsets` (B, 2) int64 (rows, columns), any sign. The memory
    format of x is kept and gradients flow back through the roll, which is a permutation.
    """
    _, channels, height, width = x.shape
    rows = (torch.arange(height, device=x.device) - offsets[:, :1]) % height
    cols = (torch.arange(width, device=x.device) - offsets[:, 1:]) % width
    return gather_window(
        x, rows, cols, (channels, height, width), (height, width), channels_last=is_nhwc(x)
    )


def is_nhwc(x: Tensor) -> bool:
    """Whether x lies in memory as channels_last and not also as contiguous."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


class CircularPad2d(nn.Module):
    """Circular padding of (B, C, H, W) by (left, right, top, bottom), however small the map.

    `torch.nn.CircularPad2d` raises when it would wrap more than once; this one goes round again,
    which dilated convolutions on small maps need.
    """

    def __init__(self, padding: int | Pads) -> None:
        super().__init__()
        self.padding: Pads = (padding,) * 4 if isinstance(padding, int) else padding

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H + top + bottom, W + left + right)."""
        return circular_pad(x, self.padding, (x.shape[2], x.shape[3]), channels_last=is_nhwc(x))
