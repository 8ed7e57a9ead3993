"""Batch normalisation inside a captured graph: its mode, and its statistics re-estimated.

A captured graph has no BatchNorm modules: it has `aten.batch_norm` nodes that read weights
and running statistics by name and carry their mode as an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from equiaudit.torch_private import AnyBatchNorm

_MEAN, _VARIANCE, _MODE, _MOMENTUM = 3, 4, 5, 6


def batch_norms(graph: fx.GraphModule) -> list[fx.Node]:
    """The nodes that normalise by running statistics, in order."""
    return [
        node
        for node in graph.graph.nodes
        if node.target is torch.ops.aten.batch_norm.default
        and all(_is_tensor(node.args[i]) for i in (_MEAN, _VARIANCE))
    ]


def norm_modules(graph: nn.Module) -> dict[str, AnyBatchNorm]:
    """The BatchNorm modules that follow statistics, by name: a selector may hold some."""
    return {
        name: module
        for name, module in graph.named_modules()
        if isinstance(module, AnyBatchNorm) and module.running_mean is not None
    }


@contextmanager
def batch_statistics(graph: fx.GraphModule, *, follow: bool) -> Iterator[None]:
    """Inside, batch norms normalise by their batch; running statistics `follow` it or stay."""
    nodes, modules = batch_norms(graph), norm_modules(graph).values()
    momenta = [node.args[_MOMENTUM] for node in nodes]
    were = [(module.training, module.momentum) for module in modules]
    for node in nodes:
        _set_mode(node, True, node.args[_MOMENTUM] if follow else 0.0)
    for module in modules:
        module.train()
        module.momentum = module.momentum if follow else 0.0
    graph.recompile()
    try:
        yield
    finally:
        for node, momentum in zip(nodes, momenta, strict=True):
            _set_mode(node, False, momentum)
        for module, (training, momentum) in zip(modules, were, strict=True):
            module.train(training)
            module.momentum = momentum
        graph.recompile()


def calibrate(graph: fx.GraphModule, batches: Iterable[Tensor]) -> int:
    """Set every running mean and variance to those of `batches` (N, C, H, W); returns how many.

    Each layer sees what the layers before it make of a batch with that batch's own statistics,
    as in training; sums over the batches are kept in float64, so the result is that of one
    pass over all values, with the variance unbiased as in `torch.nn.BatchNorm2d`. Nothing
    else of the graph changes. 0 where there is no batch normalisation.
    """
    if not batch_norms(graph) and not norm_modules(graph):
        return 0
    watch = _Watch(graph)
    with torch.no_grad():
        with batch_statistics(graph, follow=False), watch.hooks():
            for batch in batches:
                watch.run(batch)
        for sums in watch.sums.values():
            sums.write()
    return len(watch.sums)


@dataclass
class _Sums:
    """Of what goes into one batch norm, (C,) float64, and the running statistics it is for."""

    mean: Tensor
    variance: Tensor
    count: int = 0
    total: Tensor | float = 0.0
    squares: Tensor | float = 0.0

    def add(self, x: Tensor) -> None:
        """The values of x (N, C, ...)."""
        wide = x.double().transpose(0, 1).flatten(1)
        self.count += wide.shape[1]
        self.total = self.total + wide.sum(1)
        self.squares = self.squares + (wide * wide).sum(1)

    def write(self) -> None:
        """Into the running statistics."""
        found = torch.as_tensor(self.total) / self.count
        spread = (torch.as_tensor(self.squares) / self.count - found * found).clamp_min(0)
        self.mean.copy_(found)
        self.variance.copy_(spread * (self.count / max(self.count - 1, 1)))


class _Watch(fx.Interpreter):
    """Runs the graph and sums what goes into its batch norms."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.graph_module = graph
        self.nodes = set(batch_norms(graph))
        self.sums: dict[tuple[str, str], _Sums] = {}

    def run_node(self, n: fx.Node) -> Any:
        """As it is, with a look at the input."""
        if n in self.nodes:
            names = _name(n.args[_MEAN]), _name(n.args[_VARIANCE])
            mean, variance = (self.graph_module.get_buffer(name) for name in names)
            sums = self.sums.setdefault(names, _Sums(mean, variance))
            sums.add(self.env[n.args[0]])  # type: ignore[index]
        return super().run_node(n)

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Inside, BatchNorm modules are watched too."""
        handles = [
            module.register_forward_pre_hook(self._hook(name))
            for name, module in norm_modules(self.graph_module).items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def add(module: nn.Module, args: tuple[Any, ...]) -> None:
            mean, variance = (module.get_buffer(part) for part in ("running_mean", "running_var"))
            self.sums.setdefault((name, ""), _Sums(mean, variance)).add(args[0])

        return add


def _set_mode(node: fx.Node, training: bool, momentum: Any) -> None:
    node.update_arg(_MODE, training)
    node.update_arg(_MOMENTUM, momentum)


def _is_tensor(argument: object) -> bool:
    return isinstance(argument, fx.Node) and argument.op == "get_attr"


def _name(argument: object) -> str:
    return str(argument.target) if isinstance(argument, fx.Node) else ""
