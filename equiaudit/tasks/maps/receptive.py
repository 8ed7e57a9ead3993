"""How far an input pixel reaches: single pixels of a noise image changed, outputs compared."""

from __future__ import annotations

import torch
from torch import Tensor

from equiaudit.errors import RunError
from equiaudit.models.types import Model
from equiaudit.results import ReceptiveField

_PLACES = 8
_TOLERANCE = 1e-6
_METHOD = (
    f"measured: {_PLACES} pixels near the centre of a noise image changed one at a time; the "
    f"farthest output that moves by more than {_TOLERANCE:g} of the outputs' range"
)


@torch.inference_mode()
def receptive_field(model: Model) -> ReceptiveField:
    """The radius, px of the input: the largest displacement along an axis.

    It needs neither gradients nor the graph, so it works for any file; paths that the noise
    leaves inactive (a ReLU at 0, a maximum that is not the pixel's) are not seen, so it is a
    lower bound of what the architecture allows.
    """
    height, width = model.preprocess.size
    noise = _noise(model)
    # Places of different phases around the centre.
    y, x = height // 2, width // 2
    steps = [(0, 0), (1, 1), (2, 3), (3, 2), (-1, 4), (-2, -3), (5, -1), (-4, -5)]
    places = [(min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)) for dy, dx in steps]
    try:
        plain = _run_alone(model, noise)
        changes = [_changed(model, noise, plain, place) for place in places]
    except RunError as error:
        return ReceptiveField(radius=None, method=f"not measured: {error.message}")
    scale = (height / plain.shape[-2], width / plain.shape[-1])
    reaches = [_reach(change, place, scale) for change, place in zip(changes, places, strict=True)]
    return ReceptiveField(
        radius=max(reaches), covers_window=_touches_border(changes[0]), method=_METHOD
    )


def _noise(model: Model) -> Tensor:
    """(1, C, H, W) as the model receives it."""
    how = model.preprocess
    generator = torch.Generator().manual_seed(0)
    shape = (1, how.planes, *how.size)
    if how.dtype == "uint8":
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8).to(model.device)
    noise = torch.randn(shape, generator=generator)
    return noise.to(torch.float16 if how.dtype == "float16" else torch.float32).to(model.device)


def _run_alone(model: Model, image: Tensor) -> Tensor:
    """Always as a batch of one: the last bits of a convolution depend on the batch."""
    return model.run(image)[0].double()


def _changed(model: Model, noise: Tensor, plain: Tensor, place: tuple[int, int]) -> Tensor:
    """(h, w) whether the output answers to the pixel at `place`."""
    bumped = noise.clone()
    pixel = bumped[..., place[0], place[1]]
    is_raw = noise.dtype == torch.uint8
    bumped[..., place[0], place[1]] = 255 - pixel if is_raw else pixel + 4 * torch.sign(-pixel)
    change = (_run_alone(model, bumped) - plain).abs().amax(0)
    span = float(plain.max() - plain.min()) or 1.0
    return change > _TOLERANCE * span


def _touches_border(changed: Tensor) -> bool:
    """Of the pixel at the very centre."""
    return bool(changed[[0, -1]].any() or changed[:, [0, -1]].any())


def _reach(changed: Tensor, place: tuple[int, int], scale: tuple[float, float]) -> int:
    """Largest displacement, px of the input, between the pixel and an output it moves."""
    found = changed.nonzero().double()
    if not len(found):
        return 0
    farthest = 0.0
    for axis in (0, 1):
        centre = (found[:, axis] + 0.5) * scale[axis] - 0.5
        farthest = max(farthest, float((centre - place[axis]).abs().max()))
    return round(farthest)
