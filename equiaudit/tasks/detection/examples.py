"""The least stable images in pictures: run once more, unshifted and at their worst shift."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from equiaudit.audit.forward import Scene, outputs_of
from equiaudit.audit.geometry import geometry
from equiaudit.audit.pictures import data_uri, views
from equiaudit.audit.task import Source
from equiaudit.data import Dataset, Decoded, decode
from equiaudit.kinds import Offset
from equiaudit.metrics.boxes import Compared, Detections, compare
from equiaudit.metrics.lattice import px
from equiaudit.models.types import Model
from equiaudit.results import BoxExample
from equiaudit.shifts import Series, ShiftPlan
from equiaudit.tasks.detection.block import common, detections_of, moved_back
from equiaudit.tasks.detection.records import COUNTS, BoxRecord

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]

_PER_KIND = 4
_SHORTEST, _LONGEST = 192, 320
"""Longer side of a picture, px: small windows are enlarged, large ones made smaller."""
_KEPT, _LOST, _OTHER, _NEW, _CUT = (
    *((0, 158, 115), (213, 94, 0), (204, 121, 167)),
    *((86, 180, 233), (150, 150, 150)),
)
"""Okabe and Ito's colours, which differ for every kind of sight: kept, lost, relabelled, appeared;
and grey for what is counted apart."""


def least_stable(series: Series, records: Sequence[BoxRecord]) -> Iterator[BoxRecord]:
    """The images that are shown of one series, those that lose the largest share first."""
    found = []
    for record in records:
        own = record.of(series.name)
        if own.finite and (counted := own.total("counted")):
            unkept = 1 - own.total("kept") / counted
            if unkept > 0:
                found.append((-unkept, record.index, record))
    yield from (record for _, _, record in sorted(found, key=lambda f: f[:2])[:_PER_KIND])


def examples(
    model: Model, dataset: Dataset, plan: ShiftPlan, records: Sequence[BoxRecord]
) -> tuple[BoxExample, ...]:
    """Up to 4 images per kind. Images that are gone by now are left out."""
    found = []
    wanted = geometry(model.preprocess, plan.margin)
    for series in plan.series:
        for record in least_stable(series, records):
            image = decode(dataset.item(record.index), wanted)
            made = isinstance(image, Decoded) and _example(model, plan, series, record, image)
            if made:
                found.append(made)
    return tuple(found)


def _example(
    model: Model, plan: ShiftPlan, series: Series, record: BoxRecord, image: Decoded
) -> BoxExample | None:
    counts = record.of(series.name).by_shift
    counted, kept = (counts[:, COUNTS.index(name)] for name in ("counted", "kept"))
    slot = int((counted - kept).argmax())
    dy, dx = map(px, plan.offsets(series, record.index)[slot].tolist())
    source = Source(image.item, image.sha256, image.pixels)
    clean, found = _both(model, plan, source, series, (dy, dx))
    if clean is None or found is None:
        return None
    back = moved_back(found, (dy, dx))
    field = common(series.moves, plan.window, [(dy, dx)])
    seen = compare(clean, back, field, ((0, 0), (dy, dx)))
    before, after = views(image, plan, series, [(0, 0), (dy, dx)])
    mine, theirs = _colours(seen, len(back))
    shown = _turned(back.boxes, plan.window) if series.moves.whole else back.boxes
    return BoxExample(
        file=record.file,
        kind=series.name,
        offset=(dy, dx),
        kept=int((seen.kept >= 0).sum()),
        lost=int(seen.lost.sum()),
        relabelled=int(seen.relabelled.sum()),
        appeared=int(seen.appeared.sum()),
        unshifted=_drawn(before, [(clean.boxes, mine, False)]),
        shifted=_drawn(after, [(found.boxes, theirs, False)]),
        both=_drawn(before, [(clean.boxes, mine, False), (shown, theirs, True)]),
    )


@torch.inference_mode()
def _both(
    model: Model, plan: ShiftPlan, source: Source, series: Series, offset: Offset
) -> tuple[Detections | None, Detections | None]:
    scene = Scene(model, plan, [source])
    windows = [scene.unshifted(0), scene.window(series.name, 0, offset)]
    first, second = outputs_of(model, windows, 2)
    return detections_of(first), detections_of(second)


def _turned(boxes: Floats, window: tuple[int, int]) -> Floats:
    """Boxes on a torus with their centres in the window."""
    sides = np.array([window[1], window[0]], np.float64)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    return boxes - np.tile(np.floor(centre / sides) * sides, 2)


Colour = tuple[int, int, int]


def _colours(seen: Compared, others: int) -> tuple[list[Colour], list[Colour]]:
    """Of the boxes of both."""
    mine = [_CUT] * len(seen.kept)
    theirs = [_CUT] * others
    for place, partner in enumerate(seen.kept.tolist()):
        if partner >= 0:
            mine[place] = theirs[partner] = _KEPT
        elif seen.lost[place]:
            mine[place] = _LOST
        elif seen.relabelled[place]:
            mine[place] = _OTHER
    return mine, [_NEW if new else own for new, own in zip(seen.appeared, theirs, strict=True)]


def _drawn(pixels: Bytes, layers: Sequence[tuple[Floats, list[Colour], bool]]) -> str:
    """Boxes over an image; thin ones of those moved back, and a cross through what is lost."""
    height, width = pixels.shape[:2]
    longest = max(height, width)
    scale = min(max(longest, _SHORTEST), _LONGEST) / longest
    image = Image.fromarray(np.broadcast_to(pixels, (height, width, 3)).astype(np.uint8))
    image = image.resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    for boxes, colours, thin in layers:
        corners = np.stack(
            [np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])]
        )
        ends = np.clip(corners * scale, -8, _LONGEST + 8)
        for low, high, colour in zip(*ends.tolist(), colours, strict=True):
            draw.rectangle((*low, *high), outline=colour, width=1 if thin else 2)
            if colour == _LOST:
                draw.line((*low, *high), fill=colour, width=2)
                draw.line((low[0], high[1], high[0], low[1]), fill=colour, width=2)
    return data_uri(np.asarray(image), _LONGEST)
