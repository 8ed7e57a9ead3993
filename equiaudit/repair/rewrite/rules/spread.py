"""Values without position that were copied over positions: a pooled vector laid over a map."""

from __future__ import annotations

from math import prod
from typing import Any

import torch.fx as fx

from equiaudit.graphs.nodes import bind, shape_of, short_name
from equiaudit.repair.rewrite.grid import Grid

_SAME = frozenset(("clone", "contiguous", "detach", "alias"))


def laid_over(node: fx.Node, grid: Grid) -> bool:
    """Whether a tensor that no image axis is known of fits `grid` at every position alike."""
    shape = shape_of(node)
    return all(
        len(shape) < -dim
        or shape[dim] == 1
        or (shape[dim] == grid.extents.get(dim) and constant_along(node, dim))
        for dim in grid.dims
    )


def constant_along(node: fx.Node, dim: int) -> bool:
    """Whether all elements along a dimension (negative) are copies, by what made them."""
    shape = shape_of(node)
    if len(shape) < -dim or shape[dim] == 1:
        return True
    if node.op != "call_function":
        return False
    name, args = short_name(node), bind(node)
    x: Any = args.get("self")
    if name in _SAME or name in ("expand", "repeat", "repeat_interleave"):
        return constant_along(x, dim)
    if name == "permute":
        return constant_along(x, args["dims"][dim] % len(shape) - len(shape))
    if name == "unsqueeze":
        new = args["dim"] % len(shape) - len(shape)
        return dim == new or constant_along(x, dim if dim > new else dim + 1)
    if name in ("reshape", "view", "_unsafe_view"):
        return _copies(x, shape_of(x), shape, len(shape) + dim)
    return False


def _copies(x: fx.Node, old: tuple[int, ...], new: tuple[int, ...], place: int) -> bool:
    """Whether the old dimensions that make up a new one exactly are constant, each of them."""
    behind, size = prod(new[place + 1 :]), new[place]
    for start in range(len(old)):
        for stop in range(start + 1, len(old) + 1):
            if prod(old[stop:]) == behind and prod(old[start:stop]) == size:
                return all(constant_along(x, d - len(old)) for d in range(start, stop))
    return False
