"""One block of images through the model: the unshifted pass, then every shift in full batches.

The last bits of a convolution depend on how many images it is given, so a block is always
cut into batches of the same size, the last one filled up by repetition. Outputs are then the
same whatever the batch size, the number of workers or the point of resumption.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiaudit.audit.jobs import Jobs, jobs_of
from equiaudit.audit.task import R, Source, TaskAudit
from equiaudit.kinds import Offset
from equiaudit.kinds.pixels import middle
from equiaudit.models.pixels import normalise
from equiaudit.models.types import Model, Preprocess
from equiaudit.shifts.plan import ShiftPlan


@torch.inference_mode()
def run_block(
    task: TaskAudit[R], model: Model, plan: ShiftPlan, sources: Sequence[Source], batch_size: int
) -> list[R]:
    """All passes of the images of `sources`; one record each, in order."""
    scene = Scene(model, plan, sources)
    block = task.open_block(sources)
    batch = scene.batch(batch_size)
    for start, stop in _chunks(len(sources), batch_size):
        images = range(start, stop)
        scene.put_unshifted(images, batch)
        block.clean(images, _run(model, batch, len(images)))
    jobs = jobs_of(plan, [source.item.index for source in sources])
    starts = scene.starts(jobs)
    for start, stop in _chunks(len(jobs), batch_size):
        part = jobs.part(start, stop)
        scene.put_shifted(part, starts[start:stop], batch)
        block.shifted(part, _run(model, batch, len(part)))
    return list(block.records())


def _run(model: Model, batch: Tensor, count: int) -> Tensor:
    """Outputs of the first `count` of `batch`, which is run whole, as another size may round
    otherwise; a model of a fixed batch is given its own size all the same."""
    return model.run(batch if model.fixed_batch is None else batch[:count])[:count]


def _chunks(total: int, size: int) -> Iterator[tuple[int, int]]:
    for start in range(0, total, size):
        yield start, min(total, start + size)


class Scene:
    """The pixels of a block on the device, and the canvases of the image that is being cut.

    An image has one canvas for each kind of shift, all of one size and one after the other in
    memory, so that a window is known by where it starts, and one call copies any number.
    """

    def __init__(self, model: Model, plan: ShiftPlan, sources: Sequence[Source]) -> None:
        self._window, self._reach = plan.window, plan.reach
        how, device = model.preprocess, model.device
        self._pixels = _normalised([s.pixels for s in sources], how, device)
        black = np.zeros((1, 1, 1, sources[0].pixels.shape[-1]), np.uint8)
        self._black = normalise(black, how, device).reshape(-1)
        self._moves = plan.moves
        self._reaches = {s.name: s.reach for s in plan.series}
        """Beyond which a canvas may hold anything."""
        self._kinds = tuple({kind.name: kind for kind in self._moves.values()}.values())
        places = {kind.name: place for place, kind in enumerate(self._kinds)}
        self._canvas_of = {name: places[kind.name] for name, kind in self._moves.items()}
        self._made = {name for name, kind in self._moves.items() if kind.fractional}
        height, width = (side + 2 * self._reach for side in self._window)
        shape = (len(self._kinds), len(self._black), height, width)
        self._canvases = self._pixels[0].new_empty(shape)
        self._drawn: int | None = None

    def batch(self, size: int) -> Tensor:
        """(size, C, H, W) of nothing yet, to be filled again and again."""
        return self._canvases.new_empty((size, len(self._black), *self._window))

    def unshifted(self, image: int) -> Tensor:
        """(C, H, W) view of image `image`."""
        return middle(self._pixels[image], *self._window)

    def window(self, name: str, image: int, offset: Offset) -> Tensor:
        """The same, moved by `offset` under the series `name`; a view until the next image."""
        self._draw(image)
        reach = self._reaches.get(name, self._reach)
        height, width = (side + 2 * reach for side in self._window)
        canvas = middle(self._canvases[self._canvas_of[name]], height, width)
        return self._moves[name].cut(canvas, self._window, reach, offset)

    def put_unshifted(self, images: Sequence[int], batch: Tensor) -> None:
        """Fill `batch` with the unshifted windows, the last one repeated to the end."""
        for place, image in enumerate(images):
            batch[place] = self.unshifted(image)
        batch[len(images) :] = batch[len(images) - 1]

    def put_shifted(self, jobs: Jobs, starts: Tensor, batch: Tensor) -> None:
        """Fill `batch` with the windows of `jobs`, which begin at `starts`.

        The last one is repeated to the end.
        """
        images = jobs.image
        present = np.arange(images[0], images[-1] + 2)
        ends = np.searchsorted(images, present).tolist()
        for image, begin, end in zip(present.tolist(), ends, ends[1:], strict=False):
            self._draw(image)
            torch.index_select(self._windows, 0, starts[begin:end], out=batch[begin:end])
            for place, job in enumerate(jobs.part(begin, end) if self._made else (), begin):
                if job.name in self._made:
                    batch[place] = self.window(job.name, image, job.offset)
        batch[len(images) :] = batch[len(images) - 1]

    def starts(self, jobs: Jobs) -> Tensor:
        """(n,) where in the canvases the window of each job begins, on the device.

        Of an offset by a fraction, one that begins beside it.
        """
        canvases = np.empty(max(part.stop for part in jobs.columns.values()), np.int64)
        for name, part in jobs.columns.items():
            canvases[part] = self._canvas_of[name]
        each, _, row, column = self._canvases.stride()
        corner = self._reach - np.floor(jobs.offset).astype(np.int64)
        found = canvases[jobs.column] * each + corner @ (row, column)
        return torch.from_numpy(found).to(self._canvases.device)

    @cached_property
    def _windows(self) -> Tensor:
        """(n, C, H, W): every window of every canvas, as overlapping views, by its start."""
        channels = self._canvases.shape[1]
        _, plane, row, column = self._canvases.stride()
        shape, strides = (channels, *self._window), (plane, row, column)
        extent = sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        count = self._canvases.numel() - extent
        return self._canvases.as_strided((count, *shape), (1, *strides))

    def _draw(self, image: int) -> None:
        """Make the canvases of `image`, unless they are those at hand."""
        if self._drawn == image:
            return
        for canvas, kind in zip(self._canvases, self._kinds, strict=True):
            kind.draw(canvas, self._pixels[image], self._window, self._black)
        self._drawn = image


def _normalised(
    pixels: Sequence[NDArray[np.generic]], how: Preprocess, device: torch.device
) -> list[Tensor]:
    """Each (h, w, C) as (C, h, w) model input; images of one size and dtype in one call."""
    if len({(each.shape, each.dtype) for each in pixels}) == 1:
        return list(normalise(np.stack(pixels), how, device))
    return [normalise(each[None], how, device)[0] for each in pixels]


def outputs_of(model: Model, windows: Sequence[Tensor], size: int) -> Tensor:
    """Outputs of n <= size windows, the batch filled up to `size`."""
    n = len(windows)
    return _run(model, torch.stack([*windows, *[windows[-1]] * (size - n)]), n)


@torch.inference_mode()
def blank(model: Model) -> Tensor:
    """The output (1, ...) for a black window."""
    black = np.zeros((1, *model.preprocess.size, model.preprocess.planes), np.uint8)
    return model.run(normalise(black, model.preprocess, model.device))
