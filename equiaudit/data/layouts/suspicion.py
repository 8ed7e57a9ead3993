"""Masks that lie where no layout has them must not be taken for photos."""

from __future__ import annotations

import re

from equiaudit.data.layouts.pairs import SUFFIXES
from equiaudit.data.tree import Tree
from equiaudit.errors import InputError

_MASKS = re.compile(
    r"(?:^|[/_-])(?:masks?|labels?|annotations?|annots?|gts?|gtfine|gtcoarse|ground_?truths?"
    r"|segmentations?|segmentationclass|targets?|1st_manual)(?:$|[/_-])|annot$",
    re.IGNORECASE,
)
_TRUTHS = re.compile(r"ground_?truths?|gtfine|segmentationclass|1st_manual", re.IGNORECASE)
_IMAGES = re.compile(r"images?|imgs?|jpegimages|leftimg8bit", re.IGNORECASE)


def refuse_masks(tree: Tree) -> None:
    """InputError for an image that lies or is called as masks do."""
    for image in tree.images:
        folder = image.name.rpartition("/")[0]
        if _MASKS.search(folder):
            raise _refused(tree, image.name, f"lies in {folder}/, as masks do", "flat")
    refuse_named_masks(tree, "flat")


def _is_named(name: str) -> bool:
    """Whether it ends as masks are called."""
    return name[: name.rfind(".")].lower().endswith(SUFFIXES)


def refuse_named_masks(tree: Tree, layout: str) -> None:
    """InputError for an image that has the name of one beside it and a suffix of masks.

    One that is called so and has no such companion is an image.
    """
    text = "\0".join(tree.images.names).lower()
    if not any(f"{suffix}." in text for suffix in SUFFIXES):  # quick, of very many names
        return
    called = list(filter(_is_named, tree.images.names))
    own = {image.name.rpartition(".")[0].lower(): image.name for image in tree.images}
    for stem in (name.rpartition(".")[0].lower() for name in called):
        for suffix in SUFFIXES:
            if stem.endswith(suffix) and stem.removesuffix(suffix) in own:
                why = f"is called as {own[stem.removesuffix(suffix)]} and {suffix!r}, as masks are"
                raise _refused(tree, own[stem], why, layout)


def refuse_mask_folders(tree: Tree, layout: str) -> None:
    """InputError where a folder of masks would be a class beside one of images."""
    masks = sorted(top for top in tree.tops if _MASKS.search(top))
    images = any(_IMAGES.fullmatch(top) for top in tree.tops)
    for top in masks:
        if images or _TRUTHS.fullmatch(top):
            first = next(image.name for image in tree.images if image.name.startswith(f"{top}/"))
            raise _refused(tree, first, f"lies in {top}/, as masks do", layout)


def _refused(tree: Tree, name: str, why: str, layout: str) -> InputError:
    return InputError(
        f"{tree.root / name} {why}, and no layout that is known has it there, so it may be no"
        " photo.",
        tip="equiaudit layouts shows those that are known; move masks away, or give --layout"
        f" {layout}, which takes every image for a photo.",
    )
