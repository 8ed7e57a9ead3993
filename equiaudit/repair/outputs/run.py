"""A model run for all that it returns, whatever runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from equiaudit.graphs.outputs import named_tensors
from equiaudit.models.types import Model
from equiaudit.torch_private import tree_leaves

_BATCHES = (2, 1)


@dataclass(frozen=True)
class EveryRun:
    """All outputs of a model, in order, for a batch (n, C, H, W) of at most `batch` images."""

    forward: Callable[[Tensor], Any]
    fixed: int | None
    names: tuple[str, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    """Of the outputs for `probed` images."""
    probed: int = 1
    ragged: bool = False
    """A list with one entry per image, as torchvision's detectors return."""
    numbers: bool = False
    """Numbers that are no tensors are returned too."""

    @property
    def per_image(self) -> bool:
        """Whether every output has a row per image, so that batches may be mixed."""
        return all(shape[:1] == (self.probed,) for shape in self.shapes) and self.probed > 1

    @property
    def batch(self) -> int:
        """How many images go through at once."""
        if self.fixed is not None:
            return self.fixed
        return 8 if self.per_image else 1

    def __call__(self, images: Tensor) -> Sequence[Tensor]:
        """The tensors; a fixed batch is filled up by repetition."""
        count = len(images)
        lacking = 0 if self.fixed is None else self.fixed - count
        if lacking:
            images = torch.cat([images, images[-1:].expand(lacking, *images.shape[1:])])
        with torch.no_grad():
            found = [tensor for _, tensor in named_tensors(self.forward(images))]
        return [y[:count] if lacking and y.dim() else y for y in found]


def every_run(model: Model, sample: Callable[[int], Tensor]) -> EveryRun | None:
    """`model` for all its outputs, looked at once with `sample(count)` images.

    None where they cannot be had: a model known by its main output only.
    """
    forward = _forward(model)
    if forward is None:
        return None
    for count in _BATCHES if model.fixed_batch is None else (model.fixed_batch,):
        try:
            with torch.no_grad():
                returned = forward(sample(count).to(model.device))
        except Exception:  # what a model raises for a batch of two, one image may not
            continue
        pairs = list(named_tensors(returned))
        return EveryRun(
            forward,
            model.fixed_batch,
            tuple(name or str(place) for place, (name, _) in enumerate(pairs)),
            tuple(tuple(tensor.shape) for _, tensor in pairs),
            count,
            isinstance(returned, list) and any(isinstance(one, dict) for one in returned),
            any(isinstance(leaf, int | float) for leaf in tree_leaves(returned)),
        )
    return None


def _forward(model: Model) -> Callable[[Tensor], Any] | None:
    nhwc = model.preprocess.layout == "NHWC"
    inner: Callable[[Tensor], Any] | None = model.module
    if model.kind == "onnx" and model.path is not None:
        from equiaudit.models.onnx import onnx_forward

        inner = onnx_forward(model.path, model.device, what=model.name)
    if inner is None:
        return None
    own = model.preprocess.tensor_dtype  # images may be those of a model of another type

    def forward(x: Tensor) -> Any:
        return inner((x.permute(0, 2, 3, 1) if nhwc else x).to(own))

    return forward
