"""What a torch module takes in: another float type than float32, or no images at all."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from equiaudit.errors import InputError
from equiaudit.models.preprocess_values import several_channels

_CAST = (torch.bfloat16, torch.float64)
_KINDS = {"Conv1d": "signals (1-D)", "Conv3d": "volumes or clips (3-D)"}


class Wrapped(nn.Module):
    """A module in eval mode, which some cannot be put into, to be called in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.training = False

    def train(self, mode: bool = True) -> Self:
        """Left in eval mode."""
        return self


class InDtype(Wrapped):
    """A module that computes in `dtype`, as one that takes float32."""

    def __init__(self, inner: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.inner, self.dtype = inner, dtype

    def forward(self, image: Tensor) -> Any:
        """What the module returns."""
        return self.inner(image.to(self.dtype))


def own_dtype(module: nn.Module, stated: torch.dtype | None) -> torch.dtype | None:
    """bfloat16 or float64 where the module takes that, else None.

    `stated` is what an archive says of its input; else the first weight tells.
    """
    floats = (p.dtype for p in module.parameters() if p.is_floating_point())
    found = stated or next(floats, None)
    return found if found in _CAST else None


def refuse_other_input(module: nn.Module, planes: int, what: str) -> None:
    """Raises InputError where the first convolution takes no images, or other than `planes`."""
    for layer in module.modules():
        kind = str(getattr(layer, "original_name", type(layer).__name__))
        if kind in _KINDS:
            raise InputError(f"{what} takes {_KINDS[kind]}; only images are supported.")
        weight = getattr(layer, "weight", None)
        if kind == "Conv2d" and isinstance(weight, Tensor):
            channels = weight.shape[1] * int(getattr(layer, "groups", 1))
            several_channels(channels, what)
            if channels != planes:
                several = "" if channels == 1 else "s"
                raise InputError(
                    f"{what} takes images of {channels} channel{several}, and mean and std have"
                    f" {planes}.",
                    tip=f"Give {channels} value{several} of --mean and of --std.",
                )
            return
