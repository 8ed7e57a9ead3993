"""What a shard leaves: one file with all that `merge` needs, which is neither model nor images.

A header line says which scan it is a part of, one line per image follows, and the last line
says how it went and holds pictures of the images that a result may show: the least stable of
the whole are among the least stable of their shard.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from equiaudit.audit.options import ScanOptions
from equiaudit.audit.records import ImageRecord
from equiaudit.errors import InputError, RunError
from equiaudit.models.types import ModelKind, Preprocess
from equiaudit.results import BoxExample, DenseExample, ReceptiveField, Timings, WorstImage


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelFacts(_Frozen):
    """The fields of a `Model` that a result is made from."""

    name: str
    kind: ModelKind
    preprocess: Preprocess
    task: str
    device: str
    sha256: str
    backend: str
    outputs_probabilities: bool
    outputs_labels: bool = False
    threshold: float | None = None
    num_classes: int | None
    class_names: tuple[str, ...] | None
    total_stride: tuple[int, int] | None
    trusted: bool
    reading: str = ""
    detector: dict[str, Any] = Field(default_factory=dict)
    points: int = 0
    masks: bool = False
    notes: tuple[str, ...]
    output_shape: tuple[int, ...]
    """Of one output: (classes,), (C, h, w)."""


class DataFacts(_Frozen):
    """The fields of a `Dataset` that a result is made from."""

    images: int
    layout: str
    class_names: dict[int, str]
    labelled: bool
    notes: tuple[str, ...]


class Header(_Frozen):
    """The first line: of which scan this is a part."""

    equiaudit_shard: Literal[1] = 1
    tool_version: str
    key: str
    """Equal for shards of one scan: model, data, preprocessing, shifts, backend and batch."""
    number: Annotated[int, Field(ge=1)]
    count: Annotated[int, Field(ge=1)]
    options: ScanOptions
    settings: dict[str, Any]
    """As the result names them."""
    gates: tuple[str, ...]
    model: ModelFacts
    data: DataFacts


class End(_Frozen):
    """The last line: the file is complete."""

    records: int
    records_sha256: str
    """Of the lines between the first and the last, line ends included."""
    timings: Timings
    worst: tuple[WorstImage, ...] = ()
    examples: tuple[DenseExample, ...] = ()
    box_examples: tuple[BoxExample, ...] = ()
    receptive_field: ReceptiveField | None = None
    warnings: tuple[str, ...] = ()
    """Of its own images; those of the whole are found anew."""


@dataclass(frozen=True)
class ShardFile:
    """One shard as it was read; each line of `lines` is a record."""

    path: Path
    header: Header
    lines: tuple[bytes, ...]
    end: End


def write_shard(
    path: Path,
    header: Header,
    records: Iterable[ImageRecord],
    timings: Timings,
    pictures: dict[str, Any],
) -> None:
    """Write the file beside its place and rename it; RunError where that cannot be done."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    digest, count = hashlib.sha256(), 0
    try:
        with beside.open("wb") as file:
            file.write(_line(header))
            for record in records:
                line = record.to_json().encode() + b"\n"
                digest.update(line)
                file.write(line)
                count += 1
            end = End(records=count, records_sha256=digest.hexdigest(), timings=timings, **pictures)
            file.write(_line(end))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise RunError(
            f"The shard cannot be written to {path}: {error.strerror or error}.",
            tip="What was done is kept; make room and run again to continue.",
        ) from error


def read_shard(path: Path) -> ShardFile:
    """Read a shard; InputError where the file is none, is damaged or is not complete."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise InputError(f"The shard {path} cannot be read: {error.strerror or error}.") from None
    header = _header(path, lines[0] if lines else b"")
    records = tuple(lines[1:-1])
    end = _end(path, lines[-1])
    if len(records) != end.records or _sha256(records) != end.records_sha256:
        raise InputError(
            f"{path} is damaged: its lines are not those that were written.",
            tip="Run that shard again.",
        )
    return ShardFile(path, header, records, end)


def _header(path: Path, line: bytes) -> Header:
    try:
        return Header.model_validate_json(line)
    except ValidationError:
        raise InputError(
            f"{path} is no shard of a scan that this version reads.",
            tip="Shards are written by equiaudit scan --shard I/N.",
        ) from None


def _end(path: Path, line: bytes) -> End:
    try:
        return End.model_validate_json(line)
    except ValidationError:
        raise InputError(
            f"{path} is not complete: its last line is missing.", tip="Run that shard again."
        ) from None


def _sha256(lines: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line)
    return digest.hexdigest()


def _line(value: BaseModel) -> bytes:
    return json.dumps(value.model_dump(mode="json"), separators=(",", ":")).encode() + b"\n"


def find_shards(sources: Sequence[Path]) -> Iterator[Path]:
    """The shard files among `sources`: files as they are, and those in folders."""
    for source in sources:
        if not source.is_dir():
            yield source
            continue
        found = sorted(source.glob("shard-*-of-*.jsonl"))
        if not found:
            raise InputError(
                f"There are no shards in {source}.",
                tip="equiaudit scan --shard I/N -o DIR writes them.",
            )
        yield from found
