"""What a scan is made of before and after it runs: the model on its data, and the verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equiaudit.api.loading import ModelSettings
from equiaudit.api.reading import Reading, open_data
from equiaudit.api.room import without_crops
from equiaudit.api.running import choice_for
from equiaudit.audit.observer import Observer
from equiaudit.audit.options import ScanOptions
from equiaudit.config import DEFAULTS
from equiaudit.judging import Judge
from equiaudit.kinds import is_real
from equiaudit.tasks import TASKS

if TYPE_CHECKING:
    from equiaudit.audit.assemble import Scan
    from equiaudit.audit.journal import Journal
    from equiaudit.audit.stopping import Stopping
    from equiaudit.audit.units import Crew
    from equiaudit.data import Dataset, Place
    from equiaudit.data.sequences import SequenceData
    from equiaudit.models import Model, Preprocess
    from equiaudit.results import Result


@dataclass(frozen=True)
class Work:
    """What is to be run, and on what."""

    model: Model
    dataset: Dataset | SequenceData
    run: Callable[..., tuple[Scan, Journal[Any]]]
    sentence: str = ""
    """Why the model runs as it does."""
    options: ScanOptions | None = None
    """How it is shifted, where that is not as was asked."""


def kinds_of(options: ScanOptions) -> tuple[str, ...]:
    """The names that a gate on such a scan may begin with."""
    if is_caps(options):
        from equiaudit.shifts.sliding import CAPS_KINDS

        return CAPS_KINDS
    if options.protocol is None:
        return options.shifts
    from equiaudit.shifts import PROTOCOLS

    known = PROTOCOLS.get(options.protocol)
    if known is None:
        return (options.protocol,)
    return options.shifts if known.leaves_shifts else known.names


def ending(judge: Judge, options: ScanOptions) -> Stopping | None:
    """What ends the scan early, None where nothing does; InputError where that cannot be."""
    if not options.early_stop and options.precision is None:
        return None
    from equiaudit.audit.stopping import Stopping

    return Stopping.prepare(judge.gates, early=options.early_stop, precision=options.precision)


def is_caps(options: ScanOptions) -> bool:
    """Whether the scan is of sequences."""
    if options.protocol is None:
        return False
    from equiaudit.shifts.sliding import CAPS

    return options.protocol == CAPS


def work_on_images(
    model: Model,
    data: Place,
    reading: Reading,
    options: ScanOptions,
    judge: Judge,
    stopping: Stopping | None,
    folder: Path | None,
    automatic: bool,
    crew: Crew | None = None,
) -> Work:
    """A scan of images by `model`; where that is `automatic`, by the fastest backend.

    InputError where gates do not fit what will be measured.
    """
    from equiaudit.audit.engine import run_scan

    dataset = open_data(model, data, reading, options.limit, options.seed)
    judge.check(
        kinds_of(options),
        labelled=dataset.labelled,
        task=model.task,
        scored=not model.outputs_labels,
    )
    left_out = ""
    if _leaves_to_choose(options, judge):
        options, left_out = without_crops(dataset, model.preprocess, options)
    if left_out:
        dataset = replace(dataset, notes=(*dataset.notes, left_out))
    choice = choice_for(model, dataset, options, folder, automatic=automatic)
    run = partial(
        run_scan, choice.model, dataset, options, choice=choice, stopping=stopping, crew=crew
    )
    said = " ".join(filter(None, [left_out and f"{left_out}.", choice.sentence]))
    return Work(choice.model, dataset, run, said, options)


def _leaves_to_choose(options: ScanOptions, judge: Judge) -> bool:
    """Whether nothing was said of the kinds of shift, and no gate asks for one without room."""
    asked = {gate.name.partition(".")[0] for gate in judge.gates}
    real = {kind for kind in options.shifts if is_real(kind)}
    return options.protocol is None and options.shifts == DEFAULTS.shifts and not asked & real


def stated(settings: ModelSettings, reading: Reading) -> dict[str, object]:
    """Settings of model and data that are no default."""
    names = (
        *("arch", "weights", "task", "threshold", "output_name", "output_layout", "input"),
        *("detector", "trust"),
    )
    named = {name: settings.get(name) for name in names}
    said = {name: value for name, value in named.items() if value and value != "auto"}
    return said | reading.stated()


def judged(
    done: Scan, judge: Judge, folder: Path | None, observer: Observer, images: bool
) -> Result:
    """The result with its verdicts, written again where it has any; a first run becomes the
    baseline."""
    from equiaudit.comparison import parse_samples
    from equiaudit.report import record_baseline, write_reports

    samples = parse_samples(done.samples) if judge.baseline is not None else None
    result = judge.judged(done.result, samples, observer.note)
    if folder is not None and result != done.result:
        write_reports(result, folder, images=images)
    kept = judge.keeps(result)
    if kept is not None:
        observer.note(f"This run is recorded as the baseline at {kept}.")
        record_baseline(result, done.rows(), kept)
    elif judge.update:
        observer.note(f"A gate failed, so the baseline at {judge.path} stays as it was.")
    return result


def in_force(model: Model, dataset: Dataset | SequenceData, options: ScanOptions) -> dict[str, str]:
    """Every setting the numbers depend on, as a person reads it."""
    how = model.preprocess
    height, width = how.size
    shifts = options.protocol or (
        f"{', '.join(options.shifts)} up to {options.max_shift} px, {options.offsets} per image"
    )
    known = model.plan_stride
    stride = "not known" if known is None else "x".join(map(str, known))
    return {
        "model": f"{model.name} ({model.kind}, {model.backend}, {model.device}, {how.dtype})",
        "notes": "; ".join(model.notes),
        "task": f"{model.task}{_origin(model.task_source)}",
        "data": f"{len(dataset.items)} images, {_known(model, dataset.labelled)}",
        "layout": dataset.layout,
        "window": f"{height}x{width}{_said(how, 'size')}",
        "resize": f"{_resize(how)}{_said(how, 'resize')}",
        "channels": f"{how.channels}{_said(how, 'channels')}",
        "mean": f"{_numbers(how.mean)}{_said(how, 'mean')}",
        "std": f"{_numbers(how.std)}{_said(how, 'std')}",
        "total stride": stride,
        "shifts": shifts,
        "seed": str(options.seed),
    }


def _resize(how: Preprocess) -> str:
    if how.fit == "letterbox":
        return f"letterbox, {how.place}, pad {how.pad}"
    return how.resize_text


def _known(model: Model, labelled: bool) -> str:
    truth = TASKS[model.task].truth
    return truth.known if labelled else f"no {truth.many}"


def _said(how: Preprocess, field: str) -> str:
    """Where a value came from, unless it is a flag or a default, which go without saying."""
    return _origin(how.source.get(field, "default"))


def _origin(source: str) -> str:
    unsaid = source in ("", "default") or source.startswith("flag")
    return "" if unsaid else f" ({source})"


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
