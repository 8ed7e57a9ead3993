"""One block of images through the model: the unshifted pass, then every shift in full batches.

The last bits of a convolution depend on how many images it is given, so a block is always
cut into batches of the same size, the last one filled up by repetition. Labels and errors
are then the same whatever the batch size, the number of workers or the point of resumption.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiaudit.audit.records import NONFINITE, ImageRecord, SeriesRecord
from equiaudit.data import Item
from equiaudit.models.types import Model
from equiaudit.shifts.canvas import canvas, cut, normalise
from equiaudit.shifts.plan import Offsets, ShiftPlan

__all__ = ["Source", "run_block"]

_ALIGNED = "aligned"


@dataclass(frozen=True)
class Source:
    """One decoded image: the window with the plan's margin around it, (h, w, C) integers."""

    item: Item
    sha256: str
    pixels: NDArray[np.generic]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Job:
    """The model is to see image `image` through `kind` at `offset`; the answer goes to `slot`."""

    image: int
    name: str
    slot: int
    offset: tuple[int, int]


@dataclass
class _Answers:
    """Label, probability of the unshifted label and relative logit change, per slot."""

    predicted: NDArray[np.int64]
    probability: NDArray[np.float64]
    error: NDArray[np.float64]

    @classmethod
    def empty(cls, size: int) -> _Answers:
        return cls(np.full(size, NONFINITE, np.int64), np.zeros(size), np.zeros(size))


@torch.inference_mode()
def run_block(
    model: Model, plan: ShiftPlan, sources: Sequence[Source], batch_size: int
) -> list[ImageRecord]:
    """All passes of up to `batch_size` images; one record each, in order."""
    scene = _Scene(model, plan, sources)
    clean = torch.cat(
        [
            _outputs(model, batch, batch_size)
            for batch in _batches(
                [scene.window("clean", i, (0, 0)) for i in range(len(sources))], batch_size
            )
        ]
    )
    reference = _Reference(clean, model.outputs_probabilities)
    answers = _shifted(model, plan, scene, reference, batch_size)
    return [_record(plan, source, i, reference, answers) for i, source in enumerate(sources)]


def _shifted(
    model: Model, plan: ShiftPlan, scene: _Scene, reference: _Reference, batch_size: int
) -> dict[tuple[int, str], _Answers]:
    jobs = list(_jobs(plan, scene.sources))
    sizes: dict[tuple[int, str], int] = {}
    for job in jobs:
        sizes[job.image, job.name] = job.slot + 1
    answers = {key: _Answers.empty(size) for key, size in sizes.items()}
    for start in range(0, len(jobs), batch_size):
        chunk = jobs[start : start + batch_size]
        batch = torch.stack([scene.window(job.name, job.image, job.offset) for job in chunk])
        outputs = _outputs(model, batch, batch_size)
        compared = reference.compare(outputs, [job.image for job in chunk])
        for job, label, probability, error in zip(chunk, *compared, strict=True):
            answer = answers[job.image, job.name]
            answer.predicted[job.slot] = label
            answer.probability[job.slot] = probability
            answer.error[job.slot] = error
    return answers


def _jobs(plan: ShiftPlan, sources: Sequence[Source]) -> Iterator[_Job]:
    for image, source in enumerate(sources):
        for series in plan.series:
            yield from _slots(image, series.name, plan.offsets(series, source.item.index))
        if plan.measures_alignment:
            yield from _slots(image, _ALIGNED, plan.aligned_offsets(source.item.index))


def _slots(image: int, name: str, offsets: Offsets) -> Iterator[_Job]:
    for slot, (dy, dx) in enumerate(offsets.tolist()):
        yield _Job(image, name, slot, (dy, dx))


