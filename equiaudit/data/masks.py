"""Masks and targets, cut exactly as their images are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from equiaudit.data.decoding import (
    centre_box,
    pixel_array,
    read_content,
    read_header,
    reason_of,
    resized_size,
    scaled,
    upright_planes,
)
from equiaudit.data.fitting import Lying, fitted, lies
from equiaudit.data.geometry import Geometry
from equiaudit.data.items import Item
from equiaudit.data.mask_files import read_stored, stored_header
from equiaudit.data.mask_values import IGNORED, Meaning, ids_of
from equiaudit.data.places import Place
from equiaudit.data.rules import Drawings, MaskRule
from equiaudit.data.truth import Frame, Truth, UnreadableTruth
from equiaudit.errors import EquiauditError, InputError

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class MaskReader(Meaning):
    """Reads masks into class ids below `num_classes`; an image without a mask shows class 0."""

    drawn: Drawings | None = field(default=None, repr=False)
    """In place of files."""
    drawn_sha256: str = ""
    """Of `drawn`, for telling readers apart."""

    def under(self, rule: MaskRule) -> MaskReader:
        """With what a layout says, where no flag says otherwise."""
        by_value = self.threshold is None and self.ignore is None and self.num_classes == 2
        return replace(
            self,
            ignore=rule.ignore if self.ignore is None else self.ignore,
            offset=rule.offset if self.offset is None else self.offset,
            threshold=rule.threshold if by_value else self.threshold,
            renumbered=rule.renumbered,
            table=self.table if self.table.names else rule.table,
            drawn=rule.drawn,
            drawn_sha256="" if rule.drawn is None else rule.drawn.sha256,
        )

    def read(self, item: Item, geometry: Geometry, frame: Frame) -> Truth:
        """(h, w) int16 ids, `IGNORED` where nothing is to be said."""
        ids, digest, notes = self._whole(item, geometry, frame)
        if item.region is not None:
            region, more = self._laid(item.region, "region", geometry, frame)
            ids = np.where(region, ids, IGNORED).astype(np.int32)
            digest = hashlib.sha256(f"{digest}{more}".encode()).hexdigest()
        return Truth(_cut(ids, item.file, geometry), digest, notes)

    def check(self, item: Item, frame: Frame) -> None:
        """Raise InputError where the mask does not fit its image by its header."""
        for path in (item.truth, item.region):
            if path is not None:
                _check_header(path, frame, "mask", self.lying)

    def _whole(
        self, item: Item, geometry: Geometry, frame: Frame
    ) -> tuple[Ids, str, tuple[str, ...]]:
        """The ids over the whole image, a digest, and what was done."""
        if self.drawn is not None:
            return self._draw(item, frame)
        if item.truth is None:
            return np.zeros(frame.size, np.int32), hashlib.sha256(b"").hexdigest(), ()
        stored = read_stored(item.truth, geometry.max_pixels)
        lying = lies("mask", item.truth, stored.shape, stored.orientation, frame, self.lying)
        ids = ids_of(stored, item.truth, self)
        laid, notes = fitted(ids, lying, stored.orientation, frame, "mask")
        return laid, stored.sha256, notes

    def _draw(self, item: Item, frame: Frame) -> tuple[Ids, str, tuple[str, ...]]:
        assert self.drawn is not None
        try:
            ids = self.drawn.draw(item.file, frame.stored)
        except EquiauditError:
            raise
        except Exception as error:
            raise UnreadableTruth(f"its mask cannot be drawn: {reason_of(error)}") from None
        wrong = ids >= self.num_classes
        if wrong.any():
            raise InputError(
                f"The mask of {item.file} holds class {int(ids[wrong][0])}, and the model's"
                f" {self.num_classes} classes are 0 to {self.num_classes - 1}.",
                tip="Name classes by --classes FILE.csv (columns name,index).",
            )
        laid, notes = fitted(ids, "stored", 1, frame, "mask")
        void = laid == self.ignore if self.ignore is not None else np.zeros(laid.shape, bool)
        digest = hashlib.sha256(np.ascontiguousarray(laid).tobytes()).hexdigest()
        return np.where(void, IGNORED, laid).astype(np.int32), digest, notes

    def _laid(
        self, path: Place, what: str, geometry: Geometry, frame: Frame
    ) -> tuple[NDArray[np.bool_], str]:
        stored = read_stored(path, geometry.max_pixels)
        if stored.values is None:
            raise InputError(
                f"The {what} {path} is in colours.", tip="Write it in black and white."
            )
        lying = lies(what, path, stored.shape, stored.orientation, frame, self.lying)
        laid, _ = fitted(stored.values > 0, lying, stored.orientation, frame, what)
        return laid, stored.sha256


@dataclass(frozen=True)
class TargetReader:
    """Reads targets, as images are read."""

    gray: bool = False

    def read(self, item: Item, geometry: Geometry, frame: Frame) -> Truth:
        """(h, w, 3 or 1) pixels, uint8 or uint16."""
        path = _path(item)
        try:
            content = read_content(path)
            planes, _ = upright_planes(content, geometry)
        except EquiauditError:
            raise
        except Exception as error:
            raise UnreadableTruth(f"its target cannot be read: {reason_of(error)}") from None
        _check_size(path, planes[0].size[::-1], frame)
        planes = scaled(planes, geometry)
        box = centre_box(path.name, planes[0].size, geometry)
        pixels = pixel_array([plane.crop(box) for plane in planes], self.gray)
        return Truth(pixels, hashlib.sha256(content).hexdigest())

    def check(self, item: Item, frame: Frame) -> None:
        """Raise InputError where the target is not of the image's size."""
        try:
            (width, height), orientation = read_header(_path(item))
        except EquiauditError:
            raise
        except Exception:
            return  # `read` says why, in its turn.
        size = (width, height) if orientation >= 5 else (height, width)
        _check_size(_path(item), size, frame)


def _path(item: Item) -> Place:
    if item.truth is None:
        raise ValueError(f"{item.file} has no target")
    return item.truth


def _cut(ids: Ids, file: str, geometry: Geometry) -> NDArray[np.int16]:
    image = Image.fromarray(np.ascontiguousarray(ids))
    if geometry.letterbox is not None:
        image = geometry.letterbox.drawn(image, geometry.window, "nearest", IGNORED)
    elif geometry.resize is not None:
        image = image.resize(resized_size(image.size, geometry.resize), Image.Resampling.NEAREST)
    box = centre_box(file, image.size, geometry)
    return np.ascontiguousarray(np.asarray(image.crop(box)).astype(np.int16))


def _check_header(path: Place, frame: Frame, what: str, lying: Lying | None) -> None:
    try:
        size, own = stored_header(path)
    except EquiauditError:
        raise
    except Exception:
        return  # `read` says why, in its turn.
    lies(what, path, size, own, frame, lying)


def _check_size(path: Place, size: tuple[int, int], frame: Frame) -> None:
    """Of a target; `size` (H, W)."""
    if size != frame.size:
        raise InputError(
            f"The target {path} is {size[0]}x{size[1]} px (height x width), and its image is "
            f"{frame.size[0]}x{frame.size[1]}.",
            tip="A target has the size of its image.",
        )
