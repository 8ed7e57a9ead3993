"""Masks and targets, cut exactly as their images are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from equiaudit.data.class_table import ClassTable
from equiaudit.data.decoding import (
    Geometry,
    centre_box,
    check_pixels,
    open_image,
    pixel_array,
    read_content,
    read_header,
    reason_of,
    resized,
    resized_size,
    upright_planes,
)
from equiaudit.data.items import Item
from equiaudit.data.places import Place
from equiaudit.data.truth import Truth, UnreadableTruth
from equiaudit.errors import EquiauditError, InputError

__all__ = ["IGNORED", "MaskReader", "TargetReader"]

Ids = NDArray[np.int32]

IGNORED = -1
"""The class id of pixels of which nothing is said."""
_VOID = 255


@dataclass(frozen=True)
class MaskReader:
    """Reads masks into class ids below `num_classes`.

    Palette, grey, 1-bit and 16-bit files hold the ids themselves; colour files need the
    colours of `table`. `ignore` is the id that says nothing. Where it is None, that is 255,
    except that of a model with two classes a grey mask of 0 and 255 alone means 0 and 1.
    """

    num_classes: int
    ignore: int | None = None
    table: ClassTable = field(default_factory=ClassTable)

    def read(self, item: Item, geometry: Geometry, size: tuple[int, int]) -> Truth:
        """(h, w) int16 ids, `IGNORED` where nothing is to be said."""
        path = _path(item)
        try:
            content = read_content(path)
            image = open_image(content)
            check_pixels(image, geometry)
            image.load()
        except EquiauditError:
            raise
        except Exception as error:  # what hostile files raise is up to them
            raise UnreadableTruth(f"its mask cannot be read: {reason_of(error)}") from None
        _check_size(path, image.size, size, "mask")
        ids = self._checked(self._meant(_raw_ids(path, image, self.table), image.mode, path), path)
        return Truth(_cut(ids, path, geometry), hashlib.sha256(content).hexdigest())

    def check(self, item: Item, size: tuple[int, int]) -> None:
        """Raise InputError where the mask is not of the image's size."""
        _check_header(_path(item), size, "mask")

    def _meant(self, ids: Ids, mode: str, path: Place) -> Ids:
        """`ids` with `IGNORED` for those to leave out, and 255 as 1 where masks are 0 and 255."""
        if self.ignore is not None:
            return np.where(ids == self.ignore, IGNORED, ids)
        if not (ids == _VOID).any():
            return ids
        if self.num_classes > 2 or mode == "P" or self.table.colours:
            return np.where(ids == _VOID, IGNORED, ids)
        if (ids == 1).any():
            raise InputError(
                f"The mask {path} holds both 1 and 255, so what 255 means cannot be told.",
                tip="Give --ignore-index 255 if these pixels are to be left out.",
            )
        return np.where(ids == _VOID, 1, ids)

    def _checked(self, ids: Ids, path: Place) -> Ids:
        beyond = np.argwhere(ids >= self.num_classes)
        if len(beyond):
            row, column = (int(place) for place in beyond[0])
            raise InputError(
                f"The mask {path} holds class {ids[row, column]} (row {row}, column {column}), and "
                f"the model's {self.num_classes} classes are 0 to {self.num_classes - 1}.",
                tip="Renumber the mask, or name the id to leave out with --ignore-index N.",
            )
        return ids


@dataclass(frozen=True)
class TargetReader:
    """Reads targets, as images are read."""

    gray: bool = False

    def read(self, item: Item, geometry: Geometry, size: tuple[int, int]) -> Truth:
        """(h, w, 3 or 1) pixels, uint8 or uint16."""
        path = _path(item)
        try:
            content = read_content(path)
            planes, _ = upright_planes(content, geometry)
        except EquiauditError:
            raise
        except Exception as error:
            raise UnreadableTruth(f"its target cannot be read: {reason_of(error)}") from None
        _check_size(path, planes[0].size, size, "target")
        if geometry.resize is not None:
            planes = [resized(p, geometry.resize, geometry.interpolation) for p in planes]
        box = centre_box(path.name, planes[0].size, geometry)
        pixels = pixel_array([plane.crop(box) for plane in planes], self.gray)
        return Truth(pixels, hashlib.sha256(content).hexdigest())

    def check(self, item: Item, size: tuple[int, int]) -> None:
        """Raise InputError where the target is not of the image's size."""
        _check_header(_path(item), size, "target")


def _path(item: Item) -> Place:
    if item.truth is None:
        raise ValueError(f"{item.file} has neither mask nor target")
    return item.truth


def _raw_ids(path: Place, image: ImageFile.ImageFile, table: ClassTable) -> Ids:
    if image.mode in ("1", "L", "P", "I", "I;16", "I;16B", "I;16L"):
        return np.asarray(image).astype(np.int32)
    if image.mode in ("LA", "PA"):
        return np.asarray(image)[..., 0].astype(np.int32)
    if image.mode not in ("RGB", "RGBA"):
        raise InputError(
            f"The mask {path} has Pillow's mode {image.mode}, which holds no class ids.",
            tip="Write masks as grey or palette PNG files of class ids.",
        )
    if not table.colours:
        raise InputError(
            f"The mask {path} is in colours, and which class each stands for is not known.",
            tip="Name them with --classes FILE.csv (columns name,index,colour).",
        )
    return _ids_of_colours(path, np.asarray(image.convert("RGB")).astype(np.int32), table)


def _ids_of_colours(path: Place, pixels: Ids, table: ClassTable) -> Ids:
    packed = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    known = {r << 16 | g << 8 | b: index for (r, g, b), index in table.colours.items()}
    present, place = np.unique(packed, return_inverse=True)
    for colour in present.tolist():
        if colour not in known:
            row, column = (int(at) for at in np.argwhere(packed == colour)[0])
            raise InputError(
                f"The mask {path} holds the colour #{colour:06x} (row {row}, column {column}), "
                f"which {table.source} does not name.",
                tip="Add it to the table; a JPEG blurs colours, so write masks as PNG.",
            )
    ids = np.array([known[colour] for colour in present.tolist()], np.int32)
    return ids[place].reshape(packed.shape)


def _cut(ids: Ids, path: Place, geometry: Geometry) -> NDArray[np.int16]:
    image = Image.fromarray(ids)
    if geometry.resize is not None:
        image = image.resize(resized_size(image.size, geometry.resize), Image.Resampling.NEAREST)
    box = centre_box(path.name, image.size, geometry)
    return np.ascontiguousarray(np.asarray(image.crop(box)).astype(np.int16))


def _check_header(path: Place, size: tuple[int, int], what: str) -> None:
    try:
        found, _ = read_header(path)
    except EquiauditError:
        raise
    except Exception:
        return  # `read` says why, in its turn.
    _check_size(path, found, size, what)


def _check_size(path: Place, found: tuple[int, int], size: tuple[int, int], what: str) -> None:
    """`found` is Pillow's (width, height), `size` the image's (H, W)."""
    if found[::-1] != size:
        raise InputError(
            f"The {what} {path} is {found[1]}x{found[0]} px (height x width), and its image is "
            f"{size[0]}x{size[1]}.",
            tip=f"A {what} has the size of its image.",
        )
