"""DDAC: a learned low-pass that differs from place to place."""

from __future__ import annotations

from math import log
from typing import Literal

import torch
from torch import Tensor, nn

from equiaudit.sampling.blurpool import Padding, padded
from equiaudit.sampling.polyphase import Stride, pair


class DDAC(nn.Module):
    """y[c, p] = sum_k sigma[g(c), k, p] * x[c, p + k], then every stride-th position.

    (Zou et al., "Delving deeper into anti-aliasing", 2020.) sigma is a softmax of
    BN(conv(x)), with kernel x kernel taps in each of `groups` groups of channels. Published with
    scope="all": one softmax over groups and taps together, which scales y by about 1/groups for
    the next layer to absorb. scope="group" takes one per group, so the taps of each sum to 1.
    Published behind an operation at stride 1, as BlurPool, with reflected borders. Needs training,
    unless `start_as_identity_` is called. With padding="circular" the filter commutes with
    circular shifts, the sampling behind it does not: combine with stride 1 and `PolyphaseDown`,
    or `MASS`.
    """

    def __init__(
        self,
        channels: int,
        kernel: int = 3,
        stride: Stride = 2,
        *,
        groups: int = 8,
        padding: Padding = "reflect",
        scope: Literal["all", "group"] = "all",
    ) -> None:
        super().__init__()
        if channels % groups or kernel % 2 == 0:
            raise ValueError(
                f"expected an odd kernel and channels divisible by the groups, got a kernel of"
                f" {kernel}, {channels} channels and {groups} groups"
            )
        self.kernel, self.stride, self.groups = kernel, pair(stride), groups
        self.padding, self.scope = padding, scope
        self.conv = nn.Conv2d(channels, groups * kernel**2, kernel, bias=False)
        self.bn = nn.BatchNorm2d(groups * kernel**2)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    @torch.no_grad()
    def start_as_identity_(self, centre: float = 0.95) -> None:
        """Give the middle tap of each group a share `centre` of its group, the same everywhere.

        The scale of the batch norm starts at zero; it learns first, then the convolution.
        """
        nn.init.zeros_(self.bn.weight)
        nn.init.zeros_(self.bn.bias)
        taps = self.kernel**2
        if taps > 1:
            self.bn.bias[taps // 2 :: taps] = log(centre / (1 - centre) * (taps - 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, ceil(H/sh), ceil(W/sw)), same dtype."""
        channels, height, width = x.shape[1:]
        wide = padded(x, self.kernel, self.padding)
        sigma = self._sigma(self.bn(nn.functional.conv2d(wide, self.conv.weight)))
        grouped = wide.reshape(-1, self.groups, channels // self.groups, *wide.shape[2:])
        total = None
        for k in range(self.kernel**2):
            row, column = divmod(k, self.kernel)
            seen = grouped.narrow(3, row, height).narrow(4, column, width)
            part = seen * sigma[:, :, k].unsqueeze(2)
            total = part if total is None else total + part
        y = total.reshape(-1, channels, height, width).type_as(x)  # type: ignore[union-attr]
        return y if self.stride == (1, 1) else y[:, :, :: self.stride[0], :: self.stride[1]]

    def _sigma(self, logits: Tensor) -> Tensor:
        """(B, G*k*k, H, W) to shares (B, G, k*k, H, W).

        In eval in float64, rounded once: vector and scalar code for exp may differ by a bit, and
        which pixels get which depends on where they lie.
        """
        height, width = logits.shape[2:]
        wide = logits if self.training else logits.double()
        if self.scope == "group":
            wide = wide.reshape(-1, self.groups, self.kernel**2, height, width)
            shares = torch.softmax(wide, 2)
        else:
            shares = torch.softmax(wide, 1)
        shares = shares.reshape(-1, self.groups, self.kernel**2, height, width)
        return shares if self.training else shares.type_as(logits)
