"""The sequences that vary most, frame by frame, in pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from equiaudit.audit.pictures import data_uri
from equiaudit.data.sequences import Frames
from equiaudit.metrics.sequences import FrameScore, score
from equiaudit.results import DefectSequence

_SHOWN = 2
_AROUND = 12
"""px shown beside the defect."""
_SHORTEST, _LONGEST = 96, 160
"""Sides of a picture, px: small places are enlarged, large ones made smaller."""
_TRUE, _PREDICTED, _BOTH = (40, 200, 80), (255, 140, 0), (255, 255, 255)

Bytes = NDArray[np.uint8]
Masks = NDArray[np.bool_]


def most_varying(
    sequences: Sequence[tuple[str, tuple[FrameScore, ...]]],
    pictured: Callable[[int], tuple[Frames, Masks] | None] | None,
) -> tuple[DefectSequence, ...]:
    """The (file, frames) with the widest range of IoU; none where no IoU varies.

    `pictured` gives the frames of the i-th sequence and what is predicted there (N, H, W), None
    where they are gone by now; without it there are no pictures.
    """
    ranges = [score(frames).iou_range for _, frames in sequences]
    order = sorted(range(len(sequences)), key=lambda i: (-ranges[i], i))[:_SHOWN]
    found = []
    for i in (i for i in order if ranges[i] > 0):
        file, frames = sequences[i]
        seen = pictured(i) if pictured else None
        found.append(
            DefectSequence(
                file=file,
                true_area=frames[0].true,
                iou=tuple(frame.iou for frame in frames),
                area=tuple(frame.predicted for frame in frames),
                lost=tuple(frame.common == 0 for frame in frames),
                pictures=() if seen is None else _strip(*seen),
            )
        )
    return tuple(found)


def _strip(frames: Frames, predicted: Masks) -> tuple[str, ...]:
    """A square around the defect of each frame, of one size."""
    boxes = [ndimage.find_objects(true.astype(np.int32))[0] for true in frames.defects]
    side = 2 * _AROUND + max(part.stop - part.start for box in boxes for part in box)
    height, width = predicted.shape[1:]
    places = [(_within(y, side, height), _within(x, side, width)) for y, x in boxes]
    each = zip(places, frames.pixels, frames.defects, predicted, strict=True)
    return tuple(data_uri(_drawn(a[at], b[at], c[at]), _LONGEST) for at, a, b, c in each)


def _within(part: slice, side: int, end: int) -> slice:
    start = max(0, min((part.start + part.stop - side) // 2, end - side))
    return slice(start, min(end, start + side))


def _drawn(pixels: NDArray[np.generic], true: Masks, predicted: Masks) -> Bytes:
    """The image (h, w, C) with the rims of both, enlarged by a whole factor where it is small."""
    top = 65535 if pixels.dtype == np.uint16 else 255
    shown = (pixels[..., :3].astype(np.float64) * (255 / top)).round().astype(np.uint8)
    if shown.shape[-1] < 3:
        shown = shown[..., :1].repeat(3, axis=-1)
    times = max(1, _SHORTEST // max(shown.shape[:2]))
    shown = shown.repeat(times, axis=0).repeat(times, axis=1)
    large = [each.repeat(times, axis=0).repeat(times, axis=1) for each in (true, predicted)]
    rims = [each & ~ndimage.binary_erosion(each) for each in large]
    for where, colour in ((rims[0], _TRUE), (rims[1], _PREDICTED), (rims[0] & rims[1], _BOTH)):
        shown[where] = colour
    return shown
