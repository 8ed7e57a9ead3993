"""Matrix products, softmax and norms over positions whose bits do not depend on their order."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equiaudit.sampling.mean import order_free_sum

__all__ = [
    "order_free_attention",
    "order_free_norm",
    "order_free_product",
    "order_free_softmax",
    "order_free_variance",
]

_EXACT = 53
"""Bits of a whole number that float64 holds."""
_SINGLE = 24
_TINY = 1e-30


def order_free_product(a: Tensor, b: Tensor, count: int) -> Tensor:
    """a (..., M, K) @ b (..., K, N), the same bits for every order of the K = `count` terms.

    Rows of a and columns of b become whole numbers of as many bits as leave the sum exact in
    float64 (24, those of a float32, up to K = 32; 20 at K = 4096), relative to the largest of
    them. Float32 (or the dtype of a).
    """
    bits = min(_SINGLE, (_EXACT - math.ceil(math.log2(max(count, 1)))) // 2)
    left, left_step = _whole(a, -1, bits)
    right, right_step = _whole(b, -2, bits)
    return (torch.matmul(left, right) * left_step * right_step).type_as(a)


def _whole(x: Tensor, dim: int, bits: int) -> tuple[Tensor, Tensor]:
    """x in whole steps, float64, and the step of each row."""
    top = torch.clamp(torch.amax(torch.abs(x.detach()), [dim], keepdim=True), min=_TINY)
    step = top.double() / float(2**bits)
    steps = x.double() / step
    # Exact, and passes the gradient that rounding would hold back.
    return steps + (torch.round(steps) - steps).detach(), step


def order_free_softmax(x: Tensor, dims: list[int]) -> Tensor:
    """Softmax of x over `dims`, which may hold positions; dtype of x."""
    top = torch.amax(x, dims, keepdim=True)
    parts = torch.exp((x - top).double()).float()
    return (parts.double() / order_free_sum(parts, dims, True)).type_as(x)


def order_free_attention(
    q: Tensor, k: Tensor, v: Tensor, scale: float, counts: tuple[int, int], bias: Tensor | None
) -> Tensor:
    """softmax(q k^T * scale + bias) v; `counts` are the terms of the two products."""
    scores = order_free_product(q, torch.transpose(k, -2, -1), counts[0]) * scale
    if bias is not None:
        scores = scores + bias
    return order_free_product(order_free_softmax(scores, [-1]), v, counts[1])


def order_free_norm(x: Tensor, dims: list[int], count: int, keepdim: bool) -> Tensor:
    """Euclidean length of x over `dims`, which hold `count` elements; dtype of x."""
    wide = x.double()
    return torch.sqrt(order_free_sum(wide * wide, dims, keepdim)).type_as(x)


def order_free_variance(
    x: Tensor, dims: list[int], count: int, correction: float, keepdim: bool
) -> Tensor:
    """Variance of x over `dims`, which hold `count` elements; float64."""
    centred = x.double() - order_free_sum(x, dims, True) / count
    return order_free_sum(centred * centred, dims, keepdim) / max(count - correction, 0.0)
