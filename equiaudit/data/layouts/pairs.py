"""Images and the masks that belong to them, told by patterns of their names.

A pattern is a regular expression for a name relative to DATA, with a few short forms:

    <top>           any folders, or none
    <name>          one part of a path, without its ending
    <name:REGEX>    what REGEX matches
    EXT             the ending of an image or a mask

An image and a mask belong together where all names that both patterns have are equal. Where all
images share a `base`, it is left out of their names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from equiaudit.data.layouts.base import Asked, Layout, Listing, Rank
from equiaudit.data.layouts.splits import chosen_split, split_of
from equiaudit.data.listing import MASK_EXTENSIONS, ImageFile, is_image, is_mask
from equiaudit.data.places import read_text
from equiaudit.data.rules import NO_RULE, MaskRule
from equiaudit.data.tree import Tree
from equiaudit.errors import InputError

SUFFIXES = (
    *("_mask", "_masks", "-mask", ".mask", "_label", "_labels", "-label", "_gt", "-gt", "_seg"),
    *("_segmentation", "_manual1", "_l", "_groundtruth", "_ground_truth", "_annotation", "_anno"),
)
"""What masks are called beyond the name of their image, in lower case."""

Key = tuple[str, ...]


def pattern(text: str) -> re.Pattern[str]:
    """The expression that `text` is short for; letter case does not count."""
    text = text.replace("<top>", "(?P<top>(?:.+/)?)")
    text = re.sub(r"(?<!\?P)<(\w+):([^>]+)>", r"(?P<\1>\2)", text)
    text = re.sub(r"(?<!\?P)<(\w+)>", r"(?P<\1>[^/]+?)", text)
    ending = "|".join(sorted(ending[1:] for ending in MASK_EXTENSIONS))
    return re.compile(text.replace("EXT", rf"\.(?:{ending})"), re.IGNORECASE)


def _no_rule(tree: Tree, asked: Asked) -> MaskRule:
    return NO_RULE


@dataclass(frozen=True)
class Pairs:
    """Where images and masks lie."""

    images: str
    masks: str
    suffixes: tuple[str, ...] = ("",)
    """What may follow the image's name in that of its mask: one of them does, in all files."""
    region: str | None = None
    """Masks of the pixels that count, as a field of view."""
    aside: str = r"(?!)"
    """Images of the layout that are not read."""
    apart: bool = True
    """Masks have folders of their own, and so are masks although none has the name of an image."""
    folders: tuple[str, ...] = ()
    """Where all these are, it is this layout, be they empty."""
    marks: str = ""
    """An expression found among the folders of DATA, one a line; a quick look before the rest."""
    normal: str = r"(?!)"
    """An expression for the names of images that need no mask: there is nothing to find."""
    unmasked: Literal["refuse", "drop", "background"] = "refuse"
    """What is done with other images that have none."""
    split: tuple[str, ...] = ()
    """Which of several splits is read where none is asked for: the first with masks."""
    listed: str | None = None
    """A list, in DATA, of the images that are read, where it is there; {split} is in its name."""
    rule: Callable[[Tree, Asked], MaskRule] = _no_rule


@dataclass(frozen=True, eq=False)
class Found:
    """Images, masks and regions by what the patterns found in their names."""

    images: Mapping[Key, ImageFile]
    masks: Mapping[Key, ImageFile]
    regions: Mapping[Key, ImageFile] = field(default_factory=dict)
    spare: tuple[ImageFile, ...] = ()
    """Masks of no image."""
    rest: tuple[ImageFile, ...] = ()
    """Images that no pattern knows."""
    suffix: str = ""
    base: str = ""
    """The part of their names that all images share and that is not shown."""


def paired_layout(
    name: str, pairs: Pairs, *, rank: Rank, looks: str, assumed: str, source: str = ""
) -> Layout[Listing]:
    """A segmentation layout."""
    return Layout(
        name=name,
        kind="segmentation",
        rank=rank,
        looks=looks,
        assumed=assumed,
        fits=lambda tree: _fits(tree, pairs),
        read=lambda tree, asked: listing_of(tree, found_in(tree, pairs), pairs, asked),
        source=source,
    )


