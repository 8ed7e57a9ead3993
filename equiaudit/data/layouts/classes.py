"""Layouts of images with a class each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from equiaudit.data.items import NO_LABEL
from equiaudit.data.labels import classes_of, labels_of_csv
from equiaudit.data.layouts.base import Asked, Layout, Listing, Rank, Tree
from equiaudit.data.listing import EXTENSIONS, ImageFile, list_images, sub_folders
from equiaudit.data.places import Place, tables_in
from equiaudit.errors import InputError

__all__ = ["LAYOUTS", "read_labels_file"]


def _listed(tree: Tree) -> tuple[Place, tuple[ImageFile, ...]]:
    """The folder that the images' names are relative to, and the images.

    A folder whose images are all in ``images`` stands for that folder.
    """
    folder, images = tree.root, tree.images
    if "images" in tree.tops and tree.tops <= {"images", "masks", "targets"}:
        folder = tree.root / "images"
        images = list_images(folder)
    if not images:
        raise InputError(
            f"There are no images in {folder}.",
            tip=f"Looked for {' '.join(sorted(EXTENSIONS))} at any depth.",
        )
    return folder, images


def read_labels_file(tree: Tree, asked: Asked) -> Listing:
    """The images of `tree`, labelled by the CSV file `asked.labels`."""
    if asked.labels is None:
        raise InputError("Which file has the labels?", tip="Give --labels FILE.csv.")
    folder, images = _listed(tree)
    names = {image.name: None for image in images}  # ordered, as notes quote the first ones
    of_file, classes = labels_of_csv(
        asked.labels, names, folder, asked.class_names, asked.num_classes
    )
    labels = np.array([of_file.get(name, NO_LABEL) for name in names], np.int32)
    return Listing(folder, images, labels, classes.names, notes=classes.notes)


def _is_flat(tree: Tree) -> bool:
    _, images = _listed(tree)
    return all("/" not in image.name for image in images)


def _flat(tree: Tree, asked: Asked) -> Listing:
    folder, images = _listed(tree)
    return Listing(folder, images, notes=_unused(tree.root, folder))


def _class_folders(tree: Tree, asked: Asked) -> Listing:
    folder, images = _listed(tree)
    _refuse_loose(folder, images)
    folders = sub_folders(folder)
    classes = classes_of(folders, asked.class_names, asked.num_classes, source="class folders")
    tops = (image.name.partition("/")[0] for image in images)
    labels = np.fromiter((classes.index[top] for top in tops), np.int32, len(images))
    used = set(np.unique(labels).tolist())
    empty = sorted(name for name in folders if classes.index[name] not in used)
    said = (f"Class folders without an image: {', '.join(map(repr, empty))}.",) if empty else ()
    notes = classes.notes + said + _unused(tree.root, folder)
    return Listing(folder, images, labels, classes.names, notes=notes)


def _refuse_loose(folder: Place, images: Sequence[ImageFile]) -> None:
    if any("/" not in image.name for image in images):
        raise InputError(
            f"{folder} holds both images and folders of images, so it is neither a flat folder"
            " nor one of class folders.",
            tip="Move the loose images away, or give --labels FILE.csv.",
        )


def _unused(root: Place, folder: Place) -> tuple[str, ...]:
    if folder == root:
        return ()
    tables = tables_in(root)
    return (f"{root / tables[0]} is not read; --labels does that.",) if tables else ()


LAYOUTS = (
    Layout(
        name="class-folders",
        kind="classification",
        rank=Rank.GENERAL,
        looks="cat/1.jpg\ndog/2.jpg",
        assumed="A folder per class, at any depth below it.",
        fits=lambda tree: not _is_flat(tree),
        read=_class_folders,
    ),
    Layout(
        name="flat",
        kind="classification",
        rank=Rank.PLAIN,
        looks="1.jpg\n2.jpg",
        assumed="Images without labels.",
        fits=_is_flat,
        read=_flat,
    ),
)
