"""The images a net is trained on: pixels in memory, with labels or masks where there are any."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiaudit.data import Dataset, Decoded, Geometry, decode_ahead
from equiaudit.errors import InputError
from equiaudit.models.pixels import normalise
from equiaudit.models.types import Preprocess
from equiaudit.results import Skipped
from equiaudit.training.windows import Moves, Pixels, Windows, cut

_MOST_BYTES = 8 << 30
_LEAST_HELD, _MOST_SHARE = 24, 0.2


@dataclass(frozen=True, eq=False)
class Examples:
    """Photos and what is known of them.

    Each of `photos` is (h, w, C) uint8 or uint16, RGB or grey, as decoded, with the model's
    window (H, W) in its middle and what else of the photo was loaded around it. There are
    `labels` (N,) int64, or `masks` of class ids (h, w) with `equiaudit.data.IGNORED` where
    nothing is said, or neither. `preprocess` makes pixels model input.
    """

    photos: Sequence[Pixels]
    preprocess: Preprocess
    labels: Tensor | None = None
    masks: Sequence[Pixels] | None = None
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.photos)

    @property
    def has_targets(self) -> bool:
        """Whether labels or masks are known."""
        return self.labels is not None or self.masks is not None

    def windows(self, index: NDArray[np.int64], moves: Moves, rng: np.random.Generator) -> Windows:
        """One window of each photo of `index`, drawn by `moves`."""
        masks = None if self.masks is None else [self.masks[i] for i in index]
        return cut([self.photos[i] for i in index], masks, self.preprocess.size, moves, rng)

    def inputs(self, pixels: Pixels, device: torch.device) -> Tensor:
        """(n, H, W, C) pixels as the model receives them, (n, C, H, W) on `device`."""
        return normalise(pixels, self.preprocess, device)

    def labels_of(self, index: NDArray[np.int64], device: torch.device) -> Tensor:
        """(n,) int64. InputError where there are none."""
        if self.labels is None:
            raise InputError(
                "finetune needs labels or masks, and these images have none.",
                tip="Use --distil, which needs none, or sort the images into class folders.",
            )
        return self.labels[torch.from_numpy(index)].to(device).long()

    def batches(self, size: int, device: torch.device) -> Iterator[Tensor]:
        """The middles of all of them in order, `size` at a time, as the model receives them."""
        still = Moves(crop=0, flip=False)
        for start in range(0, len(self), size):
            index = np.arange(start, min(start + size, len(self)))
            windows = self.windows(index, still, np.random.default_rng(0))
            yield self.inputs(windows.still, device)

    def split(self, share: float, seed: int) -> tuple[Examples, Examples]:
        """A training part and a held-out part of about `share`, drawn by `seed`.

        Where that is under 24 photos, as many are held out, but no more than a fifth of all.
        """
        order = np.random.default_rng([seed, 1]).permutation(len(self))
        held = self._held(share)
        return self.part(np.sort(order[held:])), self.part(np.sort(order[:held]))

    def digest(self) -> str:
        """SHA-256 of pixels, labels and masks."""
        digest = hashlib.sha256()
        for photo in (*self.photos, *(self.masks or ())):
            digest.update(f"{photo.shape}".encode() + np.ascontiguousarray(photo).tobytes())
        if self.labels is not None:
            digest.update(self.labels.numpy().tobytes())
        return digest.hexdigest()

    def _held(self, share: float) -> int:
        if not share:
            return 0
        few = min(_LEAST_HELD, round(_MOST_SHARE * len(self)))
        return min(max(round(share * len(self)), few), len(self) - 1)

    def part(self, index: NDArray[np.int64]) -> Examples:
        """Those of `index`."""
        return replace(
            self,
            photos=[self.photos[i] for i in index],
            labels=None if self.labels is None else self.labels[torch.from_numpy(index)],
            masks=None if self.masks is None else [self.masks[i] for i in index],
        )


def load_examples(
    dataset: Dataset, geometry: Geometry, how: Preprocess, *, workers: int = 2
) -> Examples:
    """Decode all of `dataset` into memory, with its labels or masks where it has any.

    Of each photo the window and up to `geometry.room` px around it are kept; less where that
    would not fit in 8 GiB. A file that cannot be read is left out and named in `skipped`.
    InputError where none can be read, or where the windows alone would take more than 8 GiB.
    """
    geometry = _affordable(geometry, len(dataset))
    ahead, truth = 4 * workers, dataset.truth
    found = list(decode_ahead(dataset.items, geometry, truth, workers=workers, ahead=ahead))
    read = [image for image in found if isinstance(image, Decoded)]
    skipped = tuple(image for image in found if isinstance(image, Skipped))
    if not read:
        raise InputError(f"None of the images in {dataset.root} can be read.")
    deep = any(image.pixels.dtype == np.uint16 for image in read)
    photos = [_as_deep(image.pixels) if deep else image.pixels for image in read]
    return Examples(photos, how, _labels(read), _masks(read), skipped)


def _affordable(geometry: Geometry, count: int) -> Geometry:
    """With room for what fits in memory."""
    channels = geometry.channels or (1 if geometry.gray else 3)
    height, width = geometry.needed
    if count * height * width * channels > _MOST_BYTES:
        raise InputError(
            f"{count} images of {height}x{width} px do not fit in 8 GiB.",
            tip="Train on fewer of them, with --train-limit N.",
        )
    room = geometry.room
    while count * (height + 2 * room) * (width + 2 * room) * channels > _MOST_BYTES:
        room //= 2
    return replace(geometry, room=room)


def _labels(images: Sequence[Decoded]) -> Tensor | None:
    labels = [image.item.label for image in images if image.item.label is not None]
    return torch.tensor(labels) if len(labels) == len(images) else None


def _masks(images: Sequence[Decoded]) -> list[Pixels] | None:
    """Masks, or nothing; the pixels of target images are no class ids."""
    masks = [image.truth.values for image in images if image.truth is not None]
    if len(masks) < len(images) or any(mask.ndim != 2 for mask in masks):
        return None
    return masks


def _as_deep(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.dtype == np.uint16 else pixels.astype(np.uint16) * 257
