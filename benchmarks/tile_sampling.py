"""The U-Net of `tile_unet.py` with each method's sampling layers, for `tile_methods.py`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from tile_unet import UNet
from torch import Tensor, nn

from equiaudit.sampling import (
    APSSelector,
    BlurPool,
    CAPSSelector,
    Choice,
    LPSSelector,
    OriginSelector,
    Selector,
    circular_pad,
    roll_by,
)
from equiaudit.sampling.polyphase import sample

__all__ = ["METHODS", "PADDING", "SampledUNet", "raised"]

PADDING = {
    "base": "zeros",
    "base-circular": "circular",
    "lpf-3": "zeros",
    "aps": "circular",
    "lps": "circular",
    "mass": "circular",
    "caps": "circular",
    "caps-zeros": "zeros",
}
"""Of all convolutions. The blur of `lpf-3` is reflected, as published."""
METHODS = tuple(PADDING)
QUARTER = 2**16
"""A window this wide leaves out as much as there can be: a quarter of a component per side."""


class SampledUNet(UNet):
    """(N, 1, H, W) -> (N, 2, H, W) logits; the weights that all methods share start alike.

    Down: a max pool of 2, at stride 1 where a component is chosen behind it. Up: a transposed
    convolution, then the roll to the chosen component.
    """

    def __init__(self, method: str, width: int = 8) -> None:
        super().__init__(width=width, padding=PADDING[method])
        self.method = method
        inward = [width, 2 * width, 4 * width, 8 * width]
        head = (2 * width, width)  # published: 128 and 64; narrowed with the net
        self.select = nn.ModuleList(_selector(method, channels, head) for channels in inward)

    def forward(self, x: Tensor) -> Tensor:
        """As in the class."""
        skips, choices = [self.encoder[0](x)], []
        for stage, select in zip(self.encoder[1:], self.select, strict=True):
            lowered, choice = self._lowered(skips[-1], select)
            choices.append(choice)
            skips.append(stage(lowered))
        y = skips.pop()
        for up, stage in zip(self.up, self.decoder, strict=True):
            y = stage(torch.cat([skips.pop(), self._raised(up(y), choices.pop())], 1))
        return self.head(y)

    def _lowered(self, x: Tensor, select: nn.Module) -> tuple[Tensor, Choice | None]:
        if isinstance(select, OriginSelector):
            origin = select(x)
            return self.pool(roll_by(x, -origin)), Choice(origin, None)
        if isinstance(select, Selector):
            dense = F.max_pool2d(self._one_more(x), 2, 1)
            choice = select(dense)
            return sample(dense, choice, 2), choice
        return (select(F.max_pool2d(x, 2, 1)), None) if self._blurs else (self.pool(x), None)

    def _one_more(self, x: Tensor) -> Tensor:
        """A row and a column for a window of 2 at stride 1; the maps are not negative."""
        if PADDING[self.method] == "zeros":
            return F.pad(x, [0, 1, 0, 1])
        return circular_pad(x, (0, 1, 0, 1), (x.shape[2], x.shape[3]))

    @property
    def _blurs(self) -> bool:
        return self.method == "lpf-3"

    def _raised(self, y: Tensor, choice: Choice | None) -> Tensor:
        if choice is not None:
            # LPS-U mixes as LPS-D did; CAPS-U takes the largest weight alone.
            return raised(y, choice if self.method == "lps" else Choice(choice.origin, None))
        return BlurPool(3, 1)(y) if self._blurs else y


def raised(y: Tensor, choice: Choice) -> Tensor:
    """y (B, C, H, W) of a transposed convolution of 2 at stride 2, moved to its component.

    The same as zeros on the other components and then that convolution at stride 1; with
    weights, the mixture of what each component would give.
    """
    if choice.weights is None:
        return roll_by(y, choice.origin)
    moved = [torch.roll(y, (i, j), (2, 3)) for i in range(2) for j in range(2)]
    weights = choice.weights.reshape(-1, 4, 1, 1, 1)
    return sum(weights[:, k] * part for k, part in enumerate(moved))


def _selector(method: str, channels: int, head: tuple[int, int]) -> nn.Module:
    if method == "mass":
        return OriginSelector(2)
    if method == "aps":
        return APSSelector(2)
    if method == "lps":
        return LPSSelector(channels)
    if method.startswith("caps"):
        zeros = method == "caps-zeros"
        window, padding = (QUARTER, "zeros") if zeros else (0, "circular")
        return CAPSSelector(channels, head=head, window=window, padding=padding)
    return BlurPool(3) if method == "lpf-3" else nn.Identity()
