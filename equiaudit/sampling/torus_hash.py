"""A hash of the whole image as seen from every pixel: the tie-breaker that is never wrong.

Doubling after Karp, Miller and Rosenberg (1972): the view over 2^(k+1) pixels is made of the
views over 2^k pixels of two places. Two pixels get the same hash only if the image looks the
same from both (up to a collision of 32 bits), and then choosing either gives the same result.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equiaudit.sampling.wrapping import wrap_axis

# Whole numbers below 2^24 are exact in float32. Not a power of two: common pixel values (0, 1/2,
# 1) then differ in their low bits too, which a product modulo 2^32 needs in order to spread them.
_PIXEL_SCALE = 16693247.0
_TINY = 1e-30
# One weight per doubling, of the farther half; the nearer has weight 1. All are 2 modulo 4, so
# 1 + w and 1 - w are odd: neither a pattern that repeats nor one that alternates loses a bit.
_ROW = (
    1942955374,
    -576632498,
    -1890763226,
    -614768726,
    -325513074,
    -939661306,
    1999951810,
    1940605046,
    -2113805634,
    -622574254,
    -1772168654,
    815623034,
    793110138,
)
_COLUMN = (
    -842241750,
    -2096336446,
    2043387526,
    -1589641606,
    -1658034194,
    -889157550,
    799609894,
    404257170,
    1918102982,
    1303098498,
    609005470,
    389426982,
    -1981296290,
)
_CHANNEL = (
    -743664469,
    -1866362165,
    531725347,
    -225701797,
)
_SPREAD = -1640531535


def torus_hash(x: Tensor, channels: int, size: tuple[int, int]) -> Tensor:
    """Hash x (B, C, H, W), a circle both ways, as seen from each pixel: (B, H, W), int32.

    `size` is (H, W). `torus_hash(roll(x, d)) == roll(torus_hash(x), d)` exactly: it is integer
    arithmetic on pixels cut to 2^-24 of the sample's maximum, about log2(HW) passes.
    """
    h = _pixels(x, channels)
    h = _mix(_views(h, 2, size[1], _COLUMN))
    return _mix(_views(h, 1, size[0], _ROW))


def _pixels(x: Tensor, channels: int) -> Tensor:
    """(B, C, H, W) to one int32 per pixel that depends on all channels."""
    x = x.float()
    top = torch.clamp(torch.amax(torch.abs(x), [1, 2, 3], keepdim=True), min=_TINY)
    whole = (x * (_PIXEL_SCALE / top)).to(torch.int32)
    h = torch.select(whole, 1, 0)
    for c in range(1, channels):
        if c % 4 == 0:
            h = _mix(h)
        h = torch.add(torch.select(whole, 1, c), h, alpha=_CHANNEL[c % 4])
    return _mix(h)


def _mix(h: Tensor) -> Tensor:
    """Spread a 32-bit word: RC6's x(2x + 1), a permutation that is not linear, times a constant.

    A sum of weights over a symmetric pattern ends in zero bits, and products keep those; so the
    high half is added to the low one, or two doublings of a striped image would lose all bits.
    """
    h = torch.addcmul(h * _SPREAD, h, h, value=2 * _SPREAD + 2**32)
    # In float32, rounded but the same everywhere, since dividing integers takes ten times as long.
    return h + torch.floor(h.float() * 2.0**-16).to(torch.int32)


def _views(h: Tensor, dim: int, size: int, weights: tuple[int, ...]) -> Tensor:
    """Combine h along a circular axis until each entry has seen all `size` places."""
    for k in range((size - 1).bit_length()):
        far = wrap_axis(h, dim, size, 1 << k, (1 << k) + size)
        h = torch.add(h, far, alpha=weights[k % len(weights)])
    return h