def _fits(tree: Tree, pairs: Pairs) -> bool:
    if pairs.folders and tree.has(*pairs.folders):
        return True
    if re.search(pairs.marks, tree.folders, re.IGNORECASE | re.MULTILINE) is None:
        return False
    found = found_in(tree, pairs)
    return bool(found.masks or (pairs.apart and found.images and found.spare))


def found_in(tree: Tree, pairs: Pairs) -> Found:
    """What the patterns find; InputError where two readings explain as many masks."""
    images, masks = pattern(pairs.images), pattern(pairs.masks)
    shared = tuple(sorted(set(images.groupindex) & set(masks.groupindex)))
    files = [file for file in tree.files if is_mask(file.relative)]
    possible = _keys(images, [file for file in files if is_image(file.relative)], shared)
    stored = _keys(masks, files, shared)
    suffix, own = _best(tree, pairs, possible, stored, shared.index("stem"))
    if not (own or pairs.apart):
        return Found({}, {})
    pictures = {file: key for file, key in possible.items() if file not in own}
    regions = {} if pairs.region is None else _keys(pattern(pairs.region), files, shared)
    known = {*own, *pictures, *regions}
    spare = tuple(file for file in stored if file not in known)
    known.update(spare)
    aside = re.compile(pairs.aside, re.IGNORECASE)
    rest = tuple(f for f in tree.images if f not in known and not aside.search(f.name))
    return Found(
        images=_by_key(tree, pictures),
        masks=_by_key(tree, own),
        regions=_by_key(tree, regions),
        spare=spare,
        rest=rest,
        suffix=suffix,
        base=_base(images, pictures),
    )


def _keys(
    expression: re.Pattern[str], files: Iterable[ImageFile], shared: Sequence[str]
) -> dict[ImageFile, Key]:
    matches = ((file, expression.fullmatch(file.name)) for file in files)
    return {file: tuple(m[name] or "" for name in shared) for file, m in matches if m is not None}


def _best(
    tree: Tree,
    pairs: Pairs,
    possible: Mapping[ImageFile, Key],
    stored: Mapping[ImageFile, Key],
    stem: int,
) -> tuple[str, dict[ImageFile, Key]]:
    """The suffix with which most images have a mask; the masks, with the keys of their images."""
    names = set(possible.values())
    readings = []
    for suffix in pairs.suffixes:
        own = {}
        for file, key in stored.items():
            whole = key[stem]
            meant = (*key[:stem], whole[: len(whole) - len(suffix)], *key[stem + 1 :])
            if whole.lower().endswith(suffix) and meant in names:
                own[file] = meant
        readings.append((len(set(own.values())), suffix, own))
    most = max(count for count, _, _ in readings)
    best = [(suffix, own) for count, suffix, own in readings if count == most]
    if most and len(best) > 1:
        (one, first), (other, second) = best[:2]
        raise InputError(
            f"{tree.root} has masks called as their image and {one or 'no more'!r}"
            f" ({next(iter(first)).name}), and as many with {other or 'no more'!r}"
            f" ({next(iter(second)).name}), so which is the mask cannot be told.",
            tip="Move the files of one kind away.",
        )
    return best[0]


def _by_key(tree: Tree, files: Mapping[ImageFile, Key]) -> dict[Key, ImageFile]:
    found: dict[Key, ImageFile] = {}
    for file, key in files.items():
        first = found.setdefault(key, file)
        if first is not file:
            raise InputError(
                f"{tree.root} holds both {first.name} and {file.name}, so which belongs to "
                f"{key[-1] if len(key) == 1 else ' '.join(filter(None, key))} cannot be told.",
                tip="Move one of them away.",
            )
    return found


def _base(images: re.Pattern[str], pictures: Iterable[ImageFile]) -> str:
    if "base" not in images.groupindex:
        return ""
    found = {match["base"] for f in pictures if (match := images.fullmatch(f.relative))}
    return found.pop() if len(found) == 1 else ""


