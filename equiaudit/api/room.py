"""Images for models of different input sizes: what is read, and how far it can be moved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from equiaudit.audit.options import ScanOptions
from equiaudit.errors import InputError
from equiaudit.kinds import KINDS

if TYPE_CHECKING:
    import torch

    from equiaudit.data import Dataset
    from equiaudit.models.types import Preprocess

PICTURES = 8
"""Images of the data that a verification runs on, besides the synthetic set."""
_LOOKED_AT = 64
_LEAST_REACH = 4
"""Crop shifts of less px say little; below it they are left out."""


def pictures(dataset: Dataset, how: Preprocess, count: int = PICTURES) -> dict[str, torch.Tensor]:
    """Up to `count` readable images, (C, H, W) as a model with this preprocessing receives them."""
    step = max(1, len(dataset.items) // count)
    chosen = replace(dataset, items=dataset.items[::step][:count])
    return dict(named(chosen, how, 0))


def sources(
    dataset: Dataset, how: Preprocess, reach: int, batch: int = 16
) -> Iterator[torch.Tensor]:
    """Batches (N, C, H + 2 reach, W + 2 reach) of all readable images, on the CPU."""
    import torch

    block: list[torch.Tensor] = []
    for _, image in named(dataset, how, reach):
        block.append(image)
        if len(block) == batch:
            yield torch.stack(block)
            block = []
    if block:
        yield torch.stack(block)


def named(dataset: Dataset, how: Preprocess, reach: int = 0) -> Iterator[tuple[str, torch.Tensor]]:
    """Every readable image by its file, (C, H + 2 reach, W + 2 reach) as the model receives it."""
    import torch

    from equiaudit.audit.geometry import geometry
    from equiaudit.data import Decoded, decode
    from equiaudit.models.pixels import normalise

    cpu = torch.device("cpu")
    for item in dataset.items:
        image = decode(item, geometry(how, reach))
        if isinstance(image, Decoded):
            yield item.file, normalise(image.pixels[None], how, cpu)[0]


def has_room(dataset: Dataset, how: Preprocess, reach: int) -> bool:
    """Whether every image holds the window and `reach` px around it."""
    return _shortage(dataset, how, reach) is None


def require_room(dataset: Dataset, how: Preprocess, margin: int, method: str) -> None:
    """InputError where the images are smaller than the larger input of a method."""
    shortage = _shortage(dataset, how, 0)
    if shortage is not None:
        height, width = how.size
        raise InputError(
            f"With --margin {margin}, {method} takes {height}x{width} px, and"
            f" {shortage.partition(', and ')[0]}.",
            tip="Give a smaller --margin or larger images, or leave --data out to convert without"
            " measuring.",
        )


def _shortage(dataset: Dataset, how: Preprocess, reach: int) -> str | None:
    from equiaudit.audit.geometry import geometry
    from equiaudit.data import TooSmall, check_sizes

    try:
        check_sizes(dataset.items, geometry(how, reach), workers=2)
    except TooSmall as error:
        return error.message.rstrip(".")
    return None


def without_crops(
    dataset: Dataset, how: Preprocess, options: ScanOptions
) -> tuple[ScanOptions, str]:
    """`options` without the kinds that let real pixels enter, where images are as large as the
    window, and a note that says so; by the sizes of a few images from all over the data."""
    real = [kind for kind in options.shifts if KINDS[kind].real]
    left = tuple(kind for kind in options.shifts if kind not in real)
    step = max(1, len(dataset.items) // _LOOKED_AT)
    some = replace(dataset, items=dataset.items[::step])
    if not real or not left or has_room(some, how, min(_LEAST_REACH, options.max_shift)):
        return options, ""
    shortage = _shortage(some, how, options.max_shift)
    return replace(options, shifts=left), f"{', '.join(real)} shifts are left out: {shortage}"


def fitting(
    dataset: Dataset, hows: Sequence[Preprocess], options: ScanOptions, *, crop_counts: bool
) -> tuple[ScanOptions, tuple[str, ...]]:
    """Shifts that the images have room for with every one of `hows`, and a note of what changed.

    Where crop shifts are what counts, all kinds reach less far rather than that they are left
    out.
    """
    largest = max(hows, key=lambda how: how.size)
    shortage = _shortage(dataset, largest, options.max_shift)
    if shortage is None:
        return options, ()
    reaches = range(options.max_shift - 1, _LEAST_REACH - 1, -1) if crop_counts else ()
    reach = next((r for r in reaches if has_room(dataset, largest, r)), None)
    if reach is None:
        left = tuple(kind for kind in options.shifts if not KINDS[kind].real)
        out = ", ".join(kind for kind in options.shifts if KINDS[kind].real)
        return replace(options, shifts=left), (f"{out} shifts are left out: {shortage}",)
    note = f"shifts reach {reach} px, as the images have no room for more: {shortage}"
    return replace(options, max_shift=reach), (note,)
