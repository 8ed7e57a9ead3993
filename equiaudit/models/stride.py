"""The total stride of a torch module, from the operators one run of it calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from equiaudit.models.grids import (
    Grid,
    Grids,
    coarsened,
    inherited,
    permuted,
    reshaped,
    resized,
    sliced,
)

__all__ = ["total_stride"]

_Rule = Callable[[Grid, Tensor, Tensor, Sequence[Any]], Grid | None]


def total_stride(
    module: nn.Module, batch: Tensor, *, layout: str = "NCHW"
) -> tuple[int, int] | None:
    """The cumulative stride (rows, columns), px, of the deepest map that is not a single value.

    `module` (eager, scripted or exported) runs once on `batch` (N, C, H, W). Strides of
    convolutions, pools, slices and patch embeddings multiply, upsampling divides, and global
    pooling does not count. None where the run fails or no map is seen.
    """
    image = batch.permute(0, 2, 3, 1) if layout == "NHWC" else batch
    tracker = _Tracker(image, Grid(1, 2) if layout == "NHWC" else Grid(2, 3))
    try:
        with torch.no_grad(), tracker:
            module(image)
    except Exception:  # best effort: an operator that cannot be traced leaves it unknown
        return None
    return tracker.grids.total()


class _Tracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the grid of every tensor, from the grids of an operator's inputs and its arguments.

    Tensors are kept alive for the run, so that an id is never another tensor's.
    """

    def __init__(self, image: Tensor, grid: Grid) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.grids = Grids(id(image), grid, image.shape)
        self._alive = [image]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = func(*args, **(kwargs or {}))
        sources = [id(t) for t in tree_leaves((args, kwargs)) if id(t) in self.grids]
        if sources:
            for output in tree_leaves(returned):
                if isinstance(output, Tensor):
                    self._alive.append(output)
                    found = self._grid_of(output, func, args, sources)
                    self.grids.note(id(output), found, output.shape)
        return returned

    def _grid_of(
        self, output: Tensor, func: Any, args: Sequence[Any], sources: list[int]
    ) -> Grid | None:
        rule = _RULES.get(func._opname)
        known = self.grids.known(sources)
        if rule is None or sources[0] != id(args[0]) or not known:
            return inherited(known, output.shape)
        own = self.grids.known(sources[:1])
        return rule(own[0][0], args[0], output, args) if own else None


def _pair(value: Sequence[int]) -> tuple[int, int]:
    return value[0], value[-1]


def _argument(args: Sequence[Any], place: int, default: Any) -> Any:
    return args[place] if len(args) > place else default


def _convolution(grid: Grid, source: Tensor, output: Tensor, args: Sequence[Any]) -> Grid | None:
    if len(args[3]) != 2:
        return None
    rows, columns = args[3]
    if args[6]:  # transposed
        return coarsened(grid, (Fraction(1, rows), Fraction(1, columns)))
    return coarsened(grid, (rows, columns))


def _pool(grid: Grid, source: Tensor, output: Tensor, args: Sequence[Any]) -> Grid | None:
    return coarsened(grid, _pair(_argument(args, 2, None) or args[1]))


def _slice(grid: Grid, source: Tensor, output: Tensor, args: Sequence[Any]) -> Grid | None:
    return sliced(grid, _argument(args, 1, 0) % source.dim(), _argument(args, 4, 1))


def _permute(grid: Grid, source: Tensor, output: Tensor, args: Sequence[Any]) -> Grid | None:
    return permuted(grid, args[1])


def _transpose(grid: Grid, source: Tensor, output: Tensor, args: Sequence[Any]) -> Grid | None:
    order = list(range(source.dim()))
    a, b = args[1], args[2]
    order[a], order[b] = order[b], order[a]
    return permuted(grid, order)


def _view(grid: Grid, source: Tensor, output: Tensor, args: Sequence[Any]) -> Grid | None:
    return reshaped(grid, source.shape, output.shape)


def _resize(grid: Grid, source: Tensor, output: Tensor, args: Sequence[Any]) -> Grid | None:
    return resized(grid, source.shape, output.shape)


def _keep(grid: Grid, source: Tensor, output: Tensor, args: Sequence[Any]) -> Grid | None:
    return grid


_RULES: dict[str, _Rule] = {
    "convolution": _convolution,
    "_convolution": _convolution,
    "slice": _slice,
    "permute": _permute,
    "transpose": _transpose,
    **dict.fromkeys(("max_pool2d_with_indices", "max_pool2d", "avg_pool2d"), _pool),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "_reshape_alias"), _view),
    **dict.fromkeys(("constant_pad_nd", "reflection_pad2d", "replication_pad2d"), _keep),
    **dict.fromkeys(
        (
            "_adaptive_avg_pool2d",
            "adaptive_max_pool2d",
            "pixel_shuffle",
            "pixel_unshuffle",
            "upsample_nearest2d",
            "upsample_bilinear2d",
            "upsample_bicubic2d",
            "_upsample_bilinear2d_aa",
            "_upsample_bicubic2d_aa",
        ),
        _resize,
    ),
}
