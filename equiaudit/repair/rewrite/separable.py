"""Max pooling as elementwise maxima, one axis after the other: the same values, and faster.

On contiguous (NCHW) maps torch's CPU pool visits every window pixel by pixel; maxima of whole
rows and then of columns are vectorised. Other runtimes have fast pools of their own, so a graph
that leaves torch gets them back (`native_pools`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.fx as fx
from torch import Tensor

from equiaudit.torch_private import called_as

MOST_TAPS = 16
"""The largest kernel, along one axis, that is worth taking apart."""

_POOL = "separable_max_pool"

Pair = Sequence[int]


def separable_max_pool(
    x: Tensor, kernel: Pair, stride: Pair, dilation: Pair, out: tuple[int, int]
) -> Tensor:
    """`F.max_pool2d` of x (B, C, H, W) without padding: the same values, NaN included.

    `out` is the size (H', W') of the result. Runs on `torch.fx.Proxy` objects.
    """
    for axis in (0, 1):
        dim, count = axis + 2, out[axis]
        step, reach = stride[axis], (count - 1) * stride[axis] + 1
        taps = range(0, kernel[axis] * dilation[axis], dilation[axis])
        parts = [torch.ops.aten.slice.Tensor(x, dim, at, at + reach, step) for at in taps]
        x = parts[0]
        for part in parts[1:]:
            x = torch.maximum(x, part)
    return x


def mark_pool(node: fx.Node, kernel: Pair, stride: Pair, dilation: Pair) -> None:
    """Note on the last node of a pool that was taken apart what it stands for."""
    node.meta[_POOL] = ([*kernel], [*stride], [*dilation])


def native_pools(module: fx.GraphModule) -> fx.GraphModule:
    """A copy of `module` whose pools that were taken apart are single operators again."""
    graph = fx.Graph()
    twins: dict[fx.Node, Any] = {}
    for node in module.graph.nodes:
        pool = node.meta.get(_POOL)
        if pool is None:
            twins[node] = graph.node_copy(node, lambda source: twins[source])
        else:
            args = (twins[_pooled(node, *pool[0])], *pool[:2], [0, 0], pool[2], False)
            twins[node] = graph.call_function(torch.ops.aten.max_pool2d.default, args)
    called_as(graph, module)
    graph.eliminate_dead_code()
    graph.lint()
    return fx.GraphModule(module, graph, type(module).__name__).train(module.training)


def _pooled(last: fx.Node, rows: int, columns: int) -> fx.Node:
    """What the pool that ends in `last` reads: up through the maxima and the first slices."""
    node: Any = last
    for _ in range(rows + columns):  # kernel - 1 maxima and one slice along either axis
        node = node.args[0]
    found: fx.Node = node
    return found
