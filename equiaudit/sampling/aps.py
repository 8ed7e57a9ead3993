"""APS: adaptive polyphase sampling, the component with the largest norm."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from equiaudit.sampling.polyphase import (
    PolyphaseDown,
    PolyphaseUp,
    Selector,
    Stride,
    Ties,
    components,
)
from equiaudit.sampling.statistic import channel_energy, component_sums, quantise
from equiaudit.sampling.windowing import central

NORMS = (1, 2, 3, 4, math.inf)
"""Orders whose powers need only IEEE operations, which treat every pixel alike."""


class APSSelector(Selector):
    """Scores: the p-norms of the components over all channels (Chaman & Dokmanic, 2021).

    `p` is 1, 2, 3, 4 or infinity; with `smallest` the smallest norm wins. The sums are exact, so
    no shift changes them, whatever the dtype of x. No parameters, and no gradient flows to it.
    The published rule, an argmax of l2 norms, is `ties="first"`: it fails where norms tie.
    """

    def __init__(
        self,
        stride: Stride,
        p: float = 2,
        *,
        smallest: bool = False,
        ties: Ties = "image",
        window: int = 0,
    ) -> None:
        super().__init__(stride, ties=ties, window=window)
        if p not in NORMS:
            raise ValueError(f"expected p of 1, 2, 3, 4 or inf, got {p}")
        self.p = p
        self.sign = -1.0 if smallest else 1.0

    @torch.no_grad()
    def scores(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, sh*sw), float64: the p-th powers of the norms, to a common scale."""
        sh, sw = self.stride
        x = central(x, (self._margin(x, 2, sh), self._margin(x, 3, sw)))
        if math.isinf(self.p):
            top = torch.amax(torch.abs(components(x, self.stride)), [2, 3, 4]).double()
        else:
            size = (x.shape[2], x.shape[3])
            energy = channel_energy(_root(x.float(), self.p), (x.shape[1], *size))
            top = component_sums(quantise(energy), size, self.stride).reshape(-1, sh * sw)
        return self.sign * top

    def _margin(self, x: Tensor, dim: int, stride: int) -> int:
        """What the window leaves out, in px of x and whole strides."""
        return min(self.window, x.shape[dim] // stride // 4) * stride


def _root(x: Tensor, p: float) -> Tensor:
    """|x|^(p/2), by operations that IEEE rounds correctly."""
    if p == 2:
        return x
    size = torch.abs(x)
    if p == 4:
        return size * size
    root = torch.sqrt(size)
    return root if p == 1 else size * root


class APSD(PolyphaseDown):
    """APS-D: behind an operation at stride 1, the component of largest p-norm, per sample.

    Exact with circular padding everywhere, for any stride that divides H and W; no training
    needed to be so. Published for stride 2 with p = 2 and an optional blur before the choice.
    """

    def __init__(
        self,
        stride: Stride = 2,
        p: float = 2,
        *,
        filter: nn.Module | None = None,
        ties: Ties = "image",
        window: int = 0,
    ) -> None:
        super().__init__(APSSelector(stride, p, ties=ties, window=window), filter)


class APSU(PolyphaseUp):
    """APS-U: zeros on all components but the chosen one, then an optional blur (gain 1)."""

    def __init__(self, stride: Stride = 2, *, filter: nn.Module | None = None) -> None:
        super().__init__(stride, filter)
