"""Annotated objects: boxes beside the images, moved into the window that a model sees."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from equiaudit.data.geometry import Geometry
from equiaudit.data.items import Item
from equiaudit.data.truth import Frame, Truth
from equiaudit.errors import InputError

Floats = NDArray[np.float64]

_STATED = 4
"""Columns of a row that hold its box."""


@dataclass(frozen=True, eq=False)
class Marked:
    """The n objects of one image."""

    rows: Floats
    """(n, 6) x1, y1, x2, y2, category, and 1 where an object is neither to be found nor missed."""
    size: tuple[int, int] | None = None
    """(H, W) of the image that the annotation states, px."""


def marked(rows: list[list[float]], size: tuple[int, int] | None = None) -> Marked:
    """Of rows of six."""
    return Marked(np.array(rows, np.float64).reshape(-1, 6), size)


@dataclass(frozen=True, eq=False)
class Objects:
    """What a layout says of the objects of its images."""

    of: Mapping[str, Marked] = field(repr=False)
    """Name of an image -> its objects."""
    names: Mapping[int, str]
    """Category -> its name."""
    shares: bool = False
    """Boxes are shares of the image's width and height, not px."""
    ids: bool = False
    """The numbers of categories say something: else they were given here, by name."""
    labels: bool = False
    """They are the labels that a model of this format returns."""


@dataclass(frozen=True)
class ObjectReader:
    """Reads the objects of an image: (n, 6) rows of `Marked`, in px of the unshifted window."""

    of: Mapping[str, Marked] = field(repr=False)
    """`Item.file` -> objects with the model's labels for categories."""
    shares: bool

    def read(self, item: Item, geometry: Geometry, frame: Frame) -> Truth:
        """Of `item`; its boxes may reach beyond the window, and be without any overlap with it."""
        self.check(item, frame)
        rows = self.of[item.file].rows.copy()
        height, width = frame.size
        sides = np.array([width, height] * 2, np.float64)
        boxes = rows[:, :_STATED] * (sides if self.shares else 1.0)
        boxes = np.clip(boxes, 0.0, sides)
        scale, corner = _into_window((width, height), geometry)
        rows[:, :_STATED] = boxes * scale + corner
        notes: tuple[str, ...] = ()
        if frame.orientation != 1:
            notes = ("boxes are taken to lie on the upright image, after its EXIF orientation",)
        return Truth(rows, hashlib.sha256(rows.tobytes()).hexdigest(), notes)

    def check(self, item: Item, frame: Frame) -> None:
        """InputError where the annotation states another size of the image."""
        stated = self.of[item.file].size
        if stated is None or stated == frame.size:
            return
        turned = ""
        if frame.orientation != 1 and stated == frame.stored:
            turned = ", which its EXIF orientation turns: boxes of the unturned image are not read"
        raise InputError(
            f"The annotations have {item.file} as {stated[0]}x{stated[1]} px (height x width), and"
            f" it is {frame.size[0]}x{frame.size[1]}{turned}.",
            tip="--layout images takes the images alone.",
        )


def _into_window(size: tuple[int, int], geometry: Geometry) -> tuple[Floats, Floats]:
    """By which boxes of an image (width, height) are multiplied, and what is added then."""
    from equiaudit.data.decoding import resized_size

    height, width = geometry.window
    if geometry.letterbox is not None:
        made = geometry.letterbox.fitted(size, geometry.window)
        left, top = geometry.letterbox.corner(made, geometry.window)
    else:
        made = size if geometry.resize is None else resized_size(size, geometry.resize)
        left, top = -round((made[0] - width) / 2), -round((made[1] - height) / 2)
    scale = np.array([made[0] / size[0], made[1] / size[1]] * 2)
    return scale, np.array([left, top] * 2, np.float64)
