"""The formats by name, and the files of an output folder."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

from equiaudit.errors import InputError, RunError
from equiaudit.formats import FORMATS
from equiaudit.report.options import Options
from equiaudit.results import Result

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EIO}


def render(result: Result, format: str, *, images: bool = True, strict: bool = False) -> str:
    """`result` as one document in `format`, a key of `FORMATS`.

    `images=False` leaves the thumbnails out of html; `strict` makes an inconclusive gate a
    failure in junit and an error in github. InputError names the formats if `format` is none.
    """
    try:
        chosen = FORMATS[format]
    except KeyError:
        near = get_close_matches(format, FORMATS, n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        tip = f"{hint}The formats are {', '.join(FORMATS)}."
        raise InputError(f"There is no format {format!r}.", tip=tip) from None
    return chosen.render(result, Options(images=images, strict=strict))


def write_reports(
    result: Result,
    folder: str | Path,
    *,
    samples_csv: str | Iterable[str] | None = None,
    images: bool = True,
) -> tuple[Path, ...]:
    """Write result.json, report.md, report.html and, if its text is given, samples.csv.

    That text may come in pieces, written as they come; all else is rendered first. Each file
    is written beside its place and renamed, so that none is ever seen half-written. The folder
    is made where it is missing. Returns the paths. InputError names a folder that cannot be
    written, RunError one that is full.
    """
    texts: dict[str, str | Iterable[str]] = {
        "result.json": render(result, "json"),
        "report.md": render(result, "md"),
        "report.html": render(result, "html", images=images),
    }
    if samples_csv is not None:
        texts["samples.csv"] = samples_csv
    return write_files(Path(folder), texts)


def record_baseline(
    result: Result, samples_csv: str | Iterable[str] | None, path: str | Path
) -> tuple[Path, ...]:
    """Keep `result` at `path` and its samples.csv beside it, for later runs to be held against.

    It is kept small, since baselines are kept in repositories and caches: figures, gates and
    fingerprint, without the least stable images, pictures and spaces.
    """
    path = Path(path)
    figures = json.loads(render(_without_images(result), "json"))
    texts: dict[str, str | Iterable[str]] = {
        path.name: json.dumps(figures, separators=(",", ":"), allow_nan=False) + "\n"
    }
    if samples_csv is not None:
        texts["samples.csv"] = samples_csv
    return write_files(path.parent, texts)


def _without_images(result: Result) -> Result:
    shifts = {
        kind: shift
        if shift.dense is None
        else shift.model_copy(update={"dense": shift.dense.model_copy(update={"heat_maps": ()})})
        for kind, shift in result.shifts.items()
    }
    return result.model_copy(
        update={"shifts": shifts, "worst": (), "examples": (), "box_examples": ()}
    )


def write_files(folder: Path, texts: Mapping[str, str | Iterable[str]]) -> tuple[Path, ...]:
    """Write each text, whole or in pieces, as UTF-8, to the file of its name in `folder`.

    It is written beside that file and renamed. InputError for a folder that cannot be
    written, RunError for a disk that is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tuple(_replace(folder / name, text) for name, text in texts.items())
    except OSError as error:
        kind = RunError if error.errno in _FULL else InputError
        raise kind(
            f"The reports cannot be written to {folder}: {error.strerror or error}.",
            tip="Name another folder with -o.",
        ) from error


def _replace(path: Path, text: str | Iterable[str]) -> Path:
    """Write `text` as UTF-8 beside `path` and rename it there; nothing is left on failure."""
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.writelines([text] if isinstance(text, str) else text)
        os.chmod(beside, 0o666 & ~_umask())
        os.replace(beside, path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    return path


def _umask() -> int:
    """The process's file mode mask; it can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
