"""Masks that lie where no layout has them must not be taken for photos."""

from __future__ import annotations

import re

from equiaudit.data.decoding import check_area, open_image, read_content
from equiaudit.data.layouts.pairs import SUFFIXES
from equiaudit.data.places import Place
from equiaudit.data.tree import Tree
from equiaudit.errors import EquiauditError, InputError

_MASKS = re.compile(
    r"(?:^|[/_-])(?:masks?|labels?|annotations?|annots?|gts?|gtfine|gtcoarse|ground_?truths?"
    r"|segmentations?|segmentationclass|targets?|1st_manual)(?:$|[/_-])|annot$",
    re.IGNORECASE,
)
_SPREAD = 2_654_435_761
_TRUTHS = re.compile(r"ground_?truths?|gtfine|segmentationclass|1st_manual", re.IGNORECASE)
_IMAGES = re.compile(r"images?|imgs?|jpegimages|leftimg8bit", re.IGNORECASE)


_SPLIT = re.compile(r"[_\-. ]+")
_CALLED = frozenset(
    ("mask", "masks", "label", "labels", "gt", "seg", "segmentation", "groundtruth", "annotation")
)
_PHOTOS = frozenset(("img", "image", "images", "photo", "input", "orig", "original", "rgb"))
_LOOKED_AT = 16
_MOST_PIXELS = 89_478_485
_FEW = 16
"""Colours of a mask at most; photos have more."""


def refuse_masks(tree: Tree) -> None:
    """InputError for an image that lies or is called as masks do."""
    for image in tree.images:
        folder = image.name.rpartition("/")[0]
        if _MASKS.search(folder):
            raise _refused(tree, image.name, f"lies in {folder}/, as masks do", "flat")
    refuse_named_masks(tree, "flat")
    _refuse_few_colours(tree)


def _refuse_few_colours(tree: Tree) -> None:
    """InputError where a quarter of some images have the colours of masks and a quarter not."""
    spread = sorted(range(len(tree.images)), key=lambda i: i * _SPREAD % 2**32)
    colours = {i: _colours(tree.images[i].path) for i in spread[:_LOOKED_AT]}
    few = [i for i, count in colours.items() if 1 < count <= _FEW]
    many = [i for i, count in colours.items() if count > _FEW]
    least = min(len(few), len(many))
    if least > 1 and 4 * least >= len(few) + len(many):
        name = tree.images[min(few)].name
        why = f"has {colours[min(few)]} colours, as masks have, and others have many"
        raise _refused(tree, name, why, "flat")


def _colours(path: Place) -> int:
    """How many an image has, one more than `_FEW` of many; 0 where it cannot be read."""
    try:
        image = open_image(read_content(path))
        if image.format == "JPEG":  # which has blurred them
            return _FEW + 1
        check_area(image.size, _MOST_PIXELS)
        return len(image.getcolors(_FEW) or range(_FEW + 1))
    except EquiauditError:
        raise
    except Exception:  # its scan says why
        return 0


def _is_named(name: str) -> bool:
    """Whether it ends as masks are called."""
    return name[: name.rfind(".")].lower().endswith(SUFFIXES)


def refuse_named_masks(tree: Tree, layout: str) -> None:
    """InputError for an image that has the name of one beside it and a suffix of masks.

    One that is called so and has no such companion is an image.
    """
    _refuse_other_words(tree, layout)
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


def _refuse_other_words(tree: Tree, layout: str) -> None:
    """InputError for mask_1.png beside img_1.png: alike but for the words."""
    text = "\0".join(tree.images.names).lower()
    if not any(word in text for word in _CALLED):
        return
    photos: dict[tuple[str, ...], str] = {}
    masks: dict[tuple[str, ...], str] = {}
    for name in tree.images.names:
        folder, _, file = name.rpartition("/")
        words = _SPLIT.split(file[: file.rfind(".")].lower())
        rest = tuple(word for word in words if word not in _CALLED | _PHOTOS)
        if rest:
            (photos if _CALLED.isdisjoint(words) else masks)[folder, *rest] = name
    for key, name in masks.items():
        if key in photos:
            raise _refused(tree, name, f"is called as {photos[key]}, but as masks are", layout)


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
