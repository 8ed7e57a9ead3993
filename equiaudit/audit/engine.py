"""The scan: blocks of images -> decoded -> shifted -> model -> records -> `Result`."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Generic

import torch

from equiaudit.audit.assemble import Scan, assemble
from equiaudit.audit.backend import as_it_is, trials_of
from equiaudit.audit.forward import run_block
from equiaudit.audit.geometry import geometry
from equiaudit.audit.observer import Observer, Silent
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.records import Journal
from equiaudit.audit.setup import in_random_order, plan_of, run_key
from equiaudit.audit.stopping import Stopping, finite_figures
from equiaudit.audit.task import R, Source, Task
from equiaudit.audit.tasks import task_of
from equiaudit.data import Dataset, Decoded, Item, check_sizes, decode_ahead
from equiaudit.errors import InputError, RunError
from equiaudit.models.backends import Choice
from equiaudit.models.types import Model
from equiaudit.results import Skipped, Timings
from equiaudit.shifts import ShiftPlan

__all__ = ["run_scan"]

Block = list[Item]

_GROWTH = 1.05


def run_scan(
    model: Model,
    dataset: Dataset,
    options: ScanOptions,
    *,
    folder: Path | None = None,
    observer: Observer | None = None,
    settings: Mapping[str, object] | None = None,
    choice: Choice | None = None,
    stopping: Stopping | None = None,
) -> tuple[Scan, Journal[Any]]:
    """Audit `model` on `dataset`; with `folder`, finished blocks are kept there as they come.

    The journal that comes back is for the caller to discard once the result is written.
    `settings` are further ones, of the model, to be named in the result; `choice` is how
    the model is run, by default as it is. With `stopping`, the scan ends when that holds,
    and its intervals are such that ending then was no peeking.
    Raises InputError for settings that do not fit the data (a source too small for crop
    shifts, accuracy near chance), RunError when the model or the machine gives up.
    """
    plan = plan_of(model, options)
    task = task_of(model, dataset, plan, options)
    if stopping is not None:
        stopping.check(task)
    choice = choice or as_it_is(model, options)
    model, batch = choice.model, choice.batch_size
    run = _Run(task, model, dataset, plan, options, folder, observer or Silent(), batch, stopping)
    try:
        run.complete()
        named = _settings(options) | dict(settings or {})
        timings = run.timings().model_copy(update={"trials": trials_of(choice)})
        scan = assemble(task, model, dataset, plan, run.records(), named, timings)
    except InputError:
        run.journal.discard()  # To go on, the data or the settings must change.
        raise
    if stopping is not None:
        figures = finite_figures(task, plan, run.records())
        restated = stopping.restated(scan.result, figures, len(dataset.items))
        scan = replace(scan, result=restated)
    return scan, run.journal


@dataclass
class _Clock:
    """Seconds by stage."""

    started: float = field(default_factory=time.time)
    stages: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, since: float) -> float:
        """Book the time since `since` under `stage`; returns now."""
        now = time.perf_counter()
        self.stages[stage] = self.stages.get(stage, 0.0) + now - since
        return now


class _Run(Generic[R]):
    """One scan on its way."""

    def __init__(
        self,
        task: Task[R],
        model: Model,
        dataset: Dataset,
        plan: ShiftPlan,
        options: ScanOptions,
        folder: Path | None,
        observer: Observer,
        batch: int,
        stopping: Stopping | None,
    ) -> None:
        self.task, self.plan, self.observer, self.stopping = task, plan, observer, stopping
        self.model, self.dataset, self.options = model, dataset, options
        self.batch = batch
        self.workers = 2 if options.workers == "auto" else options.workers
        self.clock = _Clock()
        key = run_key(task, model, dataset, plan, self.batch)
        self.journal = Journal(folder, key, task.parse, resume=options.resume)
        self.kept = len(self.journal.records)
        self.next_look = 0

    def complete(self) -> None:
        """Do what the journal does not hold yet."""
        self._announce()
        per_image = self.plan.passes_per_image()
        if self._seen_enough():
            return
        for block in self._blocks():
            self.journal.append(block)
            self.observer.advance(len(block) * per_image)
            if self._is_time_to_look() and self._seen_enough():
                break
        self.task.check(self.records())

    def _is_time_to_look(self) -> bool:
        """At every 20th part more images: looking at all of them each time is quadratic."""
        done = len(self.journal.records)
        if done < self.next_look:
            return False
        self.next_look = int(done * _GROWTH) + 1
        return True

    def _seen_enough(self) -> bool:
        """Whether the scan may end here; the task may say that going on is a waste."""
        records = self.records()
        self.task.check(records)
        if self.stopping is None or not records:
            return False
        return self.stopping.holds(finite_figures(self.task, self.plan, records))

    def records(self) -> list[R]:
        """Everything done so far."""
        return list(self.journal.records.values())

    def timings(self) -> Timings:
        """How the run went."""
        started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.clock.started))
        done = len(self.journal.records) - self.kept
        return Timings(
            started=started,
            seconds=round(time.time() - self.clock.started, 3),
            passes=done * self.plan.passes_per_image(),
            seconds_by_stage={k: round(v, 3) for k, v in self.clock.stages.items()},
            batch_size=self.batch,
            workers=self.workers,
            resumed=self.kept > 0,
            machine=f"{platform.machine()}, {torch.get_num_threads()} threads",
        )

    def _announce(self) -> None:
        total, per_image = len(self.dataset.items), self.plan.passes_per_image()
        if self.kept:
            self.observer.note(f"Continuing: {self.kept} of {total} images were done before.")
        self.observer.begin(total * per_image, self.kept * per_image)

    def _blocks(self) -> Iterator[list[R]]:
        todo = [b for b in self._order() if any(i.index not in self.journal.records for i in b)]
        items = [item for block in todo for item in block]
        wanted = geometry(self.model.preprocess, self.plan.margin)
        now = time.perf_counter()
        truth = self.task.truth
        check_sizes(items, wanted, truth, workers=self.workers)
        self.clock.add("headers", now)
        decoded = decode_ahead(items, wanted, truth, workers=self.workers, ahead=2 * self.batch)
        for block in todo:
            now = time.perf_counter()
            images = [next(decoded) for _ in block]
            now = self.clock.add("decode", now)
            sources, lost = self._sort(block, images)
            yield lost + (self._forward(sources) if sources else [])
            self.clock.add("model", now)

    def _order(self) -> list[Block]:
        """All images in a seeded random order, cut into the blocks every run would make."""
        items = in_random_order(self.dataset, self.options.seed)
        return [items[i : i + self.batch] for i in range(0, len(items), self.batch)]

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
        return sources, lost

    def _lost(self, item: Item, reason: str) -> R:
        if self.options.strict:
            raise InputError(
                f"{item.file} cannot be read: {reason}.",
                tip="Remove the file, or leave --strict out to have it listed and skipped.",
            )
        self.observer.note(f"{item.file} cannot be read: {reason}")
        return self.task.lost(item, reason)

    def _forward(self, sources: Sequence[Source]) -> list[R]:
        """`run_block`, with the batch halved as often as the accelerator's memory asks for."""
        while True:
            try:
                return run_block(self.task, self.model, self.plan, sources, self.batch)
            except torch.OutOfMemoryError as error:
                if self.batch == 1:
                    raise RunError(
                        f"{self.model.name} does not fit into the memory of {self.model.device}, "
                        "not even one image at a time.",
                        tip="Use --device cpu, or a smaller --size.",
                    ) from error
                self.batch //= 2
                torch.cuda.empty_cache()


def _settings(options: ScanOptions) -> dict[str, Any]:
    """The settings that a result may depend on; how fast it was made is in its timings."""
    own = asdict(options)
    for name in ("batch_size", "workers", "resume", "images"):
        own.pop(name)
    return own | {"shifts": list(options.shifts)}
