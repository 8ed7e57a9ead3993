"""CAPS: component attention polyphase sampling."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from equiaudit.sampling.mean import order_free_mean
from equiaudit.sampling.polyphase import PolyphaseDown, PolyphaseUp, Selector, Stride, Ties
from equiaudit.sampling.scoring import component_means, copy_channels_, same_conv
from equiaudit.sampling.windowing import central

Form = Literal["equivariant", "paper"]
Mode = Literal["hard", "soft"]

_HEAD = (128, 64)
_EPSILON = 1e-5


class CAPSSelector(Selector):
    """Scores: a map per component, windowed and averaged, then attention across components.

    (Component attention polyphase sampling, arXiv 2309.16902, as far as it was published.)
    One head for all components: conv3x3 to 128, BN, ReLU, conv3x3 to 64, BN, ReLU, conv1x1 to 1
    (`head` gives other widths than 128 and 64, for narrow nets).
    Its windowed mean z has one number per component; attention mixes them, and
    softmax(sigmoid(.) / temperature) are the weights.

    form="equivariant" standardises z over the components and mixes by a circular convolution
    over the sh x sw grid, which commutes with shifts. form="paper" mixes by a 1-D convolution of
    width 3 along the flat list, bordered by zeros, which does not: never exact. A mixture of the
    components (mode="soft", and always in training) is not exact either, the less the lower the
    temperature; mode="hard" takes the best component in eval and is, with window 0 and
    padding="circular" ("zeros" is what the published net was built with). sigmoid=False takes
    the scores as they are, which keeps them apart: mixtures are then nearer to one component.
    """

    def __init__(
        self,
        channels: int,
        stride: Stride = 2,
        *,
        form: Form = "equivariant",
        mode: Mode = "hard",
        temperature: float = 1.0,
        sigmoid: bool = True,
        padding: Literal["circular", "zeros"] = "circular",
        ties: Ties = "image",
        window: int = 0,
        head: tuple[int, int] = _HEAD,
    ) -> None:
        super().__init__(stride, ties=ties, window=window)
        first, second = head
        self.conv1, self.bn1 = nn.Conv2d(channels, first, 3), nn.BatchNorm2d(first)
        self.conv2, self.bn2 = nn.Conv2d(first, second, 3), nn.BatchNorm2d(second)
        self.conv3 = nn.Conv2d(second, 1, 1)
        self.form, self.mode = form, mode
        self.temperature, self.sigmoid = temperature, sigmoid
        self.circular = padding == "circular"
        shape = self.stride if form == "equivariant" else (1, 1, 3)
        self.attention = nn.Parameter(_impulse(shape))

    def start_from_activation_(self) -> None:
        """Start from the mean positive activation of the first channels, as APS with p = 1."""
        for conv in (self.conv1, self.conv2):
            copy_channels_(conv)
        with torch.no_grad():
            self.conv3.weight.fill_(1.0 / self.conv3.in_channels)
            nn.init.zeros_(self.conv3.bias)  # type: ignore[arg-type]

    def scores(self, x: Tensor) -> Tensor:
        """Attention before the sigmoid (which would saturate), (B, sh*sw)."""
        dtype, exact = self.conv1.weight.dtype, not self._mixes
        z = component_means(x, self.stride, self._head, dtype=dtype, exact=exact)
        return self._attend(_standardised(z, exact) if self.form == "equivariant" else z)

    @property
    def _mixes(self) -> bool:
        return self.training or self.mode == "soft"

    def _head(self, component: Tensor) -> Tensor:
        h = torch.relu(self.bn1(same_conv(component, self.conv1, circular=self.circular)))
        h = torch.relu(self.bn2(same_conv(h, self.conv2, circular=self.circular)))
        return central(same_conv(h, self.conv3), self.window)

    def _attend(self, z: Tensor) -> Tensor:
        kernel = self.attention.to(z.dtype)
        if self.form == "paper":
            return nn.functional.conv1d(z.unsqueeze(1), kernel, padding=1).squeeze(1)
        grid = z.reshape(-1, *self.stride)
        total = grid * kernel[0, 0]
        for i in range(self.stride[0]):
            for j in range(self.stride[1]):
                if (i, j) != (0, 0):  # one order of addition for every component
                    total = total + torch.roll(grid, (i, j), (1, 2)) * kernel[i, j]
        return total.reshape(-1, self.stride[0] * self.stride[1])

    def weights(self, scores: Tensor) -> Tensor | None:
        """(B, sh*sw) in training and in mode "soft"; None where one component is taken."""
        if not self._mixes:
            return None
        rho = torch.sigmoid(scores) if self.sigmoid else scores
        return torch.softmax(rho / self.temperature, 1)


def _impulse(shape: tuple[int, ...]) -> Tensor:
    """The kernel that changes nothing: a one at the origin, or in the middle of a 1-D kernel."""
    kernel = torch.zeros(shape)
    kernel.view(-1)[0 if len(shape) == 2 else shape[-1] // 2] = 1.0
    return kernel


def _standardised(z: Tensor, exact: bool) -> Tensor:
    """z (B, n) with mean 0 and variance 1 over its n values."""
    if not exact:
        centred = z - z.mean(1, keepdim=True)
        return centred / torch.sqrt(centred.square().mean(1, keepdim=True) + _EPSILON)
    count = z.shape[1]
    centred = z - order_free_mean(z, [1], count, True)
    return centred / torch.sqrt(order_free_mean(centred * centred, [1], count, True) + _EPSILON)


class CAPSD(PolyphaseDown):
    """CAPS-D: behind an operation at stride 1, components mixed by attention, or the best taken.

    Published with stride 2, trained from scratch: the selector needs training to be of use.
    """

    def __init__(
        self,
        channels: int,
        stride: Stride = 2,
        *,
        form: Form = "equivariant",
        mode: Mode = "hard",
        temperature: float = 1.0,
        filter: nn.Module | None = None,
        window: int = 0,
    ) -> None:
        select = CAPSSelector(
            channels, stride, form=form, mode=mode, temperature=temperature, window=window
        )
        super().__init__(select, filter)


class CAPSU(PolyphaseUp):
    """CAPS-U: zeros on all components but the one with the largest weight, as APS-U."""

    def __init__(self, stride: Stride = 2, *, filter: nn.Module | None = None) -> None:
        super().__init__(stride, filter)
