"""What a layout is: how it is recognised, and where its images and what is known of them lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import PurePosixPath
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from equiaudit.data.class_table import ClassTable
from equiaudit.data.classes import ClassOrder, Doubt, Known
from equiaudit.data.listing import ImageFile, list_images
from equiaudit.data.objects import Objects
from equiaudit.data.places import Place
from equiaudit.data.rules import NO_RULE, MaskRule
from equiaudit.data.tree import Tree
from equiaudit.errors import InputError

L = TypeVar("L")
Kind = str
"""The task whose data is to be read; "sequences" of frames that follow a defect."""


class Rank(IntEnum):
    """Of the layouts that fit, those of the lowest rank are meant."""

    PUBLISHED = 0
    """The layout of one data set, told by names of its own."""
    SECOND = 1
    """That, in a form which counts only where the first is not there."""
    GENERAL = 2
    """A habit that many share."""
    PLAIN = 3
    """Images of which nothing is known."""


@dataclass(frozen=True)
class Asked:
    """What is known beside the folder."""

    labels: Place | None = None
    known: Known = field(default_factory=Known)
    """Of the model's classes."""
    order: ClassOrder | None = None
    """How classes are counted, where that is said."""
    table: ClassTable = field(default_factory=ClassTable)
    """Of --classes."""
    split: str | None = None
    """Which of train, val and test is read; None for what the layout says."""
    no_mask: Literal["refuse", "background"] | None = None
    """What an image without a mask means; None for what the layout says."""
    named: bool = False
    """The layout was asked for by its name."""


@dataclass(frozen=True, eq=False)
class Listing:
    """The images of a layout, and what is known of each."""

    root: Place
    """What the names of `images` are relative to."""
    images: Sequence[ImageFile]
    labels: NDArray[np.int32] | None = None
    """(n,) of every image, `NO_LABEL` where it has none; None where none has."""
    class_names: Mapping[int, str] = field(default_factory=dict)
    truth: Mapping[str, ImageFile] = field(default_factory=dict)
    """Name of an image -> its mask or target."""
    regions: Mapping[str, ImageFile] = field(default_factory=dict)
    """Name of an image -> a mask of the pixels that count, where only some do."""
    objects: Objects | None = None
    """Boxes of every image, where they are known."""
    masked: bool = False
    """Masks are known; an image that `truth` lacks shows background, or `rule` draws it."""
    rule: MaskRule = NO_RULE
    """How masks are read."""
    read_too: tuple[str, ...] = ()
    """Names, relative to DATA, of tables that were read beside the images."""
    notes: tuple[str, ...] = ()
    doubt: Doubt | None = None
    """Where `labels` are one of several meanings."""


@dataclass(frozen=True)
class Layout(Generic[L]):
    """One way to lay out files. `read` gives a `Listing`, of sequences their groups."""

    name: str
    """As `--layout` takes it."""
    kind: Kind
    rank: Rank
    looks: str
    """A picture of the folder in text."""
    assumed: str
    """One sentence."""
    fits: Callable[[Tree], bool]
    read: Callable[[Tree, Asked], L]
    """InputError where the folder is not so laid out."""
    source: str = ""
    """Where it is described."""


def stem(name: str) -> str:
    """`name` without its ending."""
    return str(PurePosixPath(name).with_suffix(""))


def by_stem(folder: Place) -> dict[str, ImageFile]:
    """The images of a folder; InputError where two differ in their ending alone."""
    found: dict[str, ImageFile] = {}
    for file in list_images(folder):
        key = stem(file.name)
        if key in found:
            raise InputError(
                f"{folder} holds both {found[key].name} and {file.name}, so which belongs to "
                f"{key} cannot be told.",
                tip="Move one of them away.",
            )
        found[key] = file
    return found
