"""The scan: blocks of images -> decoded -> shifted -> model -> records -> `Result`."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from scipy.stats import binomtest

from equiaudit._version import __version__
from equiaudit.audit.assemble import Scan, assemble
from equiaudit.audit.forward import Source, run_block
from equiaudit.audit.geometry import geometry
from equiaudit.audit.observer import Observer, Silent
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.records import NONFINITE, ImageRecord, Journal
from equiaudit.data import Dataset, Decoded, Item, decode_ahead
from equiaudit.errors import InputError, RunError
from equiaudit.models.types import Model
from equiaudit.results import Skipped, Timings
from equiaudit.shifts import ShiftPlan, make_plan

__all__ = ["run_scan"]

_CHECK_AFTER = 100
"""Labelled images after which accuracy is compared with chance."""
_CHECK_LEAST = 30
_CHECK_P = 0.01


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


def run_scan(
    model: Model,
    dataset: Dataset,
    options: ScanOptions,
    *,
    folder: Path | None = None,
    observer: Observer | None = None,
) -> tuple[Scan, Journal]:
    """Audit `model` on `dataset`; with `folder`, finished blocks are kept there as they come.

    The journal that comes back is for the caller to discard once the result is written.
    Raises InputError for settings that do not fit the data (a source too small for crop
    shifts, accuracy near chance), RunError when the model or the machine gives up.
    """
    observer = observer or Silent()
    plan = _plan(model, options)
    clock = _Clock()
    batch = _batch_size(model, options)
    journal = Journal(folder, _key(model, dataset, plan, batch), resume=options.resume)
    kept = len(journal.records)
    if kept:
        observer.note(f"Continuing: {kept} of {len(dataset.items)} images were done before.")
    per_image = plan.passes_per_image()
    observer.begin(len(dataset.items) * per_image, kept * per_image)
    try:
        for block in _blocks(model, dataset, plan, options, batch, journal, observer, clock):
            journal.append(block)
            observer.advance(len(block) * per_image)
            if options.accuracy_check:
                _check_accuracy(model, dataset, journal)
        timings = _timings(clock, batch, options, kept, journal, per_image)
        scan = assemble(model, dataset, plan, options, list(journal.records.values()), timings)
    except InputError:
        journal.discard()  # To go on, the data or the settings must change.
        raise
    return scan, journal


def _plan(model: Model, options: ScanOptions) -> ShiftPlan:
    return make_plan(
        options.shifts,
        window=model.preprocess.size,
        max_shift=options.max_shift,
        offsets=options.offsets,
        seed=options.seed,
        stride=model.total_stride,
        protocol=options.protocol,
    )


def _batch_size(model: Model, options: ScanOptions) -> int:
    """Images per call of the model.

    On the CPU a fixed function of the window: small batches stay in the cache and are the
    fastest there, and with one size the last bits of the outputs cannot depend on settings.
    """
    if model.device.type != "cpu":
        return 128 if options.batch_size == "auto" else options.batch_size
    area = model.preprocess.size[0] * model.preprocess.size[1]
    return 32 if area <= 96**2 else 8 if area <= 512**2 else 2


def _key(model: Model, dataset: Dataset, plan: ShiftPlan, batch: int) -> str:
    """What an unfinished run must share with this one to be continued."""
    parts = [__version__, model.sha256, model.backend, str(model.device), dataset.listing_sha256]
    parts += [plan.hash, json.dumps(_preprocess_values(model), sort_keys=True), str(batch)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _preprocess_values(model: Model) -> dict[str, object]:
    return {k: v for k, v in vars(model.preprocess).items() if k != "source"}


def _blocks(
    model: Model,
    dataset: Dataset,
    plan: ShiftPlan,
    options: ScanOptions,
    batch: int,
    journal: Journal,
    observer: Observer,
    clock: _Clock,
) -> Iterator[list[ImageRecord]]:
    """Records of the blocks that the journal does not hold yet, in a seeded random order."""
    order = np.random.default_rng([options.seed, len(dataset.items)]).permutation(
        len(dataset.items)
    )
    items = [dataset.items[i] for i in order]
    blocks = [items[i : i + batch] for i in range(0, len(items), batch)]
    todo = [b for b in blocks if any(item.index not in journal.records for item in b)]
    decoded = _decoded(model, plan, todo, options)
    for block in todo:
        now = time.perf_counter()
        images = [next(decoded) for _ in block]
        now = clock.add("decode", now)
        sources, lost = _sort(block, images, options, observer)
        records = _forward(model, plan, sources, batch) if sources else []
        clock.add("model", now)
        yield records + lost


def _decoded(
    model: Model, plan: ShiftPlan, blocks: Sequence[Sequence[Item]], options: ScanOptions
) -> Iterator[Decoded | Skipped]:
    items = [item for block in blocks for item in block]
    ahead = 2 * max((len(b) for b in blocks), default=1)
    wanted = geometry(model.preprocess, plan.margin)
    return decode_ahead(items, wanted, workers=_workers(options), ahead=ahead)


def _workers(options: ScanOptions) -> int:
    return 2 if options.workers == "auto" else options.workers


def _sort(
    block: Sequence[Item],
    images: Sequence[Decoded | Skipped],
    options: ScanOptions,
    observer: Observer,
) -> tuple[list[Source], list[ImageRecord]]:
    """The images that could be read, and records of those that could not."""
    sources, lost = [], []
    for item, image in zip(block, images, strict=True):
        if isinstance(image, Skipped):
            if options.strict:
                raise InputError(
                    f"{item.file} cannot be read: {image.reason}.",
                    tip="Remove the file, or leave --strict out to have it listed and skipped.",
                )
            observer.note(f"{item.file} cannot be read: {image.reason}")
            lost.append(
                ImageRecord(item.index, item.file, item.label, "", unreadable=image.reason)
            )
        else:
            sources.append(Source(item, image.sha256, image.pixels, image.notes))
    return sources, lost


def _forward(
    model: Model, plan: ShiftPlan, sources: Sequence[Source], batch: int
) -> list[ImageRecord]:
    """`run_block`, with the batch halved as often as the accelerator's memory asks for."""
    while True:
        try:
            return run_block(model, plan, sources, batch)
        except torch.OutOfMemoryError as error:
            if batch == 1:
                raise RunError(
                    f"{model.name} does not fit into the memory of {model.device}, "
                    "not even one image at a time.",
                    tip="Use --device cpu, or a smaller --size.",
                ) from error
            batch //= 2
            torch.cuda.empty_cache()


