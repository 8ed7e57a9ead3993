"""Images that are no files: arrays and torch Datasets, in a folder for the time of a call."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from equiaudit.errors import InputError

__all__ = ["in_files"]

_CHANNELS = (1, 3, 4)
_ITEM = "An item is an image, or an image with a label or a mask"
_LABELS, _MASKS = ("label", "target", "labels"), ("mask", "masks")


@contextmanager
def in_files(data: Any, *, limit: int | None, seed: int) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A folder with the images of `data`, and what more is to be said of how it is read.

    Pixels are kept as they are, as .npy: uint8 and uint16, or floats, whose black and white
    `image_range` says. Of a Dataset `limit` items are taken, drawn with the seed. The folder is
    gone when the block ends.
    """
    item, count = _items(data)
    places = np.arange(count)
    if limit is not None and limit < count:
        places = np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))
    with tempfile.TemporaryDirectory(prefix="equiaudit-data-") as root:
        folder = _Folder(Path(root), len(str(max(count - 1, 0))))
        for place in places.tolist():
            folder.add(place, item(place))
        yield folder.root, folder.settings(len(places))


@dataclass
class _Folder:
    root: Path
    digits: int
    labels: dict[str, int] = field(default_factory=dict)
    masks: int = 0

    def add(self, place: int, item: Any) -> None:
        image, truth = _parts(item, place)
        name = f"{place:0{self.digits}d}.npy"
        self._write("images", name, _pixels(image, place))
        if truth is None:
            return
        known = _array(truth)
        if known.size == 1 and known.dtype.kind in "iub":
            self.labels[f"images/{name}"] = int(known.reshape(()))
        elif known.squeeze().ndim == 2 and known.dtype.kind in "iub":
            self.masks += 1
            self._write("masks", name, known.squeeze().astype(np.int64))
        else:
            raise InputError(
                f"What item {place} has beside its image is {known.dtype} of shape"
                f" {known.shape}: neither a label nor a mask of class ids."
            )

    def _write(self, kind: str, name: str, values: np.ndarray) -> None:  # type: ignore[type-arg]
        path = self.root / kind / name
        path.parent.mkdir(exist_ok=True)
        np.save(path, values)

    def settings(self, count: int) -> dict[str, Any]:
        if len(self.labels) not in (0, count) or self.masks not in (0, count):
            raise InputError("Some items have a label or a mask, and others have none.")
        if not self.labels:
            return {}
        table = self.root / "labels.csv"
        with table.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("file", "label"), *self.labels.items()])
        return {"labels": str(table)}


def _items(data: Any) -> tuple[Callable[[int], Any], int]:
    """What gives an item by its place, and how many there are."""
    if isinstance(data, tuple) and len(data) == 2 and np.ndim(data[0]) >= 3:
        images, truth = data
        if len(images) != len(truth):
            raise InputError(f"There are {len(images)} images and {len(truth)} labels or masks.")
        return (lambda i: (images[i], truth[i])), len(images)
    if not hasattr(data, "__len__"):
        raise InputError(
            f"{type(data).__name__} does not say how many items it has.",
            tip="Give a Dataset with items by number, or an array.",
        )
    if not len(data):
        raise InputError("There are no images.")
    return data.__getitem__, len(data)


def _parts(item: Any, place: int) -> tuple[Any, Any]:
    """The image of an item, and its label or mask."""
    if isinstance(item, Mapping):
        truth = next((item[key] for key in (*_MASKS, *_LABELS) if key in item), None)
        if "image" not in item:
            raise InputError(f"Item {place} has no 'image': its keys are {', '.join(item)}.")
        return item["image"], truth
    if not isinstance(item, tuple | list):
        return item, None
    if len(item) == 1:
        return item[0], None
    if len(item) != 2:
        raise InputError(f"Item {place} has {len(item)} parts.", tip=f"{_ITEM}.")
    return item[0], item[1]


def _pixels(image: Any, place: int) -> np.ndarray:  # type: ignore[type-arg]
    """(H, W) or (H, W, C): tensors have their channels first, arrays where 1, 3 or 4 are."""
    if getattr(image, "mode", None) in ("P", "1", "CMYK", "YCbCr", "LA"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    values = _array(image)
    tensor = hasattr(image, "detach")
    if values.ndim == 3 and (tensor or values.shape[2] not in _CHANNELS):
        values = np.moveaxis(values, 0, 2)
    if values.ndim not in (2, 3) or values.dtype.kind not in "uif":
        raise InputError(
            f"Item {place} is {values.dtype} of shape {values.shape}, which is no image.",
            tip="Give (H, W), (H, W, C) arrays, (C, H, W) tensors or PIL images.",
        )
    if values.dtype.kind == "f" and (values.min() < -1e-6 or values.max() > 1 + 1e-6):
        raise InputError(
            f"The pixels of item {place} lie in {values.min():.3g} to {values.max():.3g}, as"
            " normalised ones do.",
            tip="Leave the normalisation out of the transform, and say it by --mean and --std.",
        )
    return np.ascontiguousarray(values)


def _array(value: Any) -> np.ndarray:  # type: ignore[type-arg]
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return np.asarray(value)
