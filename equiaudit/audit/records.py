"""What is kept per image, and the journal that lets an interrupted run continue."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from equiaudit.errors import InputError, RunError

__all__ = ["NONFINITE", "ImageRecord", "Journal", "SeriesRecord"]

NONFINITE = -1
"""The label of an output that holds NaN or infinity."""


@dataclass(frozen=True)
class SeriesRecord:
    """One image under one series: the label at each of its K offsets, in plan order."""

    predicted: tuple[int, ...]
    wobble: float
    logit_error: float


@dataclass(frozen=True)
class ImageRecord:
    """One image: unshifted label and its probability, and every series; or why it has none."""

    index: int
    file: str
    label: int | None
    sha256: str
    clean: int = NONFINITE
    confidence: float = 0.0
    series: dict[str, SeriesRecord] | None = None
    aligned: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    """What decoding had to say about the file."""
    unreadable: str | None = None

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> Self:
        """The inverse of `to_json`; ValueError or TypeError on a damaged line."""
        data: dict[str, Any] = json.loads(line)
        series = data.pop("series")
        if series is not None:
            series = {
                name: SeriesRecord(tuple(s["predicted"]), s["wobble"], s["logit_error"])
                for name, s in series.items()
            }
        tuples = {name: tuple(data[name]) for name in ("aligned", "notes")}
        return cls(**{**data, **tuples}, series=series)


class Journal:
    """Finished images, one JSON line each, appended block by block and synced to disk.

    The file name carries the run's key, so a run with other settings never reads it. A
    line cut short by a kill is dropped, and so is everything after it.
    """

    def __init__(self, folder: Path | None, key: str, *, resume: bool) -> None:
        self.records: dict[int, ImageRecord] = {}
        self.path = None if folder is None else folder / f"partial-{key[:16]}.jsonl"
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab"):
                pass
            os.truncate(self.path, self._read() if resume else 0)
        except OSError as error:
            raise InputError(
                f"Cannot write to {self.path.parent}: {error.strerror or error}.",
                tip="Give a folder that can be written with -o.",
            ) from error

    def _read(self) -> int:
        """Take up every whole line; returns the bytes that were sound."""
        sound = 0
        for line in self.path.read_bytes().splitlines(keepends=True) if self.path else ():
            try:
                record = ImageRecord.from_json(line.decode())
            except (ValueError, TypeError, KeyError):
                break
            if not line.endswith(b"\n"):
                break
            self.records[record.index] = record
            sound += len(line)
        return sound

    def append(self, records: Iterable[ImageRecord]) -> None:
        """Keep a finished block: on disk before this returns."""
        block = list(records)
        self.records.update((record.index, record) for record in block)
        if self.path is None:
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write("".join(record.to_json() + "\n" for record in block))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(
                f"Cannot write to {self.path.parent}: {error.strerror or error}.",
                tip="What was done before is kept; make room and run again to continue.",
            ) from error

    def discard(self) -> None:
        """Remove the file: the result is written, or the run must not be continued."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
