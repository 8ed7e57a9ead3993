"""Spatial means whose bits do not depend on where the content lies."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["OrderFreeMean", "order_free_mean"]


def order_free_mean(x: Tensor, dims: list[int], count: int, keepdim: bool) -> Tensor:
    """Mean of x over `dims`, which hold `count` elements, summed in float64; dtype of x.

    A float32 sum depends on its order in the last bits. In float64 the sum of float32 values is
    exact unless they span more than 29 bits, and is then rounded once.
    """
    total = torch.sum(x, dims, keepdim=keepdim, dtype=torch.float64)
    return (total / count).type_as(x)


class OrderFreeMean(nn.Module):
    """Global average pool of (B, C, H, W) to (B, C, 1, 1), or (B, C) without `keepdim`."""

    def __init__(self, *, keepdim: bool = True) -> None:
        super().__init__()
        self.keepdim = keepdim

    def forward(self, x: Tensor) -> Tensor:
        """Average over the last two axes."""
        return order_free_mean(x, [2, 3], x.shape[2] * x.shape[3], self.keepdim)
