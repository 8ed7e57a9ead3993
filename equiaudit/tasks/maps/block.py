"""A block of images whose outputs are maps: the part that segmentation and images share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from torch import Tensor

from equiaudit.audit.jobs import Job, Jobs, columns_of
from equiaudit.audit.task import Source
from equiaudit.shifts import ShiftPlan
from equiaudit.tasks.maps.frames import Frames, Moved
from equiaudit.tasks.maps.records import MapRecord, MapSeries
from equiaudit.tasks.maps.tally import Tally

S = TypeVar("S", bound=MapSeries)


class MapBlock(ABC, Generic[S]):
    """A `Block` that reduces each batch of outputs at once: no output outlives its batch."""

    def __init__(self, plan: ShiftPlan, frames: Frames, sources: Sequence[Source]) -> None:
        self.plan, self.frames, self.sources = plan, frames, sources
        self._kind = plan.moves
        self._finite: dict[int, bool] = {}
        self._tallies: dict[tuple[int, str], Tally] = {}
        for name, part in columns_of(plan).items():
            for image in range(len(sources)):
                self._tallies[image, name] = Tally(frames, part.stop - part.start)

    def clean(self, images: Sequence[int], outputs: Tensor) -> None:
        """Reduce the unshifted outputs to what shifted ones are compared with."""
        finite = outputs.isfinite().flatten(1).all(1).tolist()
        for image, output, is_finite in zip(images, self.reduced(outputs), finite, strict=True):
            self._finite[image] = is_finite
            self.take(image, output)

    def shifted(self, jobs: Jobs, outputs: Tensor) -> None:
        """Compare each output, moved back, with the unshifted one."""
        finite = outputs.isfinite().flatten(1).all(1).tolist()
        for job, output, is_finite in zip(jobs, self.reduced(outputs), finite, strict=True):
            if is_finite and self._finite[job.image]:
                moved = self.frames.moved(self._kind[job.name], job.offset)
                change, values = self.compare(job, output, moved)
                self._tallies[job.image, job.name].add(job.slot, change, values, moved)

    def records(self) -> list[MapRecord[S]]:
        """One per image."""
        return [self._record(image) for image in range(len(self.sources))]

    def _record(self, image: int) -> MapRecord[S]:
        source = self.sources[image]
        return self.record(
            image,
            index=source.item.index,
            file=source.item.file,
            sha256=source.sha256,
            notes=source.notes,
            truth_sha256="" if source.truth is None else source.truth.sha256,
            finite=self._finite[image],
            series={
                s.name: self.series(image, s.name, self._tallies[image, s.name].fields)
                for s in self.plan.series
            },
            contrasts={
                name: tuple(self._tallies[image, name].change)
                for contrast in self.plan.contrasts
                for name in contrast.names
            },
        )

    @abstractmethod
    def reduced(self, outputs: Tensor) -> Tensor:
        """Outputs (n, C, h, w) of the model -> what is compared, (n, ..., H, W)."""

    @abstractmethod
    def take(self, image: int, unshifted: Tensor) -> None:
        """Keep the unshifted map of one image."""

    @abstractmethod
    def compare(self, job: Job, shifted: Tensor, moved: Moved) -> tuple[float, Tensor]:
        """The change under one shift, and that of each compared pixel (h, w)."""

    @abstractmethod
    def series(self, image: int, name: str, fields: dict[str, object]) -> S:
        """What is kept of one series; `fields` are those of a `MapSeries`."""

    @abstractmethod
    def record(self, image: int, **fields: object) -> MapRecord[S]:
        """What is kept of the image; `fields` are those of a `MapRecord`."""
