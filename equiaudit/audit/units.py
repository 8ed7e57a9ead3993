"""The unit of work: blocks of images, decoded and put through the model on one machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol

import torch

from equiaudit.audit.forward import run_block
from equiaudit.audit.geometry import geometry
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.setup import refuse_lost_folders
from equiaudit.audit.task import R, Source, TaskAudit
from equiaudit.data import Dataset, Decoded, Item, Place, decode_ahead
from equiaudit.errors import InputError, RunError
from equiaudit.models.types import Model
from equiaudit.results import Skipped
from equiaudit.shifts import ShiftPlan

Block = Sequence[Item]


@dataclass
class Clock:
    """Seconds by stage."""

    started: float = field(default_factory=time.time)
    stages: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, since: float) -> float:
        """Book the time since `since` under `stage`; returns now."""
        now = time.perf_counter()
        self.stages[stage] = self.stages.get(stage, 0.0) + now - since
        return now


@dataclass(frozen=True)
class Assignment:
    """What a worker needs beside its model: the same for every block of a run."""

    plan: ShiftPlan
    options: ScanOptions
    root: Place
    """Of the data."""
    batch: int
    """Images per call of the model."""
    workers: int
    """Threads that decode."""


class Crew(Protocol):
    """Workers elsewhere."""

    def records(
        self, model: Model, dataset: Dataset, assignment: Assignment, blocks: Sequence[Block]
    ) -> Iterator[tuple[list[str], list[str]]]:
        """The records of each block as lines of JSON, and notes on it, in the order of `blocks`.

        `model` is that of this process, which the workers' has to equal.
        """


class Worker(Generic[R]):
    """Puts blocks through the model of this process."""

    def __init__(
        self,
        task: TaskAudit[R],
        model: Model,
        assignment: Assignment,
        note: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self.batch = assignment.batch
        """Images per call: halved as often as the accelerator's memory asks for."""
        self._task, self._model, self._assignment = task, model, assignment
        self._note, self._clock = note, clock

    def records(self, blocks: Sequence[Block]) -> Iterator[list[R]]:
        """The records of each block, in order, as they are done; decoding runs ahead."""
        wanted = geometry(self._model.preprocess, self._assignment.plan.margin)
        decoded = decode_ahead(
            (item for block in blocks for item in block),
            wanted,
            self._task.truth,
            workers=self._assignment.workers,
            ahead=2 * self._assignment.batch,
        )
        for block in blocks:
            now = time.perf_counter()
            images = [next(decoded) for _ in block]
            now = self._clock.add("decode", now)
            sources, lost = self._sort(block, images)
            yield lost + (self._forward(sources) if sources else [])
            self._clock.add("model", now)

    def _sort(
        self, block: Block, images: Sequence[Decoded | Skipped]
    ) -> tuple[list[Source], list[R]]:
        """The images that could be read, and records of those that could not."""
        sources, lost = [], []
        for item, image in zip(block, images, strict=True):
            if isinstance(image, Skipped):
                lost.append(self._lost(item, image.reason))
            else:
                sources.append(Source(item, image.sha256, image.pixels, image.notes, image.truth))
        if lost:
            refuse_lost_folders(self._assignment.root, block)
        return sources, lost

    def _lost(self, item: Item, reason: str) -> R:
        if self._assignment.options.strict:
            raise InputError(
                f"{item.file} cannot be read: {reason}.",
                tip="Remove the file, or leave --strict out to have it listed and skipped.",
            )
        self._note(f"{item.file} cannot be read: {reason}")
        return self._task.lost(item, reason)

    def _forward(self, sources: Sequence[Source]) -> list[R]:
        """`run_block`, with the batch halved as often as the accelerator's memory asks for."""
        while True:
            try:
                return run_block(
                    self._task, self._model, self._assignment.plan, sources, self.batch
                )
            except torch.OutOfMemoryError as error:
                if self.batch == 1:
                    raise RunError(
                        f"{self._model.name} does not fit into the memory of {self._model.device}, "
                        "not even one image at a time.",
                        tip="Use --device cpu, or a smaller --size.",
                    ) from error
                self.batch //= 2
                torch.cuda.empty_cache()
