"""LPS: learnable polyphase sampling, a score per component from a small shared net."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from equiaudit.sampling.polyphase import PolyphaseDown, PolyphaseUp, Selector, Stride, Ties
from equiaudit.sampling.scoring import component_means, copy_channels_, same_conv
from equiaudit.sampling.windowing import central


class LPSSelector(Selector):
    """Scores: mean(conv3x3(relu(conv3x3(component)))), one net for all components.

    (Rojas-Gomez et al., 2022.) In training the components are mixed by a Gumbel softmax at
    temperature `gumbel_tau` (with `gumbel=False` a plain softmax), which is how the gradient
    reaches the net; in eval the best one is taken, which is exact with circular padding. `hidden`
    channels, by default as many as x has. A window leaves border values out of the mean.
    """

    gumbel_tau: Tensor

    def __init__(
        self,
        channels: int,
        stride: Stride = 2,
        *,
        hidden: int | None = None,
        tau: float = 1.0,
        gumbel: bool = True,
        ties: Ties = "image",
        window: int = 0,
    ) -> None:
        super().__init__(stride, ties=ties, window=window)
        width = channels if hidden is None else hidden
        self.conv1 = nn.Conv2d(channels, width, 3)
        self.conv2 = nn.Conv2d(width, width, 3)
        self.register_buffer("gumbel_tau", torch.tensor(tau))
        self.gumbel = gumbel

    def start_from_activation_(self, gain: float = 1.0) -> None:
        """Start as the mean positive activation times `gain`, close to APS with p = 1."""
        copy_channels_(self.conv1)
        copy_channels_(self.conv2)
        with torch.no_grad():
            self.conv2.weight.mul_(gain)

    def scores(self, x: Tensor) -> Tensor:
        """Logits (B, sh*sw) of x (B, C, H, W)."""
        dtype, exact = self.conv1.weight.dtype, not self.training
        return component_means(x, self.stride, self._net, dtype=dtype, exact=exact)

    def _net(self, component: Tensor) -> Tensor:
        hidden = torch.relu(same_conv(component, self.conv1))
        return central(same_conv(hidden, self.conv2), self.window)

    def weights(self, scores: Tensor) -> Tensor | None:
        """(B, sh*sw) in training, drawn anew at every call; None in eval."""
        if not self.training:
            return None
        scores = scores.float() if scores.dtype in (torch.bfloat16, torch.float16) else scores
        noise = -torch.log(torch.empty_like(scores).exponential_()) if self.gumbel else 0.0
        return torch.softmax((scores + noise) / self.gumbel_tau, 1)


@dataclass(frozen=True)
class TauSchedule:
    """Temperatures by epoch: straight lines between (epoch, tau) points, constant outside.

    `TauSchedule.decay` gives the geometric one of the CIFAR recipe (0.85 every 10 epochs).
    Published for ImageNet, 90 epochs: ((0, 1), (62, 0.5), (82, 0.05), (90, 0.01)).
    """

    points: Sequence[tuple[float, float]]

    @classmethod
    def decay(
        cls, epochs: int, factor: float = 0.85, every: int = 10, floor: float = 0.025
    ) -> TauSchedule:
        """tau = max(floor, factor^(epoch // every)), in steps, from 1."""
        taus = [max(floor, factor ** (epoch // every)) for epoch in range(epochs + 1)]
        return cls(tuple(enumerate(taus)))

    def at(self, epoch: float) -> float:
        """The temperature at an epoch, which may be a fraction."""
        points = sorted(self.points)
        if epoch <= points[0][0]:
            return points[0][1]
        for (left, high), (right, low) in pairwise(points):
            if epoch <= right:
                return high + (low - high) * (epoch - left) / (right - left)
        return points[-1][1]

    def apply(self, model: nn.Module, epoch: float) -> float:
        """Set every buffer named `gumbel_tau` in `model`; returns the temperature."""
        tau = self.at(epoch)
        for name, buffer in model.named_buffers():
            if name.rpartition(".")[2] == "gumbel_tau":
                buffer.fill_(tau)
        return tau


class LPSD(PolyphaseDown):
    """LPS-D: behind an operation at stride 1, the component a small shared net scores highest.

    Published for stride 2; here any that divides H and W. The selector needs training to be of
    use, not to be exact.
    """

    def __init__(
        self,
        channels: int,
        stride: Stride = 2,
        *,
        hidden: int | None = None,
        tau: float = 1.0,
        gumbel: bool = True,
        filter: nn.Module | None = None,
        select_before_filter: bool = False,
        window: int = 0,
    ) -> None:
        select = LPSSelector(channels, stride, hidden=hidden, tau=tau, gumbel=gumbel, window=window)
        super().__init__(select, filter, select_before_filter=select_before_filter)


class LPSU(PolyphaseUp):
    """LPS-U: in training z times each component's weight, in eval zeros but for the chosen one.

    A filter comes with a gain of sh*sw, which makes up for the zeros.
    """

    def __init__(self, stride: Stride = 2, *, filter: nn.Module | None = None) -> None:
        super().__init__(stride, filter, soft=True)
        self.gain = 1.0 if filter is None else float(self.stride[0] * self.stride[1])
