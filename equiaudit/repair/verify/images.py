"""The images a verification runs on, as the model receives them."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from equiaudit.models.types import Preprocess
from equiaudit.repair.verify.synthetic import synthetic_images

_OWN = 4
_OBJECTS = ("square-12", "disk", "square-5", "text", "delta", "noise")


def verification_images(
    preprocess: Preprocess, given: Mapping[str, torch.Tensor] | None = None
) -> dict[str, torch.Tensor]:
    """`given` (C, H, W images, already prepared) and after them the synthetic set."""
    made = synthetic_images(preprocess.size)
    return {**(given or {}), **{name: as_input(x, preprocess) for name, x in made.items()}}


def example_images(
    preprocess: Preprocess, given: Mapping[str, torch.Tensor] | None = None, count: int = 3
) -> list[torch.Tensor]:
    """The first of `given`, filled up with noise: images whose origins are far from a tie.

    Two runtimes that round differently choose alike on these, so their outputs compare.
    """
    generator = torch.Generator().manual_seed(0)
    planes = max(3, preprocess.planes)
    noise = (torch.rand((planes, *preprocess.size), generator=generator) for _ in range(count))
    return [*(given or {}).values(), *(as_input(x, preprocess) for x in noise)][:count]


def with_objects(images: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A few of `verification_images` with something in them that has a place: the first, which
    are given, and synthetic ones."""
    given = list(images)[:_OWN]
    return {name: x for name, x in images.items() if name in (*given, *_OBJECTS)}


def as_input(pixels: torch.Tensor, preprocess: Preprocess) -> torch.Tensor:
    """`pixels` (3, H, W) RGB in [0, 1] as (C, H, W) in the model's order, scale and dtype.

    Where the model takes more channels they are repeated.
    """
    if preprocess.channels == "gray":
        pixels = pixels.mean(0, keepdim=True)
    if len(pixels) < preprocess.planes:
        pixels = pixels.repeat(-(-preprocess.planes // len(pixels)), 1, 1)[: preprocess.planes]
    if preprocess.dtype == "uint8":
        pixels = (pixels * 255).round()
    else:
        mean, std = (torch.tensor(v)[:, None, None] for v in (preprocess.mean, preprocess.std))
        pixels = (pixels - mean) / std
    ordered = pixels.flip(0) if preprocess.channels == "bgr" else pixels
    return ordered.to(preprocess.tensor_dtype)
