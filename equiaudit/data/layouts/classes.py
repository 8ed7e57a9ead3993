"""Layouts of images with a class each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from equiaudit.data.classes import Classes, Doubt, classes_of
from equiaudit.data.items import NO_LABEL
from equiaudit.data.labels import labels_of_table
from equiaudit.data.layouts.base import Asked, Layout, Listing, Rank
from equiaudit.data.layouts.suspicion import refuse_mask_folders, refuse_named_masks
from equiaudit.data.listing import Files, ImageFile, list_images, sub_folders
from equiaudit.data.places import Place, tables_in
from equiaudit.data.tree import Tree, first_parts, no_images
from equiaudit.errors import InputError


def listed(tree: Tree) -> tuple[Place, Files]:
    """The folder that the images' names are relative to, and the images.

    A folder whose images are all in ``images`` stands for that folder.
    """
    folder, images = tree.root, tree.images
    if "images" in tree.tops and tree.tops <= {"images", "masks", "targets"}:
        folder = tree.root / "images"
        images = list_images(folder)
    if not images:
        raise no_images(folder)
    return folder, images


def read_labels_file(tree: Tree, asked: Asked) -> Listing:
    """The images of `tree`, labelled by the table `asked.labels`."""
    if asked.labels is None:
        raise InputError("Which file has the labels?", tip="Give --labels FILE.csv.")
    folder, images = listed(tree)
    own = tuple(file.name for file in tree.files if file.path == asked.labels)
    return replace(by_table(folder, images, asked.labels, asked), read_too=own)


def by_table(
    folder: Place,
    images: Sequence[ImageFile],
    table: Place,
    asked: Asked,
    columns: tuple[int, int] | None = None,
    whole: Sequence[str] = (),
) -> Listing:
    """`images`, whose names are relative to `folder`, labelled by a table.

    `whole` are the classes of the data set, in an order that the model may have.
    """
    names = {image.name: None for image in images}  # ordered, as notes quote the first ones
    told, classes = labels_of_table(
        table, names, folder, asked.known, asked.order, columns=columns, whole=whole
    )
    source = f"rows of {table.name}"
    return labelled(folder, images, [told.get(name) for name in names], classes, source)


def labelled(
    folder: Place,
    images: Sequence[ImageFile],
    told: Sequence[str | None],
    classes: Classes,
    source: str,
    notes: tuple[str, ...] = (),
) -> Listing:
    """With the class index of what each image is labelled with; None where it is not."""

    def by(index: Mapping[str, int]) -> NDArray[np.int32]:
        places: dict[str | None, int] = {None: NO_LABEL}
        places.update(index)
        return np.fromiter(map(places.__getitem__, told), np.int32, len(told))

    doubt = None
    if classes.meanings:
        labels = tuple(by(meaning.index) for meaning in classes.meanings)
        doubt = Doubt(source, classes.meanings, labels, classes.settled)
    return Listing(
        folder,
        images,
        by(classes.index),
        classes.names,
        notes=classes.notes + notes,
        doubt=doubt,
    )


def _is_flat(tree: Tree) -> bool:
    _, images = listed(tree)
    return not any("/" in image.relative for image in images)


def _flat(tree: Tree, asked: Asked) -> Listing:
    if not asked.named:
        refuse_named_masks(tree, "flat")
    folder, images = listed(tree)
    return Listing(folder, images, notes=_unused(tree.root, folder))


def _class_folders(tree: Tree, asked: Asked) -> Listing:
    folder, images = listed(tree)
    if folder == tree.root and not asked.named:
        refuse_mask_folders(tree, "class-folders")
        refuse_named_masks(tree, "class-folders")
    _refuse_loose(folder, images.names)
    folders = sub_folders(folder)
    classes = classes_of(folders, asked.known, source="class folders", order=asked.order)
    tops = tree.top_of if images is tree.images else first_parts(images.names)
    empty = sorted(set(folders) - set(tops))
    said = (f"Class folders without an image: {', '.join(map(repr, empty))}.",) if empty else ()
    notes = said + _unused(tree.root, folder)
    return labelled(folder, images, tops, classes, "class folders", notes)


def _refuse_loose(folder: Place, names: Sequence[str]) -> None:
    if [name for name in names if "/" not in name]:
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
