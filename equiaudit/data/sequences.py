"""Frames that show one defect while the window slides: read as they are, or cut from photos."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from equiaudit.data.decoding import Decoded, Geometry, decode, read_content, read_header
from equiaudit.data.items import Item
from equiaudit.data.listing import EXTENSIONS, ImageFile, list_images
from equiaudit.data.places import Place, let_go, place_of
from equiaudit.errors import EquiauditError, InputError
from equiaudit.results import Skipped
from equiaudit.shifts.sliding import SETTINGS, place

__all__ = ["Frames", "SequenceData", "SequenceSource", "open_sequences", "read_frames"]

_NUMBERED = re.compile(r"(.+)_(\d+)$")
_IGNORED = 255
_FORMATS = ("PNG", "BMP", "TIFF", "GIF")
_LAYOUTS = (
    "DATA has images/ and masks/ with large photos, or image_middle/, mask_middle/,"
    " image_boundary/ and mask_boundary/ with frames NAME_0, NAME_1, ..."
)


@dataclass(frozen=True)
class Pair:
    """An image and its mask; `name` is what reports call it."""

    name: str
    image: Place
    mask: Place
    sizes: tuple[int, int]
    """Bytes of both."""


@dataclass(frozen=True)
class SequenceSource:
    """One sequence to be: its frames in order, or the single photo to slide over."""

    name: str
    setting: str
    index: int
    pairs: tuple[Pair, ...]
    slides: bool


@dataclass(frozen=True)
class SequenceData:
    """All sequences of a folder."""

    root: Place
    items: tuple[SequenceSource, ...]
    listing_sha256: str
    notes: tuple[str, ...] = ()
    labelled: bool = True


@dataclass(frozen=True, eq=False)
class Frames:
    """The pixels (N, H, W, C), uint8 or uint16, and the defects (N, H, W) of one sequence."""

    pixels: NDArray[np.generic]
    defects: NDArray[np.bool_]
    sha256: str
    """Of all images."""
    masks_sha256: str
    notes: tuple[str, ...] = ()


def open_sequences(root: str | Place, *, limit: int | None = None, seed: int = 0) -> SequenceData:
    """Find the sequences under `root`: frames where there are such folders, else photos.

    Frames lie in ``image_middle`` and ``image_boundary``, their masks of the same stem in
    ``mask_middle`` and ``mask_boundary``. Photos lie in ``images`` with masks in ``masks``;
    each gives one sequence per setting. `limit` keeps that many photos, or sequences of
    frames per setting, drawn by `seed`. Raises InputError where neither layout is found or a
    mask is missing.
    """
    root = place_of(root)
    if not root.is_dir():
        raise InputError(f"There is no folder {root}.", tip=_LAYOUTS + ".")
    present = [s for s in SETTINGS if (root / f"image_{s}").is_dir()]
    made = (
        [group for s in present for group in _kept(_frame_groups(root, s), limit, seed)]
        if present
        else [(s, [pair]) for s in SETTINGS for _, (pair,) in _kept(_photos(root), limit, seed)]
    )
    if not made:
        raise InputError(f"There are no sequences in {root}.", tip=_LAYOUTS + ".")
    items = tuple(
        _source(i, setting, pairs, not present) for i, (setting, pairs) in enumerate(made)
    )
    let_go(root)
    return SequenceData(root, items, _listing(items))


Group = tuple[str, list[Pair]]


def _frame_groups(root: Place, setting: str) -> list[Group]:
    pairs = _pairs(root / f"image_{setting}", root / f"mask_{setting}")
    numbered = sorted((_numbered(pair), pair) for pair in pairs)
    return [
        (setting, [pair for _, pair in group])
        for _, group in groupby(numbered, key=lambda entry: entry[0][0])
    ]


def _numbered(pair: Pair) -> tuple[str, int]:
    found = _NUMBERED.fullmatch(str(PurePosixPath(pair.name).with_suffix("")))
    if found is None:
        raise InputError(
            f"{pair.image} has no frame number.", tip="Frames are called NAME_0, NAME_1, ..."
        )
    return found[1], int(found[2])


def _photos(root: Place) -> list[Group]:
    if not (root / "images").is_dir() or not (root / "masks").is_dir():
        raise InputError(f"There are no sequences in {root}.", tip=_LAYOUTS + ".")
    return [("", [pair]) for pair in _pairs(root / "images", root / "masks")]


def _pairs(images: Place, masks: Place) -> list[Pair]:
    known = _by_stem(list_images(masks)) if masks.is_dir() else {}
    return [_pair(image, known, masks) for image in list_images(images)]


def _by_stem(files: Sequence[ImageFile]) -> Mapping[str, ImageFile]:
    return {str(PurePosixPath(file.name).with_suffix("")): file for file in files}


def _pair(image: ImageFile, known: Mapping[str, ImageFile], masks: Place) -> Pair:
    mask = known.get(str(PurePosixPath(image.name).with_suffix("")))
    if mask is None:
        raise InputError(
            f"{image.name} has no mask in {masks}.",
            tip=f"A mask has the name of its image and any of {' '.join(sorted(EXTENSIONS))}.",
        )
    return Pair(image.name, image.path, mask.path, (image.size, mask.size))


def _kept(groups: list[Group], limit: int | None, seed: int) -> list[Group]:
    if limit is None or limit >= len(groups):
        return groups
    order = np.random.default_rng(seed).permutation(len(groups))[:limit]
    return [groups[i] for i in sorted(order)]


def _source(index: int, setting: str, pairs: list[Pair], slides: bool) -> SequenceSource:
    name = pairs[0].name if slides else _numbered(pairs[0])[0]
    return SequenceSource(name, setting, index, tuple(pairs), slides)


def _listing(items: Sequence[SequenceSource]) -> str:
    digest = hashlib.sha256()
    for item in items:
        for pair in item.pairs:
            digest.update(f"{item.setting}:{pair.name}:{pair.sizes}\n".encode())
    return digest.hexdigest()


def read_frames(source: SequenceSource, window: tuple[int, int], *, gray: bool) -> Frames | Skipped:
    """The frames of one sequence, each of `window` (H, W) px; `Skipped` says why there are none.

    Raises InputError, naming the file, for frames of another size than the window and for
    masks of another size than their image.
    """
    read = [_read(pair, gray) for pair in source.pairs]
    lost = next((r for r in read if isinstance(r, Skipped)), None)
    if lost is not None:
        return lost
    loaded = [r for r in read if not isinstance(r, Skipped)]
    return (
        _slid(source, loaded[0], window) if source.slides else _as_they_are(source, loaded, window)
    )


@dataclass(frozen=True, eq=False)
class _Loaded:
    image: Decoded
    defects: NDArray[np.bool_]
    mask_sha256: str


def _read(pair: Pair, gray: bool) -> _Loaded | Skipped:
    """One image, whole, and its mask."""
    try:
        (width, height), sideways = read_header(pair.image)
        content = read_content(pair.mask)
        with Image.open(io.BytesIO(content), formats=_FORMATS) as mask:
            values = np.asarray(mask)
    except EquiauditError:
        raise
    except Exception as error:  # hostile files raise whatever a decoder may
        return Skipped(
            name=pair.name, reason=f"the image or its mask cannot be read ({error})"[:200]
        )
    size = (width, height) if sideways else (height, width)
    image = decode(Item(pair.name, pair.image, None, 0), Geometry(window=size, gray=gray))
    if isinstance(image, Skipped):
        return image
    defects = _defects(values)
    if defects.shape != size:
        raise InputError(
            f"{pair.mask} is {defects.shape[0]}x{defects.shape[1]} px (height x width), and its"
            f" image {size[0]}x{size[1]}.",
            tip="A mask has the size of its image.",
        )
    return _Loaded(image, defects, hashlib.sha256(content).hexdigest())


def _defects(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Where a mask is not 0; beside other class ids, 255 says nothing and counts as 0."""
    if values.ndim == 3:
        values = values[..., :3].max(axis=-1)
    ids = values.astype(np.int64)
    found: NDArray[np.bool_] = ids != 0
    if bool(((ids > 1) & (ids < _IGNORED)).any()) or bool((ids == 1).any()):
        found &= ids != _IGNORED
    return found