def _check_accuracy(model: Model, dataset: Dataset, journal: Journal) -> None:
    """Stop when the labels are met no better than by chance: then no other figure means much."""
    classes = model.num_classes or 0
    done = [r for r in journal.records.values() if r.clean != NONFINITE and r.label is not None]
    enough = min(_CHECK_AFTER, len(dataset.items))
    if classes < 2 or len(done) < max(enough, _CHECK_LEAST):
        return
    right = sum(r.clean == r.label for r in done)
    if binomtest(right, len(done), 1 / classes, alternative="greater").pvalue < _CHECK_P:
        return
    raise InputError(
        f"Accuracy is {right} of {len(done)} over {classes} classes, no better than chance: "
        "the preprocessing is probably wrong, or the labels are numbered differently.",
        tip="Check --mean, --std, --preprocess and --labels; --no-accuracy-check goes on anyway.",
    )


def _timings(
    clock: _Clock,
    batch: int,
    options: ScanOptions,
    kept: int,
    journal: Journal,
    per_image: int,
) -> Timings:
    import platform

    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock.started))
    return Timings(
        started=started,
        seconds=round(time.time() - clock.started, 3),
        passes=(len(journal.records) - kept) * per_image,
        seconds_by_stage={k: round(v, 3) for k, v in clock.stages.items()},
        batch_size=batch,
        workers=_workers(options),
        resumed=kept > 0,
        machine=f"{platform.machine()}, {torch.get_num_threads()} threads",
    )


