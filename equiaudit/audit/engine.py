"""The scan: blocks of images -> decoded -> shifted -> model -> records -> `Result`."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any, Generic

import torch

from equiaudit.audit.assemble import Scan, assemble
from equiaudit.audit.backend import as_it_is, trials_of
from equiaudit.audit.geometry import geometry
from equiaudit.audit.journal import Journal
from equiaudit.audit.observer import Observer, Silent
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.setup import in_random_order, plan_of, run_key, shard_key
from equiaudit.audit.shards import Shard
from equiaudit.audit.shelf import Records
from equiaudit.audit.stopping import Stopping, finite_figures
from equiaudit.audit.task import R, TaskAudit
from equiaudit.audit.tasks import task_of
from equiaudit.audit.units import Assignment, Block, Clock, Crew, Worker
from equiaudit.data import Dataset, Items, check_sizes
from equiaudit.errors import InputError
from equiaudit.kinds import KINDS, SubPixel
from equiaudit.models.backends import Choice
from equiaudit.models.types import Model
from equiaudit.results import Timings
from equiaudit.shifts import PROTOCOLS, ShiftPlan

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
    crew: Crew | None = None,
) -> tuple[Scan, Journal[Any]]:
    """Audit `model` on `dataset`; with `folder`, finished blocks are kept there as they come.

    The journal that comes back is for the caller to discard once the result is written.
    `settings` are further ones, of the model, to be named in the result; `choice` is how
    the model is run, by default as it is. With `stopping`, the scan ends when that holds,
    and its intervals are such that ending then was no peeking. A `crew` does the work in place
    of this process.
    Raises InputError for settings that do not fit the data (a source too small for crop
    shifts, accuracy near chance), RunError when the model or the machine gives up.
    """
    plan = plan_of(model, options)
    task = task_of(model, dataset, plan, options)
    if stopping is not None:
        stopping.check(task)
    choice = choice or as_it_is(model, options)
    model, batch = choice.model, choice.batch_size
    watch = observer or Silent()
    run = Run(task, model, dataset, plan, options, folder, watch, batch, stopping, crew=crew)
    try:
        run.complete()
        named = settings_of(options) | dict(settings or {})
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


class Run(Generic[R]):
    """One scan on its way."""

    def __init__(
        self,
        task: TaskAudit[R],
        model: Model,
        dataset: Dataset,
        plan: ShiftPlan,
        options: ScanOptions,
        folder: Path | None,
        observer: Observer,
        batch: int,
        stopping: Stopping | None = None,
        *,
        shard: Shard | None = None,
        crew: Crew | None = None,
    ) -> None:
        self.task, self.plan, self.observer, self.stopping = task, plan, observer, stopping
        self.model, self.dataset, self.options = model, dataset, options
        self.batch, self.shard, self.crew = batch, shard, crew
        self.workers = 2 if options.workers == "auto" else options.workers
        self.clock = Clock()
        self.assignment = Assignment(plan, options, dataset.root, batch, self.workers)
        self.worker = Worker(task, model, self.assignment, self.observer.note, self.clock)
        self.key = run_key(task, model, dataset, plan, batch)
        name = self.key if shard is None else shard_key(self.key, shard)
        self.journal = Journal(folder, name, task.parse, resume=options.resume, shelf=task.shelf())
        self.kept = len(self.journal.records)
        self.done = 0
        self.next_look = 0

    def complete(self) -> None:
        """Do what the journal does not hold yet."""
        self._announce()
        per_image = self.plan.passes_per_image()
        if self._ended_before():
            return
        for block in self._blocks():
            self.journal.append(block)
            self.observer.advance(len(block) * per_image)
            if self._ends_after(len(block)):
                break
        self.task.check(self.records())

    def _ended_before(self) -> bool:
        """Look at what is kept at the moments at which an undisturbed run looked at it."""
        for block in self._order():
            if not self._is_done(block):
                return False
            if self._ends_after(len(block)):
                return True
        return False

    def _ends_after(self, images: int) -> bool:
        """Count `images` more, and look where it is time to."""
        self.done += images
        return self._is_time_to_look() and self._seen_enough()

    def _is_time_to_look(self) -> bool:
        """At every 20th part more images: looking at all of them each time is quadratic."""
        if self.done < self.next_look:
            return False
        self.next_look = int(self.done * _GROWTH) + 1
        return True

    def _seen_enough(self) -> bool:
        """Whether the scan may end here; the task may say that going on is a waste."""
        records = self.records()
        self.task.check(records)
        if self.stopping is None or not records:
            return False
        return self.stopping.holds(finite_figures(self.task, self.plan, records))

    def records(self) -> Records[R]:
        """Everything done so far, or as much of what is kept as this run has looked at."""
        return Records.of(self.journal.records, islice(self.journal.records, self.done))

    def timings(self) -> Timings:
        """How the run went."""
        started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.clock.started))
        done = len(self.journal.records) - self.kept
        return Timings(
            started=started,
            seconds=round(time.time() - self.clock.started, 3),
            passes=done * self.plan.passes_per_image(),
            seconds_by_stage={k: round(v, 3) for k, v in self.clock.stages.items()},
            batch_size=self.worker.batch,
            workers=self.workers,
            resumed=self.kept > 0,
            machine=f"{platform.machine()}, {torch.get_num_threads()} threads",
        )

    def _announce(self) -> None:
        total, per_image = sum(map(len, self._order())), self.plan.passes_per_image()
        if self.kept:
            self.observer.note(f"Continuing: {self.kept} of {total} images were done before.")
        self.observer.begin(total * per_image, self.kept * per_image, per_image)

    def _blocks(self) -> Iterator[list[R]]:
        todo = [block for block in self._order() if not self._is_done(block)]
        now = time.perf_counter()
        wanted = geometry(self.model.preprocess, self.plan.margin)
        items = (item for block in todo for item in block)
        check_sizes(items, wanted, self.task.truth, workers=self.workers)
        self.clock.add("headers", now)
        if self.crew is None:
            yield from self.worker.records(todo)
        else:
            yield from self._by(self.crew, todo)

    def _is_done(self, block: Items) -> bool:
        return all(int(index) in self.journal.records for index in block.indices)

    def _by(self, crew: Crew, todo: Sequence[Block]) -> Iterator[list[R]]:
        """The blocks of `todo`, done elsewhere."""
        now = time.perf_counter()
        for lines, notes in crew.records(self.model, self.dataset, self.assignment, todo):
            for note in notes:
                self.observer.note(note)
            yield [self.task.parse(line) for line in lines]
        self.clock.add("workers", now)

    def _order(self) -> list[Items]:
        """All images in a seeded random order, cut into the blocks every run would make.

        Of a shard, its blocks of these.
        """
        items = in_random_order(self.dataset, self.options.seed)
        blocks = [items[i : i + self.batch] for i in range(0, len(items), self.batch)]
        return blocks if self.shard is None else self.shard.own(blocks)


def settings_of(options: ScanOptions) -> dict[str, Any]:
    """The settings that a result may depend on; how fast it was made is in its timings."""
    own = asdict(options)
    known = None if options.protocol is None else PROTOCOLS.get(options.protocol)
    settled = options.protocol is not None and not (known and known.leaves_shifts)
    kinds = [] if settled else [KINDS[name] for name in options.shifts]
    between = [kind for kind in kinds if kind.fractional]
    unread = [] if between else ["fraction"]
    unread += [] if any(isinstance(kind, SubPixel) for kind in between) else ["resampler"]
    for name in ("batch_size", "workers", "resume", "images", *unread):
        own.pop(name)
    return own | {"shifts": list(options.shifts)}
