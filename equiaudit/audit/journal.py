"""The journal that lets an interrupted run continue."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from equiaudit.audit.records import ImageRecord
from equiaudit.audit.shelf import Pile, Shelf
from equiaudit.errors import InputError, RunError

R = TypeVar("R", bound=ImageRecord)


def has_records(folder: Path, key: str) -> bool:
    """Whether a run of that key left something to continue in `folder`."""
    path = _path(folder, key)
    return path.is_file() and path.stat().st_size > 0


def _path(folder: Path, key: str) -> Path:
    return folder / f"partial-{key[:16]}.jsonl"


class Journal(Generic[R]):
    """Finished images, one JSON line each, appended block by block and synced to disk.

    The file name carries the run's key, so a run with other settings never reads it. A
    line cut short by a kill is dropped, and so is everything after it.
    """

    def __init__(
        self,
        folder: Path | None,
        key: str,
        parse: Callable[[str], R],
        *,
        resume: bool,
        shelf: Shelf[R] | None = None,
    ) -> None:
        self.records: Shelf[R] = Pile() if shelf is None else shelf
        self._parse = parse
        self.path = None if folder is None else _path(folder, key)
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
        for line in self._lines():
            if not line.endswith(b"\n"):
                break
            try:
                record = self._parse(line.decode())
                self.records[record.index] = record
            except Exception:  # what is no record of this run raises nearly anything
                break
            sound += len(line)
        return sound

    def _lines(self) -> Iterator[bytes]:
        if self.path is not None:
            with self.path.open("rb") as file:
                yield from file

    def append(self, records: Iterable[R]) -> None:
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
