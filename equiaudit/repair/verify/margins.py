"""How clearly the origins of a rewritten net were decided by energy."""

from __future__ import annotations

from typing import Any

import torch
import torch.fx as fx
from torch import Tensor

from equiaudit.repair.rewrite.levels import ENERGY


@torch.no_grad()
def selection_margin(net: fx.GraphModule, x: Tensor) -> Tensor:
    """The smallest relative gap between the best and the second energy, per image: (B,), float64.

    x is (B, C, H, W); `net` comes from `rewrite(select="features")` in this process. 0 is a tie,
    which the image's own hash decided; 1 where there was nothing to choose.
    """
    watch = _Watch(net)
    watch.run(x)
    gaps = [_gap(energy) for energy in watch.energies]
    top = torch.ones(len(x), dtype=torch.float64, device=x.device)
    return torch.stack([top, *gaps]).amin(0)


class _Watch(fx.Interpreter):
    """Runs a net and keeps the energies that its origins were chosen by."""

    def __init__(self, net: fx.GraphModule) -> None:
        super().__init__(net)
        self.energies: list[Tensor] = []

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        bits = n.meta.get(ENERGY)
        if bits is not None:
            self.energies.append(_joined(value, bits) if bits else value)
        return value


def _joined(digits: Tensor, bits: int) -> Tensor:
    """Digits (B, n, sh, sw) of so many bits, the highest first, as numbers."""
    joined = torch.zeros_like(digits[:, 0], dtype=torch.float64)
    for digit in digits.unbind(1):
        joined = joined * 2.0**bits + digit.double()
    return joined


def _gap(energy: Tensor) -> Tensor:
    """(first - second) / first over the candidates; 1 with one candidate, 0 for a blank map."""
    best = energy.flatten(1).topk(2, dim=1).values
    first, second = best[:, 0], best[:, 1].clamp(min=0)
    return torch.where(first > 0, (first - second) / first.clamp(min=1), 0.0)
