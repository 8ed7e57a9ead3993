"""Origins chosen by a module that scores the candidates, one module per level."""

from __future__ import annotations

import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import torch
import torch.fx as fx
from torch import Tensor, nn

from equiaudit.repair.rewrite.grid import Grid
from equiaudit.repair.rewrite.levels import FeatureLevels
from equiaudit.sampling.polyphase import Choice, Selector, sample

MakeSelector = Callable[[int, tuple[int, int], Grid], Selector]


class Scores(nn.Module):
    """A selector's scores (B, sh, sw) float64, and its weights (B, sh*sw) where it mixes."""

    def __init__(self, select: Selector) -> None:
        super().__init__()
        self.select = select

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Of the components of x (B, C, H, W); where they are mixed, the weights are the scores."""
        scores = self.select.scores(x)
        weights = self.select.weights(scores)
        best = scores if weights is None else weights
        return best.detach().double().reshape(-1, *self.select.stride), weights


class Sample(nn.Module):
    """Take each sample's own component, or mix them."""

    def __init__(self, stride: tuple[int, int]) -> None:
        super().__init__()
        self.stride = stride

    def forward(
        self, x: Tensor, rows: Tensor | None, columns: Tensor | None, weights: Tensor | None
    ) -> Tensor:
        """x (B, C, H, W), origins (B,) of each axis or None for 0, weights (B, sh*sw) or None."""
        known = rows if rows is not None else columns
        zero = torch.zeros_like(known)  # type: ignore[arg-type]
        origin = torch.stack([zero if o is None else o for o in (rows, columns)], 1)
        return sample(x, Choice(origin, weights), self.stride)


class ScoredLevels(FeatureLevels):
    """Levels whose first operation is scored by a module that `make` returns.

    `make(channels, (sh, sw), coarse)` is asked once per level; the module joins the net as
    `select_<rows>x<columns>`, named by the level's stride.
    """

    def __init__(self, make: MakeSelector) -> None:
        super().__init__()
        self.make = make
        self._weights: dict[tuple[Any, Any], fx.Node] = {}

    def scored(self, b: Any, source: fx.Node, channels: int, fine: Grid, coarse: Grid) -> fx.Node:
        """By the level's own module."""
        stride = ratios(fine, coarse)
        name = "select_{}x{}".format(*coarse.strides)
        b.root.add_module(name, Scores(self.make(channels, stride, coarse)))
        found = b.graph.call_module(name, (source,))
        self._weights[fine.strides, coarse.strides] = b.aten(operator.getitem, found, 1)
        scores: fx.Node = b.aten(operator.getitem, found, 0)
        return scores

    def weights(self, b: Any, fine: Grid, coarse: Grid) -> fx.Node | None:
        """The weights, if the modules mix, by which a map on `fine` goes down to `coarse`.

        A way down that shares one axis with the one that was scored gets its marginals.
        """
        whole = self._weights.get((fine.strides, coarse.strides))
        if whole is not None:
            return whole
        each = [
            self._marginal(b, axis, f, c)
            for axis, (f, c) in enumerate(zip(fine.strides, coarse.strides, strict=True))
            if f != c
        ]
        if any(part is None for part in each):
            return None
        product: fx.Node = b.graph.call_function(_outer, tuple(each))
        return product

    def _marginal(self, b: Any, axis: int, fine: Fraction, coarse: Fraction) -> fx.Node | None:
        for (low, high), joint in self._weights.items():
            if (low[axis], high[axis]) == (fine, coarse):
                stride = tuple(int(h / f) for f, h in zip(low, high, strict=True))
                part: fx.Node = b.graph.call_function(_summed, (joint, stride, axis))
                return part
        return None


def ratios(fine: Grid, coarse: Grid) -> tuple[int, int]:
    """Steps of `fine` per step of `coarse`, rows and columns."""
    h, w = (int(c / f) for f, c in zip(fine.strides, coarse.strides, strict=True))
    return h, w


def _summed(weights: Tensor | None, stride: tuple[int, int], axis: int) -> Tensor | None:
    """The weights of one axis alone, (B, n); None where nothing is mixed."""
    return None if weights is None else weights.reshape(-1, *stride).sum(2 - axis)


def _outer(rows: Tensor | None, columns: Tensor | None = None) -> Tensor | None:
    """The weights of two axes together, (B, m*n)."""
    if rows is None or columns is None:
        return rows
    return (rows.unsqueeze(2) * columns.unsqueeze(1)).flatten(1)