def listing_of(tree: Tree, found: Found, pairs: Pairs, asked: Asked) -> Listing:
    """Images with their masks; InputError for one without, where that is not allowed."""
    names = {image.name: key for key, image in found.images.items()}
    masked = {split_of(i.name) for key, i in found.images.items() if key in found.masks}
    images = sorted(found.images.values(), key=lambda image: os.fsencode(image.relative))
    images, notes = chosen_split(
        images, lambda image: split_of(image.name), masked, pairs.split, asked.split, tree.root
    )
    if pairs.listed is not None:
        images, said = _as_listed(tree, images, found, names, pairs.listed, asked)
        notes += said
    kept, said = _masked(tree, images, found, names, pairs, asked)
    notes += said
    if found.spare:
        notes += (f"masks without an image, left out: {len(found.spare)}.",)
    if found.rest:
        first = found.rest[0].name
        notes += (f"Images of no place in the layout, left out: {len(found.rest)} ({first}).",)
    return Listing(
        root=tree.root / found.base[:-1] if found.base else tree.root,
        images=[image.below(found.base) for image in kept],
        truth=_named(kept, found.masks, names, found.base),
        regions=_named(kept, found.regions, names, found.base),
        masked=True,
        rule=pairs.rule(tree, asked),
        notes=notes,
    )


def _named(
    images: Iterable[ImageFile], files: Mapping[Key, ImageFile], keys: Mapping[str, Key], base: str
) -> dict[str, ImageFile]:
    found = {image.below(base).name: files.get(keys[image.name]) for image in images}
    return {name: file for name, file in found.items() if file is not None}


def _masked(
    tree: Tree,
    images: Sequence[ImageFile],
    found: Found,
    keys: Mapping[str, Key],
    pairs: Pairs,
    asked: Asked,
) -> tuple[list[ImageFile], tuple[str, ...]]:
    """The images that are read, and what is said of those without a mask."""
    normal = re.compile(pairs.normal, re.IGNORECASE)
    bare = [i for i in images if keys[i.name] not in found.masks and not normal.search(i.name)]
    blank = sum(keys[i.name] not in found.masks for i in images) - len(bare)
    notes: tuple[str, ...] = ()
    if blank:
        notes = (f"{blank} normal images have no mask and count as background.",)
    what = asked.no_mask or pairs.unmasked
    if not bare:
        return list(images), notes
    if what == "drop":
        left = set(bare)
        notes += (f"{len(bare)} images without a mask are left out ({bare[0].name}).",)
        return [image for image in images if image not in left], notes
    if what == "refuse":
        raise InputError(
            f"{bare[0].path} has no mask{_expected(found, keys[bare[0].name])}"
            f" ({len(bare)} of {len(images)} images lack one).",
            tip="Add the mask, or move the image away; --no-mask background where an image without"
            " a mask shows nothing to find.",
        )
    if found.spare:
        raise InputError(
            f"{bare[0].path} has no mask, and {found.spare[0].path} is of no image: as their names"
            " may not fit each other, the image is not taken for background.",
            tip="Rename one of them, or move the mask away.",
        )
    notes += (f"{len(bare)} images without a mask count as background ({bare[0].name}).",)
    return list(images), notes


def _expected(found: Found, key: Key) -> str:
    """What its mask would be called, by the first one that another image has."""
    if not found.masks:
        return ""
    (other, mask) = next(iter(found.masks.items()))
    return f", as {found.images[other].name} has {mask.name}" if other in found.images else ""


def _as_listed(
    tree: Tree,
    images: list[ImageFile],
    found: Found,
    keys: Mapping[str, Key],
    listed: str,
    asked: Asked,
) -> tuple[list[ImageFile], tuple[str, ...]]:
    """The images whose stems the list of the split has, where there is one."""
    table = tree.root / listed.format(split=asked.split or "val")
    if not table.is_file():
        return images, ()
    stem = {image: image.name.rpartition("/")[2].rpartition(".")[0] for image in images}
    wanted = set(read_text(table).split())
    usable = {stem[image] for image in images if keys[image.name] in found.masks}
    if missing := sorted(wanted - usable):
        raise InputError(f"{table} lists {missing[0]}, which lacks an image or a mask.")
    kept = [image for image in images if stem[image] in wanted]
    return kept, (f"The images that {table.name} lists.",)
