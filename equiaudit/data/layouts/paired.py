"""Layouts of images with a mask or a target each."""

from __future__ import annotations

from equiaudit.data.layouts.base import Asked, Layout, Listing, Rank, Tree, by_stem, stem
from equiaudit.data.listing import list_images
from equiaudit.data.places import Place, read_text
from equiaudit.errors import InputError

__all__ = ["LAYOUTS"]

_VOC = ("JPEGImages", "SegmentationClass")


def _paired(folder: Place, beside: Place, what: str) -> Listing:
    images = list_images(folder)
    truth = by_stem(beside)
    for image in images:
        if stem(image.name) not in truth:
            raise InputError(
                f"{folder / image.name} has no {what}: there is no {stem(image.name)}.* in "
                f"{beside}.",
                tip=f"Add the {what}, or move the image away; each needs one.",
            )
    found = {image.name: truth[stem(image.name)] for image in images}
    spare = len(truth) - len({stem(name) for name in found})
    notes = (f"{beside.name} without an image, left out: {spare}.",) if spare else ()
    return Listing(folder, images, truth=found, notes=notes)


def _masks(tree: Tree, asked: Asked) -> Listing:
    return _paired(tree.root / "images", tree.root / "masks", "mask")


def _targets(tree: Tree, asked: Asked) -> Listing:
    return _paired(tree.root / "images", tree.root / "targets", "target")


def _voc(tree: Tree, asked: Asked) -> Listing:
    """Images with a mask, those of the validation set where it is listed."""
    folder, beside = (tree.root / name for name in _VOC)
    truth = by_stem(beside)
    images = [image for image in list_images(folder) if stem(image.name) in truth]
    note = "VOC layout: the images that have a mask"
    table = tree.root / "ImageSets" / "Segmentation" / "val.txt"
    if table.is_file():
        wanted = set(read_text(table).split())
        missing = sorted(wanted - {stem(image.name) for image in images})
        if missing:
            raise InputError(
                f"{table} lists {missing[0]}, which lacks an image in {folder} or a mask in "
                f"{beside}."
            )
        images = [image for image in images if stem(image.name) in wanted]
        note = "VOC layout: the images that ImageSets/Segmentation/val.txt lists"
    found = {image.name: truth[stem(image.name)] for image in images}
    return Listing(folder, images, truth=found, notes=(note,))


def _plain(tree: Tree, asked: Asked) -> Listing:
    if tree.has("images") and tree.tops <= {"images", "masks", "targets"}:
        return Listing(tree.root / "images", tree.under("images"))
    return Listing(tree.root, tree.images)


LAYOUTS = (
    Layout(
        name="voc",
        kind="segmentation",
        rank=Rank.PUBLISHED,
        looks="JPEGImages/1.jpg\nSegmentationClass/1.png\nImageSets/Segmentation/val.txt",
        assumed="The images that val.txt lists, else those with a mask.",
        fits=lambda tree: tree.has(*_VOC),
        read=_voc,
    ),
    Layout(
        name="images-masks",
        kind="segmentation",
        rank=Rank.GENERAL,
        looks="images/1.jpg\nmasks/1.png",
        assumed="A mask per image, of the same name, any ending, at any depth.",
        fits=lambda tree: tree.has("images", "masks"),
        read=_masks,
    ),
    Layout(
        name="flat",
        kind="segmentation",
        rank=Rank.PLAIN,
        looks="1.jpg\n2.jpg",
        assumed="Images without masks.",
        fits=lambda tree: True,
        read=_plain,
    ),
    Layout(
        name="images-targets",
        kind="image",
        rank=Rank.GENERAL,
        looks="images/1.jpg\ntargets/1.png",
        assumed="A target per image, of the same name.",
        fits=lambda tree: tree.has("images", "targets"),
        read=_targets,
    ),
    Layout(
        name="flat",
        kind="image",
        rank=Rank.PLAIN,
        looks="1.jpg\n2.jpg",
        assumed="Images without targets.",
        fits=lambda tree: True,
        read=_plain,
    ),
)
