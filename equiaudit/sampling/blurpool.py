"""BlurPool (LPF-k): a fixed low-pass before sampling."""

from __future__ import annotations

from math import comb
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equiaudit.sampling.polyphase import Stride, pair
from equiaudit.sampling.wrapping import circular_pad

Padding = Literal["circular", "reflect", "zeros"]


def padded(x: Tensor, kernel: int, padding: Padding) -> Tensor:
    """x (B, C, H, W) with floor((kernel - 1) / 2) px before and ceil((kernel - 1) / 2) after."""
    before, after = (kernel - 1) // 2, kernel // 2
    pads = (before, after, before, after)
    if padding == "circular":
        return circular_pad(x, pads, (x.shape[2], x.shape[3]))
    if padding == "zeros":
        return F.pad(x, list(pads))
    if max(before, after) >= min(x.shape[2:]):
        size = f"{x.shape[2]}x{x.shape[3]}"
        raise ValueError(f"a {size} map cannot be reflected by {after} px; pad it circularly")
    return F.pad(x, list(pads), mode="reflect")


class BlurPool(nn.Module):
    """A binomial filter of `kernel` taps (1..7) each way, then every stride-th position.

    (Zhang, 2019; LPF-k.) Published behind max pools, convolutions with ReLU, both at stride 1, or
    in place of an average pool, with reflected borders. With padding="circular" the filter
    commutes with every circular shift, to the bit; the sampling behind it does not. Use stride 1
    and a `PolyphaseDown`, or put it inside `MASS`, to be exact. No parameters; kernel=1 only
    samples.
    """

    def __init__(self, kernel: int = 4, stride: Stride = 2, padding: Padding = "reflect") -> None:
        super().__init__()
        if not 1 <= kernel <= 7:
            raise ValueError(f"expected 1 to 7 taps, got {kernel}")
        self.kernel, self.stride, self.padding = kernel, pair(stride), padding
        total = 2 ** (kernel - 1)
        self.taps = tuple(comb(kernel - 1, k) / total for k in range(kernel))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, ceil(H/sh), ceil(W/sw)), same dtype."""
        size = (x.shape[2], x.shape[3])
        y = padded(x, self.kernel, self.padding)
        y = y if y.dtype == torch.float64 else y.float()
        for dim, n, step in zip((2, 3), size, self.stride, strict=True):
            y = self._along(y, dim, n, step)
        return y.type_as(x)

    def _along(self, y: Tensor, dim: int, size: int, step: int) -> Tensor:
        """One axis: elementwise sums in one order, so that every position is treated alike."""
        total = None
        for k, tap in enumerate(self.taps):
            part = torch.narrow(y, dim, k, size)
            part = (part if step == 1 else _every(part, dim, step)) * tap
            total = part if total is None else total + part
        return total  # type: ignore[return-value]

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.kernel}, stride={self.stride}, padding={self.padding!r}"


def _every(x: Tensor, dim: int, step: int) -> Tensor:
    return x[:, :, ::step] if dim == 2 else x[:, :, :, ::step]
