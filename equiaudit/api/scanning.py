"""`scan`: from a model and a folder to a judged, written result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

from equiaudit.api.keeping import check_keeping, keep_preprocess
from equiaudit.api.loading import (
    as_path,
    as_place,
    listed,
    prepare,
    require_segmenter,
)
from equiaudit.api.reading import (
    Reading,
    ScanSettings,
    open_sequence_data,
    parted,
    refuse_doubt,
    settled_task,
)
from equiaudit.api.running import crew_for, is_left_to_choose
from equiaudit.api.work import (
    Work,
    ending,
    in_force,
    is_caps,
    judged,
    kinds_of,
    stated,
    work_on_images,
)
from equiaudit.audit.observer import Observer, Silent
from equiaudit.audit.options import ScanOptions, scan_options
from equiaudit.config import DEFAULTS
from equiaudit.config.flags import taken
from equiaudit.config.groups import AuditSettings
from equiaudit.errors import InputError
from equiaudit.judging import Judge

if TYPE_CHECKING:
    from torch import nn

    from equiaudit.audit.stopping import Stopping
    from equiaudit.data import Place
    from equiaudit.models import Model
    from equiaudit.results import Result


class AllSettings(ScanSettings, AuditSettings, total=False):
    """All that `scan` may be told."""


@dataclass(frozen=True)
class _Asked:
    """What a result is held against, where it goes, and where the work is done."""

    gates: Sequence[str] = DEFAULTS.gate
    baseline: str | Path | None = DEFAULTS.baseline
    require_baseline: bool = DEFAULTS.require_baseline
    update_baseline: bool = DEFAULTS.update_baseline
    output: str | Path | None = DEFAULTS.output
    save_preprocess: bool = DEFAULTS.save_preprocess
    engine: str = DEFAULTS.engine
    address: str = DEFAULTS.address


_WHOLE = "Leave --early-stop and --precision out."


def scan(
    model: str | Path | nn.Module | Model,
    data: Any,
    *,
    observer: Observer | None = None,
    **settings: Unpack[AllSettings],
) -> Result:
    """Shift every image, run the model, and return the result.

    `data` is a folder of images, or a URL of one that fsspec reads (s3://bucket/images); images in
    memory are an array (N, H, W, C) or (N, H, W), a pair of such and labels or masks, or a torch
    Dataset whose items are images or pairs (see `equiaudit.api.in_memory`). Class
    sub-folders or `labels` (a CSV with file,label, or its URL) say what they show. A
    segmenter's has images/ and masks/ (or the VOC layout), an image-to-image model's may have
    images/ and targets/; `classes` (a CSV with name,index,colour) and `ignore_index` say how
    masks are read. `offsets` shifts per image and kind are drawn from [-max_shift,
    max_shift]^2, or "full" takes them all. With `output`, that folder receives result.json,
    samples.csv, report.md and report.html, and an interrupted run continues from what it kept
    there. With `early_stop` the scan ends when bounds that hold at any time settle every gate,
    with `precision` when they lie so near to the figures (0.01 is a point to either side).
    `save_preprocess` keeps what is known of the model beside its file (MODEL.toml).
    Where `backend` is left at "auto", a long scan first tries which one is the fastest; a
    `Model` that was loaded before runs as it is. With `engine` "ray" the workers of a cluster
    do the work, each with a model that it loads itself. Raises InputError (exit 2) or RunError
    (exit 3) of `equiaudit.errors`.
    """
    observer = observer or Silent()
    given: dict[str, Any] = dict(settings)
    given |= {name: listed(given[name]) for name in ("shifts", "gates") if name in given}
    asked = taken(_Asked, given)
    options = scan_options(given)
    judge = Judge.prepare(
        asked.gates,
        asked.baseline,
        require=asked.require_baseline,
        update=asked.update_baseline,
    )
    judge.check(kinds_of(options))
    stopping = ending(judge, options)
    reading, model_settings = parted(cast(ScanSettings, given))
    if asked.save_preprocess:
        check_keeping(model)
    place = as_place(data)
    prepared = prepare(model, **model_settings)
    reading.check_places(place, sequences=is_caps(options))
    loaded = prepared.load()
    folder = as_path(asked.output)
    if is_caps(options):
        if asked.engine != "local":
            raise InputError("The caps protocol runs on one machine.", tip="Leave --engine out.")
        if not loaded.task_source:
            refuse_doubt(loaded)
        work = _sequences(loaded, place, reading, options, judge, stopping)
    else:
        backend = model_settings.get("backend")
        automatic = asked.engine == "local" and is_left_to_choose(model, backend)
        loaded = settled_task(loaded, place, reading)
        crew = crew_for(asked.engine, asked.address, model, model_settings)
        work = work_on_images(
            loaded, place, reading, options, judge, stopping, folder, automatic, crew
        )
    from equiaudit.report import write_reports

    observer.settings(in_force(work.model, work.dataset, work.options or options))
    if work.sentence:
        observer.note(work.sentence)
    said = stated(model_settings, reading)
    done, journal = work.run(folder=folder, observer=observer, settings=said)
    if folder is not None:  # Before the baseline has its say: a mismatch must not cost the run.
        write_reports(done.result, folder, samples_csv=done.rows(), images=options.images)
    try:
        result = judged(done, judge, folder, observer, options.images)
    finally:  # Killed before this, the next run reads the journal and judges again.
        journal.discard()
    if asked.save_preprocess:
        keep_preprocess(loaded, observer)
    return result


def _sequences(
    model: Model,
    data: Place,
    reading: Reading,
    options: ScanOptions,
    judge: Judge,
    stopping: Stopping | None,
) -> Work:
    from equiaudit.audit.sequences import run_sequences

    require_segmenter(model)
    if stopping is not None:
        raise InputError("A scan of sequences does not end early.", tip=_WHOLE)
    dataset = open_sequence_data(model, data, reading, options.limit, options.seed)
    judge.check(
        kinds_of(options),
        labelled=dataset.labelled,
        task=model.task,
        scored=not model.outputs_labels,
    )
    return Work(model, dataset, partial(run_sequences, model, dataset, options))
