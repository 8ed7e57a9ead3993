"""Frames that show one defect while the window slides: read as they are, or cut from photos."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from equiaudit.data.classes import Known
from equiaudit.data.decoding import Decoded, decode, read_header, reason_of
from equiaudit.data.geometry import Geometry
from equiaudit.data.layouts import Asked, Listing, Rank, find
from equiaudit.data.layouts.sequences import Group, Pair, numbered, photo_groups
from equiaudit.data.mask_survey import settled
from equiaudit.data.masks import MaskReader
from equiaudit.data.places import Place, let_go, place_of
from equiaudit.data.rules import NO_RULE, MaskRule
from equiaudit.data.tree import Tree
from equiaudit.errors import EquiauditError, InputError
from equiaudit.results import Skipped
from equiaudit.shifts.sliding import SETTINGS, place

_ANY_DEFECT = MaskReader(2)
_LAYOUTS = (
    "DATA has images/ and masks/ with large photos, or another layout of masks, or image_middle/,"
    " mask_middle/, image_boundary/ and mask_boundary/ with frames NAME_0, NAME_1, ..."
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
    reader: MaskReader = _ANY_DEFECT
    """How masks are read."""


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
    root: str | Place,
    reader: MaskReader = _ANY_DEFECT,
    *,
    layout: str = "auto",
    split: str | None = None,
    no_mask: Literal["refuse", "background"] | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> SequenceData:
    """Find the sequences under `root`: frames where there are such folders, else photos.

    Frames lie in ``image_middle`` and ``image_boundary``, their masks of the same stem in
    ``mask_middle`` and ``mask_boundary``. Photos lie as the images of a segmentation do; each
    gives one sequence per setting. A defect is what `reader` reads as another class than 0.
    `limit` keeps that many photos, or sequences of frames per setting, drawn by `seed`. Raises
    InputError where no layout is found or a mask is missing.
    """
    root = require_folder(root)
    asked = Asked(
        split=split,
        no_mask=no_mask,
        known=Known(reader.num_classes),
        table=reader.table,
        named=layout != "auto",
    )
    name, groups, rule, notes = _found(root, layout, asked)
    made = [(s, group) for s in SETTINGS for group in _kept(_in_setting(groups, s), limit, seed)]
    if not made:
        raise InputError(f"There are no sequences in {root}.", tip=_LAYOUTS + ".")
    items = tuple(_source(i, setting, group) for i, (setting, group) in enumerate(made))
    masks = [pair.item.truth for group in groups for pair in group.pairs if pair.item.truth]
    reader, said = settled(reader.under(rule), masks)
    let_go(root)
    return SequenceData(
        root, items, _listing(items), notes=notes + said, layout=name, reader=reader
    )


def require_folder(root: str | Place) -> Place:
    """Where the sequences are; InputError where that is no folder."""
    place = place_of(root)
    if not place.is_dir():
        raise InputError(f"There is no folder {place}.", tip=_LAYOUTS + ".")
    return place


def _found(
    root: Place, layout: str, asked: Asked
) -> tuple[str, Sequence[Group], MaskRule, tuple[str, ...]]:
    tree = Tree(root)
    frames = find(tree, "sequences") if layout in ("auto", "frames") else None
    if frames is not None:
        groups: tuple[Group, ...] = frames.read(tree, asked)
        return frames.name, groups, NO_RULE, ()
    photos = find(tree, "segmentation", layout)
    if photos is None or photos.rank is Rank.PLAIN:
        raise InputError(f"There are no sequences in {root}.", tip=_LAYOUTS + ".")
    listing: Listing = photos.read(tree, asked)
    return photos.name, photo_groups(listing), listing.rule, listing.notes


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


def read_frames(
    source: SequenceSource,
    wanted: Geometry,
    *,
    reader: MaskReader = _ANY_DEFECT,
) -> Frames | Skipped:
    """The frames of one sequence, each of the window wanted; `Skipped` says why there are none.

    Nothing is resized.

    Raises InputError, naming the file, for frames of another size than the window and for
    masks of another size than their image.
    """
    window = wanted.window
    read = [_read(pair, wanted, reader) for pair in source.pairs]
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


def _read(pair: Pair, wanted: Geometry, reader: MaskReader) -> _Loaded | Skipped:
    """One image, whole, and its mask; pixels of which the mask says nothing are no defect."""
    try:
        (width, height), orientation = read_header(pair.item.path, wanted.channels)
    except EquiauditError:
        raise
    except Exception as error:  # hostile files raise whatever a decoder may
        return Skipped(name=pair.name, reason=f"the image cannot be read: {reason_of(error)}")
    size = (width, height) if orientation >= 5 else (height, width)
    whole = replace(wanted, window=size, resize=None, letterbox=None)
    image = decode(pair.item, whole, reader)
    if isinstance(image, Skipped):
        return image
    assert image.truth is not None
    return _Loaded(image, image.truth.values.astype(np.int16) > 0, image.truth.sha256)


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
