"""The layout of frames that show one defect while the window slides.

Photos to slide over lie as those of a segmentation do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from equiaudit.data.items import Item
from equiaudit.data.layouts.base import Asked, Layout, Listing, Rank, stem
from equiaudit.data.listing import MASK_EXTENSIONS, ImageFile, is_mask, list_files, list_images
from equiaudit.data.places import Place
from equiaudit.data.tree import Tree
from equiaudit.errors import InputError
from equiaudit.shifts.sliding import SETTINGS

_NUMBERED = re.compile(r"(.+)_(\d+)$")


@dataclass(frozen=True)
class Pair:
    """An image with its mask."""

    item: Item
    sizes: tuple[int, int]
    """Bytes of both."""

    @property
    def name(self) -> str:
        """What reports call it."""
        return self.item.file


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
            f"{pair.item.path} has no frame number.", tip="Frames are called NAME_0, NAME_1, ..."
        )
    return found[1], int(found[2])


def photo_groups(listing: Listing) -> tuple[Group, ...]:
    """Each image of a segmentation as a photo to slide over."""
    return tuple(Group(None, (_photo(image, listing),)) for image in listing.images)


def _photo(image: ImageFile, listing: Listing) -> Pair:
    mask, region = listing.truth.get(image.name), listing.regions.get(image.name)
    truth = None if mask is None else mask.path
    item = Item(image.name, image.path, None, 0, truth, None if region is None else region.path)
    return Pair(item, (image.size, 0 if mask is None else mask.size))


def _frames(tree: Tree, asked: Asked) -> tuple[Group, ...]:
    present = [setting for setting in SETTINGS if tree.has(f"image_{setting}")]
    return tuple(group for setting in present for group in _frame_groups(tree.root, setting))


def _frame_groups(root: Place, setting: str) -> list[Group]:
    pairs = _pairs(root / f"image_{setting}", root / f"mask_{setting}")
    ordered = sorted(((numbered(pair), pair) for pair in pairs), key=lambda each: each[0])
    return [
        Group(setting, tuple(pair for _, pair in group))
        for _, group in groupby(ordered, key=lambda entry: entry[0][0])
    ]


def _pairs(images: Place, masks: Place) -> list[Pair]:
    files = list_files(masks) if masks.is_dir() else ()
    known = {stem(file.name): file for file in files if is_mask(file.relative)}
    return [_pair(image, known, masks) for image in list_images(images)]


def _pair(image: ImageFile, known: Mapping[str, ImageFile], masks: Place) -> Pair:
    mask = known.get(stem(image.name))
    if mask is None:
        raise InputError(
            f"{image.name} has no mask in {masks}.",
            tip=f"A mask has the name of its image and any of {' '.join(sorted(MASK_EXTENSIONS))}.",
        )
    return Pair(Item(image.name, image.path, None, 0, mask.path), (image.size, mask.size))


LAYOUTS = (
    Layout(
        name="frames",
        kind="sequences",
        rank=Rank.PUBLISHED,
        looks="image_middle/S_0.png\nmask_middle/S_0.png\nimage_boundary/S_0.png\n"
        "mask_boundary/S_0.png",
        assumed="Frames NAME_0, NAME_1, ... with a mask of the same name each. Without it, the"
        " window slides over the photos of a segmentation layout.",
        fits=lambda tree: any(tree.has(f"image_{setting}") for setting in SETTINGS),
        read=_frames,
    ),
)
