"""One block of images through the model: the unshifted pass, then every shift in full batches.

The last bits of a convolution depend on how many images it is given, so a block is always
cut into batches of the same size, the last one filled up by repetition. Outputs are then the
same whatever the batch size, the number of workers or the point of resumption.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from equiaudit.audit.task import ALIGNED, Job, R, Source, Task
from equiaudit.models.types import Model
from equiaudit.shifts.canvas import canvas, cut, normalise
from equiaudit.shifts.plan import Offsets, ShiftPlan

__all__ = ["CLEAN", "Scene", "outputs_of", "run_block"]

T = TypeVar("T")

CLEAN = "clean"
"""The name under which a `Scene` cuts unshifted windows."""


@torch.inference_mode()
def run_block(
    task: Task[R], model: Model, plan: ShiftPlan, sources: Sequence[Source], batch_size: int
) -> list[R]:
    """All passes of the images of `sources`; one record each, in order."""
    scene = Scene(model, plan, sources)
    block = task.open_block(sources)
    for images in _chunks(range(len(sources)), batch_size):
        windows = [scene.window(CLEAN, image, (0, 0)) for image in images]
        block.clean(images, outputs_of(model, windows, batch_size))
    for jobs in _chunks(list(_jobs(plan, sources)), batch_size):
        windows = [scene.window(job.name, job.image, job.offset) for job in jobs]
        block.shifted(jobs, outputs_of(model, windows, batch_size))
    return list(block.records())


def _chunks(all_of_them: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(all_of_them), size):
        yield all_of_them[start : start + size]


def _jobs(plan: ShiftPlan, sources: Sequence[Source]) -> Iterator[Job]:
    for image, source in enumerate(sources):
        for series in plan.series:
            yield from _slots(image, series.name, plan.offsets(series, source.item.index))
        if plan.measures_alignment:
            yield from _slots(image, ALIGNED, plan.aligned_offsets(source.item.index))


def _slots(image: int, name: str, offsets: Offsets) -> Iterator[Job]:
    for slot, (dy, dx) in enumerate(offsets.tolist()):
        yield Job(image, name, slot, (dy, dx))


class Scene:
    """The pixels of a block on the device, and the canvas that is being cut at the moment."""

    def __init__(self, model: Model, plan: ShiftPlan, sources: Sequence[Source]) -> None:
        self._window = plan.window
        how, device = model.preprocess, model.device
        self._pixels = [normalise(s.pixels[None], how, device)[0] for s in sources]
        black = normalise(np.zeros((1, 1, 1, sources[0].pixels.shape[-1]), np.uint8), how, device)
        self._black = black.reshape(-1)
        self._kind = {s.name: s.kind for s in plan.series} | {ALIGNED: "circular", CLEAN: "crop"}
        self._reach = {s.name: max(-s.low, s.high) for s in plan.series}
        self._reach |= {ALIGNED: plan.reach, CLEAN: 0}
        self._key: tuple[int, str] | None = None
        self._canvas = self._pixels[0]

    def window(self, name: str, image: int, offset: tuple[int, int]) -> Tensor:
        """(C, H, W) view of image `image`, moved by `offset` under the series `name`."""
        reach = self._reach[name]
        if self._key != (image, name):
            source, kind = self._pixels[image], self._kind[name]
            self._canvas = canvas(source, kind, self._window, reach, self._black)
            self._key = (image, name)
        return cut(self._canvas, self._window, reach, offset)


def outputs_of(model: Model, windows: Sequence[Tensor], size: int) -> Tensor:
    """Outputs of n <= size windows, the batch filled up to `size`."""
    n = len(windows)
    batch = torch.stack([*windows, *[windows[-1]] * (size - n)])
    return model.run(batch)[:n]
