"""Masks that lie where no layout has them must not be taken for photos."""

from __future__ import annotations

import re

from equiaudit.data.layouts.base import Tree, stem
from equiaudit.data.layouts.pairs import SUFFIXES
from equiaudit.errors import InputError

__all__ = ["refuse_masks"]

_FOLDER = re.compile(
    r"(?:^|[/_-])(?:masks?|labels?|annotations?|annots?|gts?|gtfine|gtcoarse|ground_?truths?"
    r"|segmentations?|segmentationclass|targets?|1st_manual)(?:$|[/_-])|annot/?$",
    re.IGNORECASE,
)


def refuse_masks(tree: Tree, *, folders: bool = True) -> None:
    """InputError for an image that lies or is called as masks do.

    That is, in a folder called so (where `folders`), or beside an image whose name it has with a
    suffix of masks. An image that is called so and has no such companion is an image.
    """
    stems = {stem(image.name).lower() for image in tree.images}
    for image in tree.images:
        folder = image.name.rpartition("/")[0]
        if folders and _FOLDER.search(folder):
            raise _refused(tree, image.name, f"lies in {folder}/, as masks do")
        own = stem(image.name).lower()
        for suffix in SUFFIXES:
            if own.endswith(suffix) and own[: -len(suffix)] in stems:
                raise _refused(tree, image.name, f"is called as its neighbour and {suffix!r}")


def _refused(tree: Tree, name: str, why: str) -> InputError:
    return InputError(
        f"{tree.root / name} {why}, and no layout of images and masks that is known fits the"
        " folder, so it may be no photo.",
        tip="equiaudit layouts shows those that are known; --layout flat takes every image for a"
        " photo.",
    )
