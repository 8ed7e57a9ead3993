"""Batch normalisation inside a captured graph: its mode, and its statistics re-estimated.

A captured graph has no BatchNorm modules: it has `aten.batch_norm` nodes that read weights
and running statistics by name and carry their mode as an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

__all__ = ["batch_norms", "batch_statistics", "calibrate"]

_MEAN, _VARIANCE, _MODE, _MOMENTUM = 3, 4, 5, 6


def batch_norms(graph: fx.GraphModule) -> list[fx.Node]:
    """The nodes that normalise by running statistics, in order."""
    return [
        node
        for node in graph.graph.nodes
        if node.target is torch.ops.aten.batch_norm.default
        and all(_is_tensor(node.args[i]) for i in (_MEAN, _VARIANCE))
    ]


@contextmanager
def batch_statistics(graph: fx.GraphModule, *, follow: bool) -> Iterator[None]:
    """Inside, batch norms normalise by their batch; running statistics `follow` it or stay."""
    nodes = batch_norms(graph)
    momenta = [node.args[_MOMENTUM] for node in nodes]
    for node in nodes:
        node.update_arg(_MODE, True)
        node.update_arg(_MOMENTUM, node.args[_MOMENTUM] if follow else 0.0)
    graph.recompile()
    try:
        yield
    finally:
        for node, momentum in zip(nodes, momenta, strict=True):
            node.update_arg(_MODE, False)
            node.update_arg(_MOMENTUM, momentum)
        graph.recompile()


def calibrate(graph: fx.GraphModule, batches: Iterable[Tensor]) -> int:
    """Set every running mean and variance to those of `batches` (N, C, H, W); returns how many.

    Each layer sees what the layers before it make of a batch with that batch's own statistics,
    as in training; sums over the batches are kept in float64, so the result is that of one
    pass over all values, with the variance unbiased as in `torch.nn.BatchNorm2d`. Nothing
    else of the graph changes. 0 where there is no batch normalisation.
    """
    nodes = batch_norms(graph)
    if not nodes:
        return 0
    watch = _Watch(graph, nodes)
    with torch.no_grad():
        with batch_statistics(graph, follow=False):
            for batch in batches:
                watch.run(batch)
        for name, sums in watch.sums.items():
            sums.write(*(graph.get_buffer(part) for part in name))
    return len(watch.sums)


@dataclass
class _Sums:
    """Of one set of running statistics, (C,) float64."""

    count: int
    total: Tensor
    squares: Tensor

    def write(self, mean: Tensor, variance: Tensor) -> None:
        found = self.total / self.count
        spread = (self.squares / self.count - found * found).clamp_min(0)
        mean.copy_(found)
        variance.copy_(spread * (self.count / max(self.count - 1, 1)))


class _Watch(fx.Interpreter):
    """Runs the graph and sums what goes into its batch norms."""

    def __init__(self, graph: fx.GraphModule, nodes: list[fx.Node]) -> None:
        super().__init__(graph)
        self.nodes = set(nodes)
        self.sums: dict[tuple[str, str], _Sums] = {}

    def run_node(self, n: fx.Node) -> Any:
        """As it is, with a look at the input."""
        if n in self.nodes:
            self._add(n, self.env[n.args[0]])  # type: ignore[index]
        return super().run_node(n)

    def _add(self, node: fx.Node, x: Tensor) -> None:
        names = (_name(node.args[_MEAN]), _name(node.args[_VARIANCE]))
        wide = x.double().transpose(0, 1).flatten(1)
        total, squares = wide.sum(1), (wide * wide).sum(1)
        known = self.sums.get(names)
        if known is None:
            self.sums[names] = _Sums(wide.shape[1], total, squares)
            return
        known.count += wide.shape[1]
        known.total += total
        known.squares += squares


def _is_tensor(argument: object) -> bool:
    return isinstance(argument, fx.Node) and argument.op == "get_attr"


def _name(argument: object) -> str:
    return str(argument.target) if isinstance(argument, fx.Node) else ""
