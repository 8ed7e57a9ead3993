"""A hash of the whole image as seen from every pixel: the tie-breaker that is never wrong.

Doubling after Karp, Miller and Rosenberg (1972): the view over 2^(k+1) pixels is made of the
views over 2^k pixels of two places. Two pixels get the same hash only if the image looks the
same from both (up to a collision of 32 bits), and then choosing either gives the same result.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equiaudit.sampling.wrapping import wrap_axis

__all__ = ["torus_hash"]

# Not a power of two: common pixel values (0, 1/2, 1) then differ in their low bits too, which a
# product modulo 2^32 needs in order to spread them.
_PIXEL_SCALE = 1737350766.0
_TINY = 1e-300
_ROW = (-1640531527, 1540483477, -2048144789, 374761393, -1028477379, 668265263, 2135587861)
_COLUMN = (-862048943, 461845907, 1274126177, -1084229835, 1812433253, -559038737, 69069)


def torus_hash(x: Tensor, channels: int, size: tuple[int, int]) -> Tensor:
    """Hash x (B, C, H, W), a circle both ways, as seen from each pixel: (B, H, W), int32.

    `size` is (H, W). `torus_hash(roll(x, d)) == roll(torus_hash(x), d)` exactly: it is integer
    arithmetic on pixels rounded to 2^-30 of the sample's maximum, about 2 log2(HW) passes.
    """
    h = _pixels(x, channels)
    h = _mix(_views(h, 2, size[1], _COLUMN))
    return _mix(_views(h, 1, size[0], _ROW))


def _pixels(x: Tensor, channels: int) -> Tensor:
    """(B, C, H, W) to one int32 per pixel that depends on all channels."""
    wide = x.double()
    top = torch.clamp(torch.amax(torch.abs(wide), [1, 2, 3], keepdim=True), min=_TINY)
    whole = torch.round(wide * (_PIXEL_SCALE / top)).to(torch.int32)
    h = torch.narrow(whole, 1, 0, 1)
    for c in range(1, channels):
        h = _mix(h) * _ROW[c % 7] + torch.narrow(whole, 1, c, 1)
    return _mix(torch.squeeze(h, 1))


def _mix(h: Tensor) -> Tensor:
    """A permutation of the 32-bit words that is not linear: RC6's x(2x + 1), then a multiply."""
    return h * (h * 2 + 1) * -1640531535


def _views(h: Tensor, dim: int, size: int, odd: tuple[int, ...]) -> Tensor:
    """Combine h along a circular axis until each entry has seen all `size` places."""
    steps = (size - 1).bit_length()
    length = size + (1 << steps) - 1
    h = wrap_axis(h, dim, size, 0, length)
    for k in range(steps):
        length -= 1 << k
        near = torch.narrow(h, dim, 0, length)
        far = torch.narrow(h, dim, 1 << k, length)
        h = torch.add(far, near, alpha=odd[k % 7])
        if k % 3 == 2:
            h = _mix(h)
    return h
