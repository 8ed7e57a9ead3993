"""Where files are: on disk as `pathlib.Path`, or behind a URL as `RemotePath`."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path

from equiaudit.data.archives import archive_at
from equiaudit.data.arrow import rows_at
from equiaudit.data.remote import RemotePath, is_url

Place = Path | RemotePath
"""A folder that lists its files, or a file that gives its bytes."""

_MOST_TEXT = 1 << 30


def place_of(place: str | Place) -> Place:
    """`place` as it is, a URL opened by fsspec, or a path."""
    if not isinstance(place, str):
        return place
    return RemotePath.of(place) if is_url(place) else Path(place)


def folder_of(place: str | Place) -> Place:
    """`place_of`, or what is in a file on disk: in a zip file, in tar, arrow or parquet shards."""
    found = place_of(place)
    if isinstance(found, RemotePath):
        return found
    return archive_at(found) or rows_at(found) or found


def read_bytes(place: Place, most: int) -> bytes:
    """The first `most` bytes of a file; OSError where it cannot be read."""
    if isinstance(place, RemotePath):
        return place.read(most)
    with place.open("rb") as stream:
        # Python sets aside all it is asked for, so the gigabyte is asked for where it is needed.
        expected = min(most, os.fstat(stream.fileno()).st_size + 1)
        content = stream.read(expected)
        return content + stream.read(most - expected) if len(content) == expected else content


def read_text(place: Place) -> str:
    """A table or list in UTF-8, with or without a byte order mark; its line ends as they are."""
    return read_bytes(place, _MOST_TEXT).decode("utf-8-sig")


def posix_of(place: Place) -> str:
    """An absolute posix path that names from tables can be joined to and compared with.

    That of a URL begins with /scheme:/, so that it is no path of this machine.
    """
    if isinstance(place, RemotePath):
        return posixpath.normpath(f"/{place}")
    return Path(os.path.abspath(place)).as_posix()  # `resolve` would undo links to image folders


def is_lost(folder: Place) -> bool:
    """Whether a folder is gone, or empty as a mount point is."""
    if isinstance(folder, RemotePath):
        return not folder.store.answers()
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is None
    except OSError:
        return True


def let_go(folder: Place) -> None:
    """Free what a remote folder listed: it is opened, and its files are known."""
    if isinstance(folder, RemotePath):
        folder.store.forget()


def tables_in(folder: Place) -> list[str]:
    """Names of the CSV files directly in a folder, sorted."""
    if isinstance(folder, RemotePath):
        return sorted(n for n, _ in folder.files() if n.endswith(".csv") and "/" not in n)
    return sorted(path.name for path in folder.glob("*.csv"))
