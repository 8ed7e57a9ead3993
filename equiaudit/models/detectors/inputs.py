"""Modules that take a list of images, as torchvision's detectors do."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from equiaudit.models.torch_input import Wrapped

_TRANSFORM = "GeneralizedRCNNTransform"


class Listed(Wrapped):
    """A module that takes a list of images (C, H, W), as one that takes a batch."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, image: Tensor) -> Any:
        """What the module returns."""
        return self.inner(list(image.unbind(0)))


def takes_list(module: nn.Module) -> bool:
    """Whether a scripted module says that it takes a list of images."""
    if not isinstance(module, torch.jit.ScriptModule):
        return False
    try:
        inputs = list(module.graph.inputs())
    except RuntimeError:  # it has no forward
        return False
    return len(inputs) > 1 and str(inputs[1].type()) == "List[Tensor]"


def normalises_itself(module: nn.Module) -> bool:
    """Whether it has the transform of torchvision's detectors: pixels in [0, 1] go in."""
    inner = getattr(module, "inner", module)
    transform = getattr(inner, "transform", None)
    name = getattr(transform, "original_name", type(transform).__name__)
    return str(name) == _TRANSFORM
