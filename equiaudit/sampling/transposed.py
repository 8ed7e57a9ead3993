"""Upsampling that treats a map as a circle: the map is wrapped first, and the surplus cut off."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from equiaudit.sampling.circles import circular
from equiaudit.sampling.polyphase import pair
from equiaudit.sampling.wrapping import CircularPad2d

_REACH = {"nearest": 0, "nearest-exact": 0, "bilinear": 1, "bicubic": 2}


class CircularUp(nn.Module):
    """`up`, of factor (sh, sw), run on a map wrapped by `wrap` px (rows, columns) on each side.

    `up` maps (B, C, h, w) to whatever it does of a larger map; sh * h rows and sw * w columns are
    kept, from `first` on.
    """

    def __init__(
        self, up: nn.Module, factor: tuple[int, int], wrap: tuple[int, int], first: tuple[int, int]
    ) -> None:
        super().__init__()
        self.up = up
        self.factor = factor
        self.first = first
        self.pad = CircularPad2d((wrap[1], wrap[1], wrap[0], wrap[0]))

    def forward(self, z: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C', sh*h, sw*w)."""
        rows, columns = z.shape[2] * self.factor[0], z.shape[3] * self.factor[1]
        wide: Tensor = self.up(self.pad(z))
        return wide.narrow(2, self.first[0], rows).narrow(3, self.first[1], columns)


def circular_up(up: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """`up` on circles, and the names of what was changed; parameters are shared.

    Raises ValueError for a transposed convolution that does not multiply the size by its stride,
    and for upsampling by a factor that is not whole, of another mode, or with align_corners.
    """
    if isinstance(up, nn.ConvTranspose2d):
        return _transposed(up)
    if isinstance(up, nn.Upsample):
        return _upsample(up)
    if isinstance(up, nn.Sequential):
        made = [(name, *circular_up(part)) for name, part in up.named_children()]
        changed = tuple(f"{name}: {said}" for name, _, parts in made for said in parts)
        return (up if not changed else nn.Sequential(*(part for _, part, _ in made))), changed
    return circular(up)


def _transposed(up: nn.ConvTranspose2d) -> tuple[nn.Module, tuple[str, ...]]:
    """Output row j is made of the inputs i with 0 <= j + padding - i * stride < the kernel."""
    steps = pair(up.stride)  # type: ignore[arg-type]
    padding = pair(up.padding)  # type: ignore[arg-type]
    reach = [d * (k - 1) for d, k in zip(up.dilation, up.kernel_size, strict=True)]
    sides = zip(steps, padding, reach, up.output_padding, strict=True)
    if any(s != r + 1 - 2 * p + extra for s, p, r, extra in sides):
        raise ValueError(
            f"ConvTranspose2d of kernel {up.kernel_size} and padding {padding} does not multiply"
            f" a map by its stride {steps}: give it kernel - 2 padding + output_padding = stride"
        )
    if all(r < s for r, s in zip(reach, steps, strict=True)) and padding == (0, 0):
        return up, ()
    wrap = tuple(-(-(r + p) // s) for r, p, s in zip(reach, padding, steps, strict=True))
    twin = copy.copy(up)
    twin.padding, twin.output_padding = (0, 0), (0, 0)
    first = tuple(w * s + p for w, s, p in zip(wrap, steps, padding, strict=True))
    made = CircularUp(twin, steps, (wrap[0], wrap[1]), (first[0], first[1]))
    return made, ("ConvTranspose2d",)


def _upsample(up: nn.Upsample) -> tuple[nn.Module, tuple[str, ...]]:
    if up.scale_factor is None or up.mode not in _REACH or up.align_corners:
        raise ValueError(
            f"Upsample ({up.extra_repr()}) is no map of circles: give it a scale_factor, one of"
            f" the modes {', '.join(_REACH)}, and align_corners=False"
        )
    given = up.scale_factor if isinstance(up.scale_factor, tuple) else (up.scale_factor,) * 2
    factor = (int(given[0]), int(given[1]))
    if factor != given:
        raise ValueError(f"Upsample by {given}: a circle is enlarged by whole numbers")
    wrap = _REACH[up.mode]
    if wrap == 0:
        return up, ()
    first = (wrap * factor[0], wrap * factor[1])
    return CircularUp(up, factor, (wrap, wrap), first), (f"Upsample ({up.mode})",)
