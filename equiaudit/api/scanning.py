"""`scan`: from a model and a folder to a judged, written result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from equiaudit.api.loading import (
    ModelSettings,
    as_path,
    load_model,
    open_data,
    require_segmenter,
    settled_task,
)
from equiaudit.api.running import choice_for, is_left_to_choose
from equiaudit.audit.observer import Observer, Silent
from equiaudit.audit.options import ScanOptions
from equiaudit.errors import InputError
from equiaudit.judging import Judge

if TYPE_CHECKING:
    from torch import nn

    from equiaudit.audit.assemble import Scan
    from equiaudit.audit.records import Journal
    from equiaudit.audit.stopping import Stopping
    from equiaudit.data import Dataset
    from equiaudit.data.sequences import SequenceData
    from equiaudit.models import Model, Preprocess
    from equiaudit.results import Result

__all__ = ["scan"]

_WHOLE = "Leave --early-stop and --precision out."


def scan(
    model: str | Path | nn.Module | Model,
    data: str | Path,
    *,
    labels: str | Path | None = None,
    classes: str | Path | None = None,
    ignore_index: int | None = None,
    limit: int | None = None,
    shifts: Sequence[str] = ("circular", "crop", "zero-pad"),
    max_shift: int = 16,
    offsets: int | Literal["full"] = 16,
    seed: int = 0,
    protocol: str | None = None,
    batch_size: int | Literal["auto"] = "auto",
    workers: int | Literal["auto"] = "auto",
    strict: bool = False,
    accuracy_check: bool = True,
    images: bool = True,
    resume: bool = True,
    gates: Sequence[str] = (),
    baseline: str | Path | None = None,
    require_baseline: bool = False,
    early_stop: bool = False,
    precision: float | None = None,
    output: str | Path | None = None,
    observer: Observer | None = None,
    **model_settings: Unpack[ModelSettings],
) -> Result:
    """Shift every image, run the model, and return the result.

    `data` is a folder of images; class sub-folders or `labels` (a CSV with file,label) say what
    they show. A segmenter's has images/ and masks/ (or the VOC layout), an image-to-image model's
    may have images/ and targets/; `classes` (a CSV with name,index,colour) and `ignore_index` say
    how masks are read. `offsets` shifts per image and kind are drawn from [-max_shift,
    max_shift]^2, or "full" takes them all. With `output`, that folder receives result.json,
    samples.csv, report.md and report.html, and an interrupted run continues from what it kept
    there. With `early_stop` the scan ends when bounds that hold at any time settle every gate,
    with `precision` when they lie so near to the figures (0.01 is a point to either side). Where
    `backend` is left at "auto", a long scan first tries which one is the fastest; a `Model` that
    was loaded before runs as it is. Raises InputError (exit 2) or RunError (exit 3) of
    `equiaudit.errors`.
    """
    from equiaudit.audit.stopping import Stopping
    from equiaudit.report import write_reports
    from equiaudit.shifts.sliding import CAPS

    observer = observer or Silent()
    options = ScanOptions(
        shifts=tuple(shifts),
        max_shift=max_shift,
        offsets=offsets,
        limit=limit,
        seed=seed,
        protocol=protocol,
        images=images,
        strict=strict,
        accuracy_check=accuracy_check,
        batch_size=batch_size,
        workers=workers,
        resume=resume,
        early_stop=early_stop,
        precision=precision,
    )
    judge = Judge.prepare(gates, baseline, require=require_baseline)
    judge.check(_kinds(options))
    stopping = Stopping.prepare(judge.gates, early=early_stop, precision=precision)
    masks = _Truth(as_path(labels), as_path(classes), ignore_index)
    loaded = load_model(model, **model_settings)
    folder = as_path(output)
    if protocol == CAPS:
        work = _sequences(loaded, data, options, judge, stopping)
    else:
        task = model_settings.get("task", "auto")
        automatic = is_left_to_choose(model, model_settings.get("backend"))
        loaded = settled_task(loaded, data, task)
        work = _images(loaded, data, masks, options, judge, stopping, folder, automatic)
    observer.settings(_in_force(work.model, work.dataset, options))
    if work.sentence:
        observer.note(work.sentence)
    said = _stated(model_settings, masks)
    done, journal = work.run(folder=folder, observer=observer, settings=said)
    if folder is not None:  # Before the baseline has its say: a mismatch must not cost the run.
        write_reports(done.result, folder, samples_csv=done.samples, images=images)
    journal.discard()
    return _judged(done, judge, folder, observer, images)


@dataclass(frozen=True)
class _Truth:
    """How labels and masks are told."""

    labels: Path | None
    classes: Path | None
    ignore_index: int | None


@dataclass(frozen=True)
class _Work:
    """What is to be run, and on what."""

    model: Model
    dataset: Dataset | SequenceData
    run: Callable[..., tuple[Scan, Journal[Any]]]
    sentence: str = ""
    """Why the model runs as it does."""


def _kinds(options: ScanOptions) -> tuple[str, ...]:
    from equiaudit.shifts.sliding import CAPS, CAPS_KINDS

    if options.protocol == CAPS:
        return CAPS_KINDS
    return (options.protocol,) if options.protocol else options.shifts


def _sequences(
    model: Model, data: str | Path, options: ScanOptions, judge: Judge, stopping: Stopping | None
) -> _Work:
    from equiaudit.audit.sequences import run_sequences
    from equiaudit.data.sequences import open_sequences

    require_segmenter(model)
    if stopping is not None:
        raise InputError("A scan of sequences does not end early.", tip=_WHOLE)
    dataset = open_sequences(data, limit=options.limit, seed=options.seed)
    judge.check(_kinds(options), labelled=dataset.labelled, task=model.task)
    return _Work(model, dataset, partial(run_sequences, model, dataset, options))


def _images(
    model: Model,
    data: str | Path,
    truth: _Truth,
    options: ScanOptions,
    judge: Judge,
    stopping: Stopping | None,
    folder: Path | None,
    automatic: bool,
) -> _Work:
    from equiaudit.audit.engine import run_scan

    dataset = open_data(
        model,
        data,
        truth.labels,
        options.limit,
        options.seed,
        classes=truth.classes,
        ignore_index=truth.ignore_index,
    )
    judge.check(_kinds(options), labelled=dataset.labelled, task=model.task)
    choice = choice_for(model, dataset, options, folder, automatic=automatic)
    run = partial(run_scan, choice.model, dataset, options, choice=choice, stopping=stopping)
    return _Work(choice.model, dataset, run, choice.sentence)


def _stated(settings: ModelSettings, truth: _Truth) -> dict[str, object]:
    """Settings of model and masks that are no default."""
    named = {name: settings.get(name) for name in ("arch", "task", "output_name", "trust")}
    said = {name: value for name, value in named.items() if value and value != "auto"}
    return said if truth.ignore_index is None else said | {"ignore_index": truth.ignore_index}


def _judged(
    done: Scan, judge: Judge, folder: Path | None, observer: Observer, images: bool
) -> Result:
    """The result with its verdicts, written; a first run becomes the baseline."""
    from equiaudit.comparison import parse_samples
    from equiaudit.report import record_baseline, write_reports

    samples = parse_samples(done.samples) if judge.baseline is not None else None
    result = judge.judged(done.result, samples, observer.note)
    if folder is not None:
        write_reports(result, folder, images=images)
    if judge.lacks_baseline and judge.path is not None:
        observer.note(f"This run is recorded as the baseline at {judge.path}.")
        record_baseline(result, done.samples, judge.path)
    return result


def _in_force(
    model: Model, dataset: Dataset | SequenceData, options: ScanOptions
) -> dict[str, str]:
    """Every setting the numbers depend on, as a person reads it."""
    how = model.preprocess
    height, width = how.size
    shifts = options.protocol or (
        f"{', '.join(options.shifts)} up to {options.max_shift} px, {options.offsets} per image"
    )
    stride = "not known" if model.total_stride is None else "x".join(map(str, model.total_stride))
    return {
        "model": f"{model.name} ({model.kind}, {model.backend}, {model.device}, {how.dtype})",
        "notes": "; ".join(model.notes),
        "task": model.task,
        "data": f"{len(dataset.items)} images, {_known(model, dataset.labelled)}",
        "window": f"{height}x{width}{_said(how, 'size')}",
        "resize": f"{how.resize or 'none'}{_said(how, 'resize')}",
        "channels": f"{how.channels}{_said(how, 'channels')}",
        "mean": f"{_numbers(how.mean)}{_said(how, 'mean')}",
        "std": f"{_numbers(how.std)}{_said(how, 'std')}",
        "total stride": stride,
        "shifts": shifts,
        "seed": str(options.seed),
    }


def _known(model: Model, labelled: bool) -> str:
    named = {"classification": ("labelled", "no labels"), "segmentation": ("masks", "no masks")}
    with_truth, without = named.get(model.task, ("targets", "no targets"))
    return with_truth if labelled else without


def _said(how: Preprocess, field: str) -> str:
    """Where a value came from, unless it is a flag or a default, which go without saying."""
    source = how.source.get(field, "default")
    return "" if source == "default" or source.startswith("flag") else f" ({source})"


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
