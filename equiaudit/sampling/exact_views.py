"""A hash of every bit of an image as seen from every pixel, to decide between equal candidates.

Slower than `torus_hash` and complete: that one reads pixels to 2^-24 of the largest and has 32
bits. Here two places get the same number only if the image is the same, bit for bit, from both
(up to a collision of 64 bits), and then choosing either gives the same result.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equiaudit.sampling.wrapping import wrap_axis

EXPONENTS = (-68, -8, 52, 112, 172)
"""A number is cut into whole numbers of 60 bits at these binary places: from 2^128, above which
float32 has none, down to its least, 2^-149. No bit is lost."""
# Random odd words.
WORD = (
    1,
    -4417276706812531889,
    8602080735155124821,
    2862933555777941757,
    -6390853446113062447,
)
CHANNEL = 3935559000370003845
SPREAD = 2685821657736338717
FOLD = 2.0**-32
# One weight per doubling, of the farther half; all are 2 modulo 4, so that 1 + w and 1 - w are
# odd: neither a pattern that repeats nor one that alternates loses a bit.
VIEW = (
    7664345821815920750,
    -3372029247567499370,
    1181783497276652982,
    -8846114313915602814,
    5692549928996306946,
    -1463028723618545166,
    2406455751260239574,
    -6989586621679009794,
    8231246532476105442,
    -4132817346529821550,
    3202034522624059734,
    -7450580596923828126,
    986543165468432162,
)


def exact_views(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Hash x (B, C, H, W), a circle both ways, as seen from each pixel: (B, H, W), int64.

    `size` is (H, W). `exact_views(roll(x, d)) == roll(exact_views(x), d)`; -0.0 counts as 0.0,
    and float64 is read down to 2^-172.
    """
    h = _view(_pixels(x), 2, size[1])
    return _view(_mix(h), 1, size[0])


def _pixels(x: Tensor) -> Tensor:
    """(B, C, H, W) to one int64 per pixel that depends on every bit of all channels."""
    words = _words(x)
    h = torch.select(words, 1, 0)
    for channel in range(1, x.shape[1]):
        h = _mix(h) * CHANNEL + torch.select(words, 1, channel)
    return _mix(h)


def _words(x: Tensor) -> Tensor:
    """One int64 for every number: its pieces of 60 bits, each times a word of its own."""
    rest, words = x.double(), torch.zeros_like(x, dtype=torch.int64)
    for exponent, word in zip(EXPONENTS, WORD, strict=True):
        piece = (rest * 2.0**exponent).long()
        rest = rest - piece.double() * 2.0**-exponent
        words = words + piece * word
    return words


def _mix(h: Tensor) -> Tensor:
    """Spread a word: h(2h + 1), a permutation, times a constant; then high bits to the low."""
    h = h * (2 * h + 1) * SPREAD
    return h + (h.double() * FOLD).long()


def _view(h: Tensor, dim: int, size: int) -> Tensor:
    """Combine h along a circular axis until each entry has seen all `size` places."""
    for k in range((size - 1).bit_length()):
        far = wrap_axis(h, dim, size, 1 << k, (1 << k) + size)
        h = h + far * VIEW[k % len(VIEW)]
    return h