class _Scene:
    """The pixels of a block on the device, and the canvas that is being cut at the moment."""

    def __init__(self, model: Model, plan: ShiftPlan, sources: Sequence[Source]) -> None:
        self.sources = sources
        self._window = plan.window
        how, device = model.preprocess, model.device
        self._pixels = [normalise(s.pixels[None], how, device)[0] for s in sources]
        black = normalise(np.zeros((1, 1, 1, sources[0].pixels.shape[-1]), np.uint8), how, device)
        self._black = black.reshape(-1)
        self._kind = {s.name: s.kind for s in plan.series} | {_ALIGNED: "circular", "clean": "crop"}
        self._reach = {s.name: max(-s.low, s.high) for s in plan.series}
        self._reach |= {_ALIGNED: plan.reach, "clean": 0}
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


def _batches(windows: list[Tensor], size: int) -> Iterator[Tensor]:
    for start in range(0, len(windows), size):
        yield torch.stack(windows[start : start + size])


def _outputs(model: Model, batch: Tensor, size: int) -> Tensor:
    """(n, classes) outputs of n <= size windows, the batch filled up to `size`."""
    n = len(batch)
    if n < size:
        batch = torch.cat([batch, batch[-1:].expand(size - n, *batch.shape[1:])])
    return _two_columns(model.run(batch)[:n], model.outputs_probabilities)


def _two_columns(outputs: Tensor, probabilities: bool) -> Tensor:
    """A single output per image is the score of the second of two classes."""
    if outputs.shape[1] != 1:
        return outputs
    return torch.cat([1 - outputs if probabilities else torch.zeros_like(outputs), outputs], 1)


class _Reference:
    """The unshifted outputs of a block, and what a shifted output is compared by."""

    def __init__(self, outputs: Tensor, probabilities: bool) -> None:
        self._outputs = outputs
        self._probabilities = probabilities
        spread = (outputs.amax(1) - outputs.amin(1)).double()
        # A constant output has no range: its change is then taken as it is.
        self._range = torch.where(spread > 0, spread, 1.0)
        self._label = outputs.argmax(1)
        self.finite = outputs.isfinite().all(1).tolist()
        self.label = self._label.tolist()
        self.confidence = self._probability(outputs, self._label).tolist()

    def _probability(self, outputs: Tensor, label: Tensor) -> Tensor:
        p = outputs.double() if self._probabilities else outputs.double().softmax(1)
        return p.gather(1, label[:, None])[:, 0]

    def compare(
        self, outputs: Tensor, images: list[int]
    ) -> tuple[list[int], list[float], list[float]]:
        """Label (or NONFINITE), probability of the unshifted label, relative logit change."""
        of = torch.tensor(images, device=outputs.device)
        finite = outputs.isfinite().all(1)
        label = torch.where(finite, outputs.argmax(1), NONFINITE)
        probability = self._probability(outputs, self._label[of])
        change = (outputs - self._outputs[of]).abs().amax(1).double()
        error = change / self._range[of]
        return label.tolist(), probability.tolist(), error.tolist()


def _record(
    plan: ShiftPlan,
    source: Source,
    image: int,
    reference: _Reference,
    answers: dict[tuple[int, str], _Answers],
) -> ImageRecord:
    clean = reference.label[image] if reference.finite[image] else NONFINITE
    series = {s.name: _series_record(answers[image, s.name], clean) for s in plan.series}
    aligned = answers.get((image, _ALIGNED))
    return ImageRecord(
        index=source.item.index,
        file=source.item.file,
        label=source.item.label,
        sha256=source.sha256,
        clean=clean,
        confidence=reference.confidence[image] if clean != NONFINITE else 0.0,
        series=series,
        aligned=() if aligned is None else tuple(aligned.predicted.tolist()),
        notes=source.notes,
    )


def _series_record(answers: _Answers, clean: int) -> SeriesRecord:
    predicted = tuple(answers.predicted.tolist())
    if clean == NONFINITE or NONFINITE in predicted:
        return SeriesRecord(predicted, 0.0, 0.0)
    wobble = float(answers.probability.max() - answers.probability.min())
    return SeriesRecord(predicted, wobble, float(answers.error.max()))
