"""Sums and choices in float32 alone, for runtimes that have no 64 bits.

What `mean`, `statistic` and `origin` add up in float64 and int64 is cut into digits here: whole
numbers so small that every sum of them stays below 2^24. Such sums are exact in float32, in any
order. Origins are compared digit by digit, the highest first.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from equiaudit.errors import NothingToDo

__all__ = [
    "choose",
    "digit_bits",
    "energy_digits",
    "narrow_energy",
    "narrow_mean",
    "narrow_ties",
    "narrow_variance",
    "view_digits",
]

_EXACT = 24
"""Whole numbers up to 2^24 are exact in float32."""
_STEPS = 23
"""Bits of a value among those it is added to, as in `mean`."""
_TINY = 1e-30
_NEVER = -(2.0**25)
"""Below every digit."""
_VIEW_BITS = 12
_FEWEST = 3


def digit_bits(count: int) -> int:
    """Bits of a digit, so that `count` of them and a carry stay below 2^24.

    NothingToDo for more than 2^20, a map of 1024 x 1024.
    """
    bits = _EXACT - 1 - (max(count, 1) - 1).bit_length()
    if bits < _FEWEST:
        raise NothingToDo(
            f"A sum of {count} values is not exact in float32.",
            tip="Take a smaller --size, or leave --for out.",
        )
    return bits


def _digits(whole: Tensor, bits: int, of: int) -> list[Tensor]:
    """Whole numbers below 2^`of` as digits of `bits`, the lowest first; the highest has the sign.

    The gradient goes through the lowest.
    """
    digits, rest = [], whole
    for _ in range(-(-of // bits) - 1):
        above = torch.floor(rest.detach() * 2.0**-bits)
        digits.append(rest - above * 2.0**bits)
        rest = above
    return [*digits, rest]


def narrow_mean(x: Tensor, dims: list[int], count: int, keepdim: bool, over: int = 0) -> Tensor:
    """`mean.order_free_mean` without float64: sum of x over `dims` / (`over` or `count`).

    `count` elements lie in `dims`. Each is rounded to 2^-23 of the largest; the digits' sums are
    put together in float32.
    """
    bits = digit_bits(count)
    x = x.float()
    top = torch.clamp(torch.amax(torch.abs(x.detach()), dims, keepdim=True), min=_TINY)
    scaled = x * (2.0**_STEPS / top)
    whole = scaled + (torch.round(scaled) - scaled).detach()
    total = None
    for digit in reversed(_digits(whole, bits, _STEPS + 1)):
        part = torch.sum(digit, dims, keepdim=True)
        total = part if total is None else total * 2.0**bits + part
    result: Tensor = total * (top * (2.0**-_STEPS / (over or count)))  # type: ignore[operator]
    return result if keepdim else torch.squeeze(result, dims)


def narrow_total(x: Tensor, dims: list[int], count: int, keepdim: bool) -> Tensor:
    """The sum of x over `dims`, which hold `count` elements."""
    return narrow_mean(x, dims, count, keepdim, 1)


def narrow_norm(x: Tensor, dims: list[int], count: int, keepdim: bool) -> Tensor:
    """Euclidean length of x over `dims`."""
    return torch.sqrt(narrow_total(x * x, dims, count, keepdim))


def narrow_variance(
    x: Tensor, dims: list[int], count: int, correction: float, keepdim: bool
) -> Tensor:
    """`order_free.order_free_variance` without float64."""
    centred = x - narrow_mean(x, dims, count, True)
    summed = narrow_total(centred * centred, dims, count, keepdim)
    return summed / max(count - correction, 0.0)


def energy_digits(count: int) -> int:
    """How many digits `narrow_energy` has, whose sums are of `count` values."""
    return -(-(_EXACT + 1) // digit_bits(count))


def narrow_energy(energy: Tensor, size: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    """Sums of `energy` (B, H, W) >= 0 over the components: (B, digits, sh, sw), highest first.

    Each energy counts in steps of 2^-24 of the sample's largest.
    """
    (height, width), (sh, sw) = size, stride
    bits = digit_bits(height * width // (sh * sw))
    top = torch.clamp(torch.amax(energy, [1, 2], keepdim=True), min=_TINY)
    whole = torch.round(energy * (2.0**_EXACT / top))
    sums = [_components(d, size, stride) for d in _digits(whole, bits, _EXACT + 1)]
    for low in range(len(sums) - 1):  # so that one number has one form
        carry = torch.floor(sums[low] * 2.0**-bits)
        sums[low] = sums[low] - carry * 2.0**bits
        sums[low + 1] = sums[low + 1] + carry
    return torch.stack(sums[::-1], 1)


def _components(values: Tensor, size: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    """(B, H, W) to (B, sh, sw); the axis of the rows in a component comes before the columns'."""
    (height, width), (sh, sw) = size, stride
    split = values.reshape(-1, height // sh, sh, width // sw, sw)
    return torch.sum(split, [1, 3])


def view_digits(views: Tensor) -> list[Tensor]:
    """Hashes (int32) as whole numbers of about 12 bits in float32.

    Converting rounds what is above 2^24, so digits overlap a little: together they still tell
    any two hashes apart.
    """
    digits, rest = [], views
    for _ in range(2):
        above = torch.floor(rest.float() * 2.0**-_VIEW_BITS)
        whole = above.to(torch.int32)
        digits.append((rest - whole * 2**_VIEW_BITS).float())
        rest = whole
    return [rest.float(), *digits[::-1]]


def narrow_ties(views: Tensor, size: tuple[int, int], stride: tuple[int, int]) -> list[Tensor]:
    """Sums of the view hashes (B, H, W) over each grid of `stride`: tables (B, sh, sw)."""
    count = size[0] * size[1] // (stride[0] * stride[1])
    least = 2.0 ** (digit_bits(count) - _VIEW_BITS - 1)
    cut = [d if least >= 1 else torch.floor(d * least) for d in view_digits(views)]
    return [_components(d, size, stride) for d in cut]


def choose(digits: Sequence[Tensor], allowed: Tensor | None = None) -> Tensor:
    """The greatest candidate by `digits` (B, n), the highest first, among the `allowed`: (B,).

    What is still tied looks the same from every choice.
    """
    alive = allowed
    for digit in digits:
        known = digit if alive is None else torch.where(alive, digit, _NEVER)
        alive = known == torch.amax(known, [1], keepdim=True)
    return torch.argmax(alive.float(), 1)  # type: ignore[union-attr]
