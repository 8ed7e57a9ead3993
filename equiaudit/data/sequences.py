"""Frames that show one defect while the window slides: read as they are, or cut from photos."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from equiaudit.data.decoding import Decoded, Geometry, decode, read_content, read_header
from equiaudit.data.items import Item
from equiaudit.data.layouts import Asked, Tree, find
from equiaudit.data.layouts.sequences import Group, Pair, numbered
from equiaudit.data.places import Place, let_go, place_of
from equiaudit.errors import EquiauditError, InputError
from equiaudit.results import Skipped
from equiaudit.shifts.sliding import SETTINGS, place

__all__ = ["Frames", "SequenceData", "SequenceSource", "open_sequences", "read_frames"]

_IGNORED = 255
_FORMATS = ("PNG", "BMP", "TIFF", "GIF")
_LAYOUTS = (
    "DATA has images/ and masks/ with large photos, or image_middle/, mask_middle/,"
    " image_boundary/ and mask_boundary/ with frames NAME_0, NAME_1, ..."
)


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
    layout: str = ""
    """The name of the layout that was found, or asked for."""


@dataclass(frozen=True, eq=False)
class Frames:
    """The pixels (N, H, W, C), uint8 or uint16, and the defects (N, H, W) of one sequence."""

    pixels: NDArray[np.generic]
    defects: NDArray[np.bool_]
    sha256: str
    """Of all images."""
    masks_sha256: str
    notes: tuple[str, ...] = ()


def open_sequences(
    root: str | Place, *, layout: str = "auto", limit: int | None = None, seed: int = 0
) -> SequenceData:
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
    tree = Tree(root)
    found = find(tree, "sequences", layout)
    groups: Sequence[Group] = () if found is None else found.read(tree, Asked())
    made = [(s, group) for s in SETTINGS for group in _kept(_in_setting(groups, s), limit, seed)]
    if found is None or not made:
        raise InputError(f"There are no sequences in {root}.", tip=_LAYOUTS + ".")
    items = tuple(_source(i, setting, group) for i, (setting, group) in enumerate(made))
    let_go(root)
    return SequenceData(root, items, _listing(items), layout=found.name)


def _in_setting(groups: Sequence[Group], setting: str) -> list[Group]:
    """Frames of that setting; a photo gives a sequence in each."""
    return [group for group in groups if group.setting in (setting, None)]


def _kept(groups: list[Group], limit: int | None, seed: int) -> list[Group]:
    if limit is None or limit >= len(groups):
        return groups
    order = np.random.default_rng(seed).permutation(len(groups))[:limit]
    return [groups[i] for i in sorted(order)]


def _source(index: int, setting: str, group: Group) -> SequenceSource:
    slides = group.setting is None
    name = group.pairs[0].name if slides else numbered(group.pairs[0])[0]
    return SequenceSource(name, setting, index, group.pairs, slides)


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
