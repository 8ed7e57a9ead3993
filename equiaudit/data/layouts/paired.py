"""General layouts of images with a mask or a target each, and of images alone."""

from __future__ import annotations

from equiaudit.data.layouts.base import Asked, Layout, Listing, Rank, by_stem, stem
from equiaudit.data.layouts.pairs import SUFFIXES, Pairs, paired_layout
from equiaudit.data.layouts.suspicion import refuse_masks
from equiaudit.data.listing import list_images
from equiaudit.data.tree import Tree
from equiaudit.errors import InputError

_IMAGES = "images?|imgs?|photos?|inputs?"
_MASKS = (
    "masks?|labels?|annotations?|annots?|gts?|ground_?truths?|segmentations?|segmentation_masks?"
    "|[12]st_manual"
)


def _targets(tree: Tree, asked: Asked) -> Listing:
    folder, beside = tree.root / "images", tree.root / "targets"
    images, truth = list_images(folder), by_stem(beside)
    for image in images:
        if stem(image.name) not in truth:
            raise InputError(
                f"{folder / image.name} has no target: there is no {stem(image.name)}.* in "
                f"{beside}.",
                tip="Add the target, or move the image away; each needs one.",
            )
    found = {image.name: truth[stem(image.name)] for image in images}
    spare = len(truth) - len({stem(name) for name in found})
    notes = (f"targets without an image, left out: {spare}.",) if spare else ()
    return Listing(folder, images, truth=found, notes=notes)


def _flat(tree: Tree, asked: Asked) -> Listing:
    if tree.has("images") and tree.tops <= {"images", "masks", "targets"}:
        return Listing(tree.root / "images", tree.under("images"))
    if not asked.named:
        refuse_masks(tree)
    return Listing(tree.root, tree.images)


LAYOUTS = (
    paired_layout(
        "images-masks",
        Pairs(
            images=rf"(?P<base><top>(?P<set>(?:[^/]+[_-])?)(?:{_IMAGES})(?:[_-]\w+)?/)(?P<stem>.+)EXT",
            masks=rf"<top>(?P<set>(?:[^/]+[_-])?)(?:{_MASKS})(?:[_-]\w+)?/(?P<stem>.+)EXT",
            suffixes=("", *SUFFIXES),
            folders=("images", "masks"),
            marks=rf"(?:^|[/_-])(?:{_MASKS})(?:$|[/_-])",
        ),
        rank=Rank.GENERAL,
        looks="images/1.jpg\nmasks/1.png       (or labels/, gt/, 1_mask.png, 1_gt.gif, ...)",
        assumed="A mask per image, of the same name and perhaps a suffix, any ending, at any depth."
        " train_images/ goes with train_masks/, a/images/ with a/masks/.",
    ),
    paired_layout(
        "pairs",
        Pairs(
            images=r"<top><stem>EXT",
            masks=r"<top><stem>EXT",
            suffixes=SUFFIXES,
            apart=False,
        ),
        rank=Rank.GENERAL,
        looks="1.jpg\n1_mask.png         (or _label, _gt, _seg, ...)",
        assumed="The mask lies beside its image and has its name and a suffix.",
    ),
    paired_layout(
        "jpg-png",
        Pairs(
            images=r"<top><stem>\.jpe?g",
            masks=r"<top><stem>\.(?:png|bmp|gif|tiff?|npy)",
            apart=False,
        ),
        rank=Rank.GENERAL,
        looks="1.jpg\n1.png",
        assumed="The photo is a JPEG, the mask beside it has the same name.",
    ),
    Layout(
        name="flat",
        kind="segmentation",
        rank=Rank.PLAIN,
        looks="1.jpg\n2.jpg",
        assumed="Images without masks.",
        fits=lambda tree: True,
        read=_flat,
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
        read=_flat,
    ),
)
