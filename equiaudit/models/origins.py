"""Which operator an output comes from: what a softmax, a sigmoid or an argmax says of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from equiaudit.graphs.outputs import named_tensors
from equiaudit.torch_private import TorchDispatchMode, operator_name, tree_leaves


@dataclass(frozen=True)
class Origin:
    """The last operator that is more than a change of shape, type or place."""

    maker: str = ""
    """softmax, sigmoid, argmax, topk, topk-index, compare, normalize, linear, pool, norm, relu;
    "" for any other."""
    length: int | None = None
    """Of the axis that an argmax looked through: how many classes there are."""


UNKNOWN = Origin()


@dataclass(frozen=True)
class Origins:
    """Of every output, by its name; and what the graph as a whole says."""

    by_name: Mapping[str, Origin]
    suppresses: bool = False
    """A non-maximum suppression is somewhere in it."""
    stated: str = ""
    """The task that the file's metadata state."""

    def of(self, name: str) -> Origin:
        """What made the output; `UNKNOWN` where that was not seen."""
        return self.by_name.get(name, UNKNOWN)


_MAKERS = {
    "softmax": "softmax",
    "log_softmax": "softmax",
    "sigmoid": "sigmoid",
    "hardsigmoid": "sigmoid",
    "argmax": "argmax",
    "topk": "topk",
    **dict.fromkeys(("addmm", "mm", "linear", "matmul", "bmm", "baddbmm"), "linear"),
    **dict.fromkeys(("convolution", "conv2d"), "linear"),
    **dict.fromkeys(("gt", "lt", "ge", "le", "eq", "ne", "logical_not", "logical_and"), "compare"),
    **dict.fromkeys(("mean", "avg_pool2d", "adaptive_avg_pool2d", "amax"), "pool"),
    **dict.fromkeys(("adaptive_max_pool2d", "max_pool2d", "max_pool2d_with_indices"), "pool"),
    **dict.fromkeys(("batch_norm", "native_batch_norm", "cudnn_batch_norm"), "norm"),
    **dict.fromkeys(("layer_norm", "native_layer_norm", "native_batch_norm_legit"), "norm"),
    "native_batch_norm_legit_no_training": "norm",
    **dict.fromkeys(("relu", "clamp_min", "hardtanh", "relu6"), "relu"),
}
_PASSING = frozenset(
    [
        "view",
        "reshape",
        "reshape_alias",
        "unsafe_view",
        "to",
        "to_copy",
        "squeeze",
        "unsqueeze",
        "permute",
        "transpose",
        "t",
        "slice",
        "select",
        "clone",
        "contiguous",
        "expand",
        "alias",
        "detach",
        "flatten",
        "upsample_nearest2d",
        "dropout",
        "movedim",
        "upsample_nearest_exact2d",
        "split",
        "unbind",
        "chunk",
        "lift_fresh",
        "type_as",
        "float",
        "long",
        "int",
    ]
)


@dataclass(frozen=True)
class _Made:
    """A tensor: its operator, which of the operator's results it is, and what it is made of."""

    op: str
    place: int
    length: int | None
    sources: tuple[_Made | None, ...]


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes how each tensor of a run came to be; they are kept alive, so that ids stay theirs."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.made: dict[int, _Made] = {}
        self.suppresses = False
        self._alive: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = func(*args, **(kwargs or {}))
        op = operator_name(func).strip("_")
        self.suppresses |= op in ("nms", "batched_nms")
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        sources = tuple(self.made.get(id(tensor)) for tensor in given)
        for place, tensor in enumerate(tree_leaves(returned)):
            if isinstance(tensor, Tensor):
                self._alive.append(tensor)
                self.made[id(tensor)] = _Made(op, place, _length(op, args, kwargs), sources)
        return returned


def _length(op: str, args: Any, kwargs: Any) -> int | None:
    """Of the axis that an argmax, or a maximum with its place, goes along."""
    if op not in ("argmax", "argmin", "max", "topk", "sort"):
        return None
    place = 2 if op == "topk" else 1
    axis = args[place] if len(args) > place else (kwargs or {}).get("dim", -1)
    return int(args[0].shape[axis]) if isinstance(axis, int) and args[0].dim() else None


def torch_origins(module: nn.Module, image: Tensor) -> Origins:
    """What makes the outputs of `module` (eager, scripted or exported) for `image`, a batch.

    It runs once. An operator that cannot be watched leaves all unknown.
    """
    watch = _Watch()
    try:
        with torch.no_grad(), watch:
            returned = module(image)
    except Exception:  # best effort
        return Origins({})
    tensors: Iterable[tuple[str, Tensor]] = named_tensors(returned)
    found = {name: _origin(watch.made.get(id(tensor))) for name, tensor in tensors}
    return Origins(found, watch.suppresses)


def _origin(made: _Made | None) -> Origin:
    while made is not None and made.op in _PASSING:
        made = made.sources[0] if made.sources else None
    if made is None:
        return UNKNOWN
    if made.op in ("max", "topk", "sort") and made.place == 1:
        return Origin("argmax" if made.op == "max" else "topk-index", made.length)
    if made.op in ("div", "mul") and any(_is_length(source) for source in made.sources[1:]):
        return Origin("normalize")
    return Origin(_MAKERS.get(made.op, "topk" if made.op == "sort" else ""), made.length)


def _is_length(made: _Made | None) -> bool:
    """Whether it is the norm of a vector, kept from zero and spread over it."""
    while made is not None and made.op in (*_PASSING, "clamp_min", "add", "clamp"):
        made = made.sources[0] if made.sources else None
    return made is not None and made.op in ("linalg_vector_norm", "norm", "linalg_norm")
