"""Zip files and tar shards on disk, read as folders: nothing is unpacked.

Several tar files of one folder are one data set, each a folder of its own name. A member's bytes
are read from its place in the file, by whichever thread asks.
"""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from equiaudit.data.remote import RemotePath, Store, is_visible
from equiaudit.errors import InputError, first_line

_SUFFIXES = (".zip", ".tar")
_PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".7z", ".rar")


def archive_at(path: Path) -> RemotePath | None:
    """What an archive, or a folder of nothing but tar shards, holds; None for anything else.

    InputError for archives that are packed as a whole, as nothing in them has a place.
    """
    name = path.name.lower()
    if name.endswith(_PACKED) and path.is_file():
        raise InputError(
            f"{path} is compressed as a whole, so single images cannot be read from it.",
            tip="Unpack it, or make it a .zip or a plain .tar.",
        )
    if name.endswith(_SUFFIXES) and path.is_file():
        return RemotePath(Archives((path,)))
    shards = _shards(path)
    return RemotePath(Archives(shards)) if shards else None


def _shards(folder: Path) -> tuple[Path, ...]:
    """The tar files of a folder that holds no folders and no other data."""
    try:
        files = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError:
        return ()
    tars = sorted(path for path in files if path.name.lower().endswith(".tar"))
    others = {path.suffix.lower() for path in files} - {".tar", ".json", ".idx", ".txt", ".md"}
    return () if others else tuple(tars)


class Archives(Store):
    """The members of one archive, or of several in folders of their own."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        super().__init__(str(paths[0] if len(paths) == 1 else paths[0].parent))

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_paths": self._paths}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Archives) and other._paths == self._paths

    def __hash__(self) -> int:
        return hash(self._paths)

    def answers(self) -> bool:
        """Whether all archives are there."""
        return all(path.is_file() for path in self._paths)

    def read(self, name: str, most: int) -> bytes:
        """The first `most` bytes of a member; FileNotFoundError where there is none."""
        if name not in self._members:
            raise FileNotFoundError(name)
        path, offset, size = self._members[name]
        if offset is None:
            with self._zip.open(name) as stream:
                return stream.read(most)
        with path.open("rb") as stream:
            stream.seek(offset)
            return stream.read(min(most, size))

    @cached_property
    def _listed(self) -> list[tuple[str, int | None]]:
        return [(name, size) for name, (_, _, size) in self._members.items()]

    @cached_property
    def _members(self) -> dict[str, tuple[Path, int | None, int]]:
        """Name -> archive, where in it, None where that is for zipfile to know, and bytes."""
        found: dict[str, tuple[Path, int | None, int]] = {}
        for path in self._paths:
            prefix = f"{path.stem}/" if len(self._paths) > 1 else ""
            try:
                for name, offset, size in self._of(path):
                    if is_visible(name):
                        found[prefix + name] = (path, offset, size)
            except (tarfile.TarError, zipfile.BadZipFile, OSError, ValueError) as error:
                raise InputError(f"{path} cannot be read: {first_line(error)}.") from None
        return found

    def _of(self, path: Path) -> Iterator[tuple[str, int | None, int]]:
        if path.name.lower().endswith(".zip"):
            for entry in self._zip.infolist():
                if not entry.is_dir():
                    yield entry.filename, None, entry.file_size
            return
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.isreg() and not member.issparse():
                    yield member.name.removeprefix("./"), member.offset_data, member.size

    @cached_property
    def _zip(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(self._paths[0])
