"""A folder of images with a mask or a target each, opened.

images/ + masks/                    masks of the same name, at any depth; any suffix
JPEGImages/ + SegmentationClass/    the VOC layout; ImageSets/Segmentation/val.txt chooses
images/ + targets/                  what an image-to-image model is to return
anything else                       images without truth
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from equiaudit.data.dataset import Dataset, check_limit, drawn, existing_folder
from equiaudit.data.items import Items, Names, Truths
from equiaudit.data.listing import EXTENSIONS, ImageFile, list_images
from equiaudit.data.places import Place, let_go, place_of, read_text
from equiaudit.data.truth import TruthReader
from equiaudit.errors import InputError

_VOC = ("JPEGImages", "SegmentationClass")


@dataclass(frozen=True)
class Beside:
    """What lies beside images/."""

    folder: str
    one: str
    """What it holds of each image, in the singular."""
    voc: bool = False
    """Also in the VOC layout."""


MASKS = Beside("masks", "mask", voc=True)
TARGETS = Beside("targets", "target")


@dataclass(frozen=True)
class _Listing:
    """Images, and the truth of each where there is any."""

    root: Place
    images: Sequence[ImageFile]
    truth: Mapping[str, ImageFile]
    notes: tuple[str, ...] = ()


def has_targets(root: str | Place) -> bool:
    """Whether `root` holds targets and no masks."""
    root = place_of(root)
    return (root / "targets").is_dir() and not (root / "masks").is_dir()


def has_masks(root: str | Place) -> bool:
    """Whether `root` holds masks, in one of the layouts."""
    root = place_of(root)
    return (root / "masks").is_dir() or (root / _VOC[1]).is_dir()


def open_dense_dataset(
    root: str | Place,
    beside: Beside,
    reader: TruthReader,
    *,
    class_names: Mapping[int, str] | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Dataset:
    """List the images under `root`, and the mask (or target) of each, which `reader` will read.

    Every image has one or none has: InputError names the first that lacks it. `limit` and
    `seed` choose as for `open_dataset`.
    """
    check_limit(limit)
    top = place_of(root)
    listing = _listing(existing_folder(top), beside)
    if not listing.images:
        raise InputError(
            f"There are no images in {listing.root}.",
            tip=f"Looked for {' '.join(sorted(EXTENSIONS))} at any depth.",
        )
    let_go(top)
    chosen = drawn(np.arange(len(listing.images), dtype=np.int32), limit, seed)
    return Dataset(
        root=listing.root,
        items=_items(listing, chosen),
        class_names=dict(class_names or {}),
        labelled=bool(listing.truth),
        listing_sha256=_digest(listing, chosen),
        notes=listing.notes,
        truth=reader if listing.truth else None,
    )


def _items(listing: _Listing, chosen: NDArray[np.int32]) -> Items:
    images = [listing.images[i] for i in chosen]
    truths = [listing.truth[image.name] for image in images] if listing.truth else []
    beside = Names.of(truth.relative for truth in truths)
    return Items.of(
        listing.root,
        (image.relative for image in images),
        listed=chosen,
        truths=Truths(truths[0].root, beside) if truths else None,
    )


def _digest(listing: _Listing, chosen: NDArray[np.int32]) -> str:
    digest = hashlib.sha256()
    for image in (listing.images[i] for i in chosen):
        truth = listing.truth.get(image.name)
        stated = "" if truth is None else f"{truth.name}:{truth.size}"
        digest.update(f"{len(image.name)}:{image.name}:{image.size}:{stated}\n".encode())
    return digest.hexdigest()


def _listing(root: Place, beside: Beside) -> _Listing:
    if beside.voc and all((root / name).is_dir() for name in _VOC):
        return _voc(root)
    truth = root / beside.folder
    if (root / "images").is_dir() and truth.is_dir():
        return _paired(root / "images", truth, beside.one)
    if (root / "images").is_dir() and not _has_images_beside(root):
        return _Listing(root / "images", list_images(root / "images"), {})
    return _Listing(root, list_images(root), {})


def _has_images_beside(root: Place) -> bool:
    tops = {image.name.partition("/")[0] for image in list_images(root)}
    return not tops <= {"images", MASKS.folder, TARGETS.folder}


def _paired(folder: Place, beside: Place, what: str) -> _Listing:
    images = list_images(folder)
    truth = _by_stem(beside)
    for image in images:
        if _stem(image.name) not in truth:
            raise InputError(
                f"{folder / image.name} has no {what}: there is no {_stem(image.name)}.* in "
                f"{beside}.",
                tip=f"Add the {what}, or move the image away; each needs one.",
            )
    found = {image.name: truth[_stem(image.name)] for image in images}
    spare = len(truth) - len({_stem(name) for name in found})
    notes = (f"{beside.name} without an image, left out: {spare}.",) if spare else ()
    return _Listing(folder, images, found, notes)


def _voc(root: Place) -> _Listing:
    """Images with a mask, those of the validation set where it is listed."""
    folder, beside = (root / name for name in _VOC)
    truth = _by_stem(beside)
    images = [image for image in list_images(folder) if _stem(image.name) in truth]
    note = "VOC layout: the images that have a mask"
    table = root / "ImageSets" / "Segmentation" / "val.txt"
    if table.is_file():
        wanted = set(read_text(table).split())
        missing = sorted(wanted - {_stem(image.name) for image in images})
        if missing:
            raise InputError(
                f"{table} lists {missing[0]}, which lacks an image in {folder} or a mask in "
                f"{beside}."
            )
        images = [image for image in images if _stem(image.name) in wanted]
        note = "VOC layout: the images that ImageSets/Segmentation/val.txt lists"
    found = {image.name: truth[_stem(image.name)] for image in images}
    return _Listing(folder, images, found, (note,))


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _by_stem(folder: Place) -> dict[str, ImageFile]:
    found: dict[str, ImageFile] = {}
    for file in list_images(folder):
        stem = _stem(file.name)
        if stem in found:
            raise InputError(
                f"{folder} holds both {found[stem].name} and {file.name}, so which belongs to "
                f"{stem} cannot be told.",
                tip="Move one of them away.",
            )
        found[stem] = file
    return found
