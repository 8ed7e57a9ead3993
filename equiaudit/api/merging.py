"""`scan_shard` and `merge`: one scan on several machines that need not know of each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equiaudit.api.loading import as_path, as_place, prepare
from equiaudit.api.reading import Reading, open_data, settled_task
from equiaudit.api.work import in_force, is_caps, judged, kinds_of, stated
from equiaudit.audit.observer import Observer, Silent
from equiaudit.audit.options import ScanOptions, scan_options
from equiaudit.audit.shards import Shard
from equiaudit.errors import InputError
from equiaudit.judging import Judge

if TYPE_CHECKING:
    from torch import nn

    from equiaudit.models import Model
    from equiaudit.results import Result


def scan_shard(
    model: str | Path | nn.Module | Model,
    data: str | Path,
    shard: str,
    *,
    output: str | Path,
    gates: Sequence[str] = (),
    observer: Observer | None = None,
    **settings: Any,
) -> Path:
    """Do part `shard` ("1/4" is the first of four) of a scan; returns the file for `merge`.

    `settings` are those of `scan` that say how, of data and of model; `gates` are kept for
    `merge`. The model runs as it is unless `backend` is named, since shards have to be run
    alike. An interrupted shard continues. Errors are those of `scan`.
    """
    observer = observer or Silent()
    part = Shard.parse(shard)
    options = scan_options(settings)
    _refuse(options)
    judge = Judge.prepare(gates, later=True)
    judge.check(kinds_of(options))
    reading = Reading.taken_from(settings)
    place = as_place(data)
    prepared = prepare(model, **settings)
    reading.check_places(place)
    loaded = settled_task(prepared.load(), place, reading)
    dataset = open_data(loaded, place, reading, options.limit, options.seed)
    judge.check(
        kinds_of(options),
        labelled=dataset.labelled,
        task=loaded.task,
        scored=not loaded.outputs_labels,
    )
    from equiaudit.audit.merging import run_shard

    observer.settings(in_force(loaded, dataset, options) | {"shard": f"{part}"})
    return run_shard(
        loaded,
        dataset,
        options,
        part,
        Path(output),
        observer=observer,
        settings=stated(settings, reading),  # type: ignore[arg-type]
        gates=gates,
    )


def _refuse(options: ScanOptions) -> None:
    if options.early_stop or options.precision is not None:
        raise InputError(
            "A shard cannot tell when the whole scan has seen enough.",
            tip="Leave --early-stop and --precision out, or --shard.",
        )
    if is_caps(options):
        raise InputError("The caps protocol runs on one machine.", tip="Leave --shard out.")


def merge(
    shards: Sequence[str | Path],
    *,
    gates: Sequence[str] = (),
    baseline: str | Path | None = None,
    require_baseline: bool = False,
    update_baseline: bool = False,
    output: str | Path | None = None,
    observer: Observer | None = None,
) -> Result:
    """The result of the scan whose `shards` are given, as files or their folders.

    It is that of one scan on one machine, timings apart. Neither the model nor the images are
    needed. With `output`, that folder receives the reports. Without `gates`, those that the
    shards were given are judged. InputError names a shard that is missing, damaged, incomplete,
    twice there or of another scan.
    """
    from equiaudit.audit.merging import merged, open_shards
    from equiaudit.report import write_reports

    observer, folder = observer or Silent(), as_path(output)
    found = open_shards([Path(shard) for shard in shards])
    header = found[0].header
    judge = Judge.prepare(
        gates or header.gates, baseline, require=require_baseline, update=update_baseline
    )
    judge.check(
        kinds_of(header.options),
        labelled=header.data.labelled,
        task=header.model.task,
        scored=not header.model.outputs_labels,
    )
    done = merged(found)
    images = header.options.images
    if folder is not None:
        write_reports(done.result, folder, samples_csv=done.rows(), images=images)
    return judged(done, judge, folder, observer, images)
