"""The least stable images in pictures: run once more, unshifted and at their worst shift."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from equiaudit.audit.forward import Scene, outputs_of
from equiaudit.audit.geometry import geometry
from equiaudit.audit.pictures import data_uri, reduced, views
from equiaudit.audit.task import Source
from equiaudit.data import Dataset, Decoded, TruthReader, decode
from equiaudit.kinds import Offset
from equiaudit.metrics.lattice import px
from equiaudit.models.types import Model
from equiaudit.results import DenseExample
from equiaudit.shifts import Series, ShiftPlan
from equiaudit.tasks.maps.frames import Frames, Moved
from equiaudit.tasks.maps.records import MapRecord

Bytes = NDArray[np.uint8]

_PER_KIND = 4
_LONGEST = 128
"""Longer side of a picture, px."""
_GREY = 128


@dataclass(frozen=True)
class Seen:
    """One image and one shift: both outputs, and how they relate."""

    source: Source
    series: Series
    offset: Offset
    moved: Moved
    unshifted: torch.Tensor
    """(C, h, w), as the model returned it."""
    shifted: torch.Tensor


@dataclass(frozen=True)
class Pictured:
    """What a task draws of a `Seen`: (H, W, 3) pixels, `back` and `difference` of the overlap."""

    clean: Bytes
    back: Bytes
    difference: Bytes
    truth: Bytes | None = None
    miou_clean: float | None = None
    miou_shifted: float | None = None


def examples(
    model: Model,
    dataset: Dataset,
    truth: TruthReader | None,
    plan: ShiftPlan,
    frames: Frames,
    records: Sequence[MapRecord[Any]],
    draw: Callable[[Seen], Pictured],
    *,
    smooth: bool,
) -> tuple[DenseExample, ...]:
    """Up to 4 images per kind, the most changed first. Images that are gone by now are left out."""
    found = []
    wanted = geometry(model.preprocess, plan.margin)
    for series in plan.series:
        for record in most_changed(series, records):
            image = decode(dataset.item(record.index), wanted, truth)
            if isinstance(image, Decoded):
                found.append(_example(model, plan, frames, series, record, image, draw, smooth))
    return tuple(found)


def most_changed(series: Series, records: Sequence[MapRecord[Any]]) -> Iterator[MapRecord[Any]]:
    """The images that are shown of one series."""
    finite = [r for r in records if r.finite and r.of(series.name).finite]
    changed = [r for r in finite if r.of(series.name).changes.max() > 0]
    yield from sorted(changed, key=lambda r: (-r.of(series.name).changes.mean(), r.index))[
        :_PER_KIND
    ]


def _example(
    model: Model,
    plan: ShiftPlan,
    frames: Frames,
    series: Series,
    record: MapRecord[Any],
    image: Decoded,
    draw: Callable[[Seen], Pictured],
    smooth: bool,
) -> DenseExample:
    changes = record.of(series.name).changes
    slot = int(changes.argmax())
    dy, dx = map(px, plan.offsets(series, record.index)[slot].tolist())
    source = Source(image.item, image.sha256, image.pixels, image.notes, image.truth)
    moved = frames.moved(series.moves, (dy, dx))
    unshifted, shifted = _both(model, plan, source, series, (dy, dx))
    drawn = draw(Seen(source, series, (dy, dx), moved, unshifted, shifted))
    before, after = views(image, plan, series, [(0, 0), (dy, dx)])
    outputs = _small(drawn, moved, plan.window, smooth)
    return DenseExample(
        file=record.file,
        kind=series.name,
        offset=(dy, dx),
        change=float(changes[slot]),
        miou_clean=drawn.miou_clean,
        miou_shifted=drawn.miou_shifted,
        input=data_uri(before, _LONGEST),
        shifted_input=data_uri(after, _LONGEST),
        clean=data_uri(outputs["clean"], _LONGEST, smooth=smooth),
        shifted_back=data_uri(outputs["back"], _LONGEST, smooth=smooth),
        difference=data_uri(outputs["difference"], _LONGEST, smooth=smooth),
        truth=None if drawn.truth is None else data_uri(outputs["truth"], _LONGEST, smooth=smooth),
    )


def _small(
    drawn: Pictured, moved: Moved, window: tuple[int, int], smooth: bool
) -> dict[str, Bytes]:
    """The pictures, reduced so that what changed is seen; smooth ones but for the difference."""
    found = {
        "clean": drawn.clean,
        "back": _placed(drawn.back, moved, window),
        "difference": _placed(drawn.difference, moved, window),
    }
    found |= {} if drawn.truth is None else {"truth": drawn.truth}
    change = np.zeros(window, np.uint8)
    change[moved.rows, moved.columns] = drawn.difference.max(axis=2)
    names = ["difference"] if smooth else list(found)
    small = reduced([found[name] for name in names], change, _LONGEST)
    return found | dict(zip(names, small, strict=True))


@torch.inference_mode()
def _both(
    model: Model, plan: ShiftPlan, source: Source, series: Series, offset: Offset
) -> tuple[torch.Tensor, torch.Tensor]:
    scene = Scene(model, plan, [source])
    windows = [scene.unshifted(0), scene.window(series.name, 0, offset)]
    unshifted, shifted = outputs_of(model, windows, 2)
    return unshifted, shifted


def _placed(part: Bytes, moved: Moved, window: tuple[int, int]) -> Bytes:
    """`part` where it was compared, grey elsewhere."""
    whole = np.full((*window, *part.shape[2:]), _GREY, np.uint8)
    whole[moved.rows, moved.columns] = part
    return whole
