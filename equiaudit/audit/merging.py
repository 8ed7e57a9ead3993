"""One part of a scan per machine, and one result from the parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from equiaudit._version import __version__
from equiaudit.audit.assemble import Scan, assemble
from equiaudit.audit.backend import as_it_is
from equiaudit.audit.engine import Run, settings_of
from equiaudit.audit.forward import blank
from equiaudit.audit.observer import Observer, Silent
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.records import ImageRecord
from equiaudit.audit.setup import plan_of
from equiaudit.audit.shard_files import (
    DataFacts,
    Header,
    ModelFacts,
    ShardFile,
    find_shards,
    read_shard,
    write_shard,
)
from equiaudit.audit.shards import Shard
from equiaudit.audit.shelf import Pile, Records
from equiaudit.audit.tasks import task_of
from equiaudit.data import Dataset, Items
from equiaudit.errors import InputError
from equiaudit.models.types import Model
from equiaudit.results import Timings

_MOST_NAMED = 8


def run_shard(
    model: Model,
    dataset: Dataset,
    options: ScanOptions,
    shard: Shard,
    folder: Path,
    *,
    observer: Observer | None = None,
    settings: Mapping[str, object] | None = None,
    gates: Sequence[str] = (),
) -> Path:
    """Do the blocks of `shard` as `run_scan` would do them, and write them to a file in `folder`.

    What was done is kept there until then, and a file of an equal run that is complete is left
    as it is. `gates` are for the one who merges. Errors are those of `run_scan`.
    """
    observer = observer or Silent()
    plan = plan_of(model, options)
    task = task_of(model, dataset, plan, options)
    batch = as_it_is(model, options).batch_size
    run = Run(task, model, dataset, plan, options, folder, observer, batch, shard=shard)
    header = Header(
        tool_version=__version__,
        key=run.key,
        number=shard.number,
        count=shard.count,
        options=options,
        settings=settings_of(options) | dict(settings or {}),
        gates=tuple(gates),
        model=_facts_of(model),
        data=DataFacts(
            images=len(dataset.items),
            class_names=dict(dataset.class_names),
            layout=dataset.layout,
            labelled=dataset.labelled,
            notes=dataset.notes,
        ),
    )
    path = folder / shard.file_name
    if options.resume and _is_done(path, header):
        run.journal.discard()
        observer.note(f"{path} was done before; --no-resume does it again.")
        return path
    try:
        run.complete()
    except InputError:
        run.journal.discard()  # To go on, the data or the settings must change.
        raise
    records = run.records().by_index()
    read = records.readable
    write_shard(path, header, records, run.timings(), task.more(read) if read else {})
    run.journal.discard()
    return path


def _facts_of(model: Model) -> ModelFacts:
    shape = tuple(blank(model).shape[1:])
    own = {name: getattr(model, name) for name in ModelFacts.model_fields if name in vars(model)}
    return ModelFacts(**(own | {"device": str(model.device), "output_shape": shape}))


def _is_done(path: Path, header: Header) -> bool:
    try:
        return read_shard(path).header == header
    except InputError:
        return False


def open_shards(sources: Sequence[Path]) -> tuple[ShardFile, ...]:
    """The shards of one scan, in order: all there, each once.

    `sources` are files, and folders of such. InputError says what does not belong, is twice
    there, missing, damaged or not complete.
    """
    shards = [read_shard(path) for path in find_shards(sources)]
    if not shards:
        raise InputError("There are no shards to merge.", tip="Name files, or their folder.")
    for shard in shards:
        _check_kin(shards[0], shard)
    by_number: dict[int, ShardFile] = {}
    for shard in shards:
        number = shard.header.number
        if number in by_number:
            raise InputError(
                f"Shard {number} of {shard.header.count} is there twice: {by_number[number].path} "
                f"and {shard.path}.",
                tip="Name one of them only.",
            )
        by_number[number] = shard
    _check_all_there(by_number, shards[0].header.count)
    return tuple(by_number[number] for number in sorted(by_number))


def _check_kin(first: ShardFile, other: ShardFile) -> None:
    a, b = first.header, other.header
    if b.tool_version != __version__:
        raise InputError(
            f"{other.path} was written by version {b.tool_version}, and this is {__version__}.",
            tip="Merge with the version that made the shards.",
        )
    if not 1 <= b.number <= b.count:
        raise InputError(f"{other.path} is shard {b.number} of {b.count}, which there is not.")
    differing = _differing(a, b)
    if differing:
        raise InputError(
            f"{first.path} and {other.path} are not of one scan: they differ in {differing}.",
            tip="Run all shards on the same files with the same settings and device.",
        )


def _differing(a: Header, b: Header) -> str:
    """What tells two scans apart, in words; empty where they are one."""
    found = ["the number of shards"] if a.count != b.count else []
    if a.settings != b.settings or a.options.images != b.options.images:
        names = {n for n in {*a.settings, *b.settings} if a.settings.get(n) != b.settings.get(n)}
        found.append(f"settings ({', '.join(sorted(names)) or 'images'})")
    if a.gates != b.gates:
        found.append("gates")
    facts = ("sha256", "backend", "device", "preprocess", "total_stride", "output_shape")
    if any(getattr(a.model, n) != getattr(b.model, n) for n in facts):
        found.append("the model or how it is run")
    if not found and (a.key != b.key or a.data.images != b.data.images):
        found.append("their data, or the images per call")
    return ", ".join(found)


def _check_all_there(found: Mapping[int, ShardFile], count: int) -> None:
    missing: list[int] = []
    for number in range(1, count + 1):
        if number not in found:
            missing.append(number)
        if len(missing) > _MOST_NAMED:
            break
    if not missing:
        return
    named = ", ".join(map(str, missing[:_MOST_NAMED]))
    more = " and more" if len(missing) > _MOST_NAMED else ""
    raise InputError(
        f"{count - len(found)} of {count} shards are missing: {named}{more}.",
        tip="Run them, or name the folders they are in.",
    )


def merged(shards: Sequence[ShardFile]) -> Scan:
    """What one scan of it all would have come to, timings apart; `shards` as `open_shards` left
    them.

    Neither the model nor the images are needed. InputError for records that are damaged, and
    where a scan would have raised it at its end.
    """
    header = shards[0].header
    model = _stand_in(header.model)
    plan = plan_of(model, header.options)
    dataset = _dataset(header.data)
    task = task_of(model, dataset, plan, header.options)
    records = _records(shards, task.parse, header.data.images)
    task.check(records)
    pictures = [dict(shard.end) for shard in shards]
    more = task.gathered(pictures, records.by_index().readable)
    timings = _timings([shard.end.timings for shard in shards])
    scan = assemble(task, model, dataset, plan, records, header.settings, timings, more)
    mark = scan.result.fingerprint.model_copy(update={"device": header.model.device})
    return replace(scan, result=scan.result.model_copy(update={"fingerprint": mark}))


def _stand_in(facts: ModelFacts) -> Model:
    """A model whose outputs are known by their shape alone, on the CPU."""

    def run(batch: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(batch), *facts.output_shape)

    own = {name: getattr(facts, name) for name in ModelFacts.model_fields}
    del own["output_shape"]
    return Model(**(own | {"run": run, "device": torch.device("cpu")}))


def _dataset(facts: DataFacts) -> Dataset:
    """As many images as there were; where they are, nobody asks."""
    items = Items.of(Path(), map(str, range(facts.images)))
    return Dataset(
        Path(), items, facts.class_names, facts.labelled, "", facts.notes, layout=facts.layout
    )


def _records(
    shards: Sequence[ShardFile], parse: Callable[[str], ImageRecord], images: int
) -> Records[Any]:
    found = Pile[ImageRecord]()
    for shard in shards:
        for line in shard.lines:
            try:
                record = parse(line.decode())
            except (ValueError, TypeError, KeyError):
                raise InputError(f"{shard.path} holds a line that is no record.") from None
            if record.index in found:
                raise InputError(f"{shard.path} holds {record.file}, which another shard holds.")
            found[record.index] = record
    if len(found) != images:
        raise InputError(f"The shards hold {len(found)} of {images} images.")
    return Records.of(found)


def _timings(each: Sequence[Timings]) -> Timings:
    """Of all machines together: their seconds add up."""
    stages = {name for timings in each for name in timings.seconds_by_stage}
    return Timings(
        started=min(timings.started for timings in each),
        seconds=round(sum(timings.seconds for timings in each), 3),
        passes=sum(timings.passes for timings in each),
        seconds_by_stage={
            name: round(sum(timings.seconds_by_stage.get(name, 0.0) for timings in each), 3)
            for name in sorted(stages)
        },
        batch_size=each[0].batch_size,
        workers=each[0].workers,
        resumed=any(timings.resumed for timings in each),
        machine=f"{len(each)} shards, the first on {each[0].machine}",
    )
