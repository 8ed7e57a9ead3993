"""Layouts of frames that show one defect while the window slides, and of photos to slide over."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from equiaudit.data.layouts.base import Asked, Layout, Rank, Tree, stem
from equiaudit.data.listing import EXTENSIONS, ImageFile, list_images
from equiaudit.data.places import Place
from equiaudit.errors import InputError
from equiaudit.shifts.sliding import SETTINGS

__all__ = ["LAYOUTS", "Group", "Pair", "numbered"]

_NUMBERED = re.compile(r"(.+)_(\d+)$")


@dataclass(frozen=True)
class Pair:
    """An image and its mask; `name` is what reports call it."""

    name: str
    image: Place
    mask: Place
    sizes: tuple[int, int]
    """Bytes of both."""


@dataclass(frozen=True)
class Group:
    """The frames of one sequence in their order; or, in no setting, a photo to slide over."""

    setting: str | None
    pairs: tuple[Pair, ...]


def numbered(pair: Pair) -> tuple[str, int]:
    """Name of the sequence and number of the frame; InputError where it has none."""
    found = _NUMBERED.fullmatch(stem(pair.name))
    if found is None:
        raise InputError(
            f"{pair.image} has no frame number.", tip="Frames are called NAME_0, NAME_1, ..."
        )
    return found[1], int(found[2])


def _frames(tree: Tree, asked: Asked) -> tuple[Group, ...]:
    present = [setting for setting in SETTINGS if tree.has(f"image_{setting}")]
    return tuple(group for setting in present for group in _frame_groups(tree.root, setting))


def _frame_groups(root: Place, setting: str) -> list[Group]:
    pairs = _pairs(root / f"image_{setting}", root / f"mask_{setting}")
    ordered = sorted((numbered(pair), pair) for pair in pairs)
    return [
        Group(setting, tuple(pair for _, pair in group))
        for _, group in groupby(ordered, key=lambda entry: entry[0][0])
    ]


def _photos(tree: Tree, asked: Asked) -> tuple[Group, ...]:
    return tuple(Group(None, (pair,)) for pair in _pairs(tree.root / "images", tree.root / "masks"))


def _pairs(images: Place, masks: Place) -> list[Pair]:
    known = {stem(file.name): file for file in list_images(masks)} if masks.is_dir() else {}
    return [_pair(image, known, masks) for image in list_images(images)]


def _pair(image: ImageFile, known: Mapping[str, ImageFile], masks: Place) -> Pair:
    mask = known.get(stem(image.name))
    if mask is None:
        raise InputError(
            f"{image.name} has no mask in {masks}.",
            tip=f"A mask has the name of its image and any of {' '.join(sorted(EXTENSIONS))}.",
        )
    return Pair(image.name, image.path, mask.path, (image.size, mask.size))


LAYOUTS = (
    Layout(
        name="frames",
        kind="sequences",
        rank=Rank.PUBLISHED,
        looks="image_middle/S_0.png\nmask_middle/S_0.png\nimage_boundary/S_0.png\nmask_boundary/S_0.png",
        assumed="Frames NAME_0, NAME_1, ... with a mask of the same name each.",
        fits=lambda tree: any(tree.has(f"image_{setting}") for setting in SETTINGS),
        read=_frames,
    ),
    Layout(
        name="photos",
        kind="sequences",
        rank=Rank.GENERAL,
        looks="images/1.png\nmasks/1.png",
        assumed="Large photos with a mask each; the window slides over each, once per setting.",
        fits=lambda tree: tree.has("images", "masks"),
        read=_photos,
    ),
)