def _slid(source: SequenceSource, photo: _Loaded, window: tuple[int, int]) -> Frames | Skipped:
    if not photo.defects.any():
        return Skipped(name=source.name, reason="no defect")
    corners = place(photo.defects, window, source.setting)
    if corners is None:
        return Skipped(name=source.name, reason=f"no room for a sequence at the {source.setting}")
    cuts = list(_cuts(corners, window))
    return Frames(
        pixels=np.stack([photo.image.pixels[cut] for cut in cuts]),
        defects=np.stack([photo.defects[cut] for cut in cuts]),
        sha256=photo.image.sha256,
        masks_sha256=photo.mask_sha256,
        notes=photo.image.notes,
    )


def _cuts(corners: NDArray[np.int64], window: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    for row, column in corners.tolist():
        yield slice(row, row + window[0]), slice(column, column + window[1])


def _as_they_are(
    source: SequenceSource, loaded: Sequence[_Loaded], window: tuple[int, int]
) -> Frames | Skipped:
    for pair, frame in zip(source.pairs, loaded, strict=True):
        if frame.defects.shape != window:
            height, width = frame.defects.shape
            raise InputError(
                f"{pair.name} is {height}x{width} px, and the model sees {window[0]}x{window[1]}.",
                tip="Frames are read as they are; give their size with --size.",
            )
    if len(loaded) < 2:
        return Skipped(name=source.name, reason="a single frame")
    if not all(frame.defects.any() for frame in loaded):
        return Skipped(name=source.name, reason="a frame without a defect")
    return Frames(
        pixels=np.stack([frame.image.pixels for frame in loaded]),
        defects=np.stack([frame.defects for frame in loaded]),
        sha256=_joined(frame.image.sha256 for frame in loaded),
        masks_sha256=_joined(frame.mask_sha256 for frame in loaded),
        notes=tuple(dict.fromkeys(note for frame in loaded for note in frame.image.notes)),
    )


def _joined(digests: Iterator[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()
