"""Spatial means whose bits do not depend on where the content lies."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LEVELS = float(2**23)
_TINY = 1e-30


def order_free_sum(x: Tensor, dims: list[int], keepdim: bool) -> Tensor:
    """Sum of x over `dims`, float64, in whole steps of its maximum.

    Each value is rounded to 2^-23 of the largest beside it (the error of a float32 addition);
    sums of whole numbers below 2^53 are exact, so their order cannot matter. The gradient is that
    of a plain sum.
    """
    x = x.float()
    top = torch.clamp(torch.amax(torch.abs(x.detach()), dims, keepdim=True), min=_TINY)
    scaled = x * (_LEVELS / top)
    # Both steps are exact below 2^23, and pass the gradient that rounding would hold back.
    whole = scaled + (torch.round(scaled) - scaled).detach()
    total = torch.sum(whole, dims, keepdim=True, dtype=torch.float64) * (top.double() / _LEVELS)
    return total if keepdim else torch.squeeze(total, dims)


def order_free_mean(x: Tensor, dims: list[int], count: int, keepdim: bool) -> Tensor:
    """Mean of x over `dims`, which hold `count` elements, the same for every order; dtype of x."""
    return (order_free_sum(x, dims, keepdim) / count).type_as(x)


def order_free_total(x: Tensor, dims: list[int], count: int, keepdim: bool) -> Tensor:
    """Sum of x over `dims`, which hold `count` elements, the same for every order; dtype of x."""
    return order_free_sum(x, dims, keepdim).type_as(x)


class OrderFreeMean(nn.Module):
    """Global average pool of (B, C, H, W) to (B, C, 1, 1), or (B, C) without `keepdim`."""

    def __init__(self, *, keepdim: bool = True) -> None:
        super().__init__()
        self.keepdim = keepdim

    def forward(self, x: Tensor) -> Tensor:
        """Average over the last two axes."""
        return order_free_mean(x, [2, 3], x.shape[2] * x.shape[3], self.keepdim)
