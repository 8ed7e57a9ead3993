"""Zip files and tar shards on disk, read as folders.

Several tar files of one folder are one data set, each a folder of its own name. A member's bytes
are read from its place in the file, by whichever thread asks. In a tar file that is compressed as a
whole nothing has a place, so it is decompressed to a temporary file, which goes with the process.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import IO, Any

from equiaudit.data.remote import RemotePath, Store, is_visible
from equiaudit.errors import InputError, first_line

_PACKED: dict[str, Callable[[Path], Any]] = {
    ".tar.gz": gzip.open,
    ".tgz": gzip.open,
    ".tar.bz2": bz2.open,
    ".tar.xz": lzma.open,
}
_TARS = (".tar", *_PACKED)
_UNREAD = (".tar.zst", ".7z", ".rar")
_CHUNK = 1 << 20
_LEAST_FREE = 1 << 28
"""Bytes that are left on the disk of temporary files."""
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, OSError, ValueError, EOFError, lzma.LZMAError)
_BESIDE = {".json", ".idx", ".txt", ".md"}
"""Endings of what may lie beside shards."""


def archive_at(path: Path) -> RemotePath | None:
    """What an archive, or a folder of nothing but tar shards, holds; None for anything else.

    InputError for archives of a kind that is not read.
    """
    name = path.name.lower()
    if name.endswith(_UNREAD) and path.is_file():
        raise InputError(
            f"{path} is an archive of a kind that is not read.",
            tip="Unpack it, or make it a .zip, a .tar or a .tar.gz.",
        )
    if name.endswith((".zip", *_TARS)) and path.is_file():
        return RemotePath(Archives((path,)))
    shards = _shards(path)
    return RemotePath(Archives(shards)) if shards else None


def _shards(folder: Path) -> tuple[Path, ...]:
    """The tar files of a folder that holds no folders and no other data."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name.lower()
                if name.endswith(_TARS):
                    found.append(entry.name)
                elif not name.startswith(".") and os.path.splitext(name)[1] not in _BESIDE:
                    return ()
    except OSError:
        return ()
    return tuple(folder / name for name in sorted(found))


def _stem(path: Path) -> str:
    ending = next(e for e in (".zip", *_TARS) if path.name.lower().endswith(e))
    return path.name[: -len(ending)]


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
        if path in self._plain:
            with self._turn_of:
                self._plain[path].seek(offset)
                return self._plain[path].read(min(most, size))
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
            prefix = f"{_stem(path)}/" if len(self._paths) > 1 else ""
            try:
                for name, offset, size in self._of(path):
                    if is_visible(name):
                        found[prefix + name] = (path, offset, size)
            except _DAMAGE as error:
                raise InputError(f"{path} cannot be read: {first_line(error)}.") from None
        return found

    def _of(self, path: Path) -> Iterator[tuple[str, int | None, int]]:
        if path.name.lower().endswith(".zip"):
            for entry in self._zip.infolist():
                if not entry.is_dir():
                    yield entry.filename, None, entry.file_size
            return
        with tarfile.open(path, "r:", self._decompressed(path)) as tar:
            for member in tar:
                if member.isreg() and not member.issparse():
                    yield member.name.removeprefix("./"), member.offset_data, member.size

    def _decompressed(self, path: Path) -> IO[bytes] | None:
        """What is in a tar file that is compressed as a whole; None of another."""
        opener = next((o for e, o in _PACKED.items() if path.name.lower().endswith(e)), None)
        if opener is None:
            return None
        plain = self._plain[path] = tempfile.TemporaryFile()  # noqa: SIM115
        with opener(path) as packed:
            while chunk := packed.read(_CHUNK):
                if shutil.disk_usage(tempfile.gettempdir()).free < _LEAST_FREE + len(chunk):
                    raise InputError(
                        f"{path} does not fit into {tempfile.gettempdir()} when decompressed.",
                        tip="Unpack it elsewhere, or set TMPDIR to a larger disk.",
                    )
                plain.write(chunk)
        plain.seek(0)
        return plain

    @cached_property
    def _plain(self) -> dict[Path, IO[bytes]]:
        """Decompressed files."""
        return {}

    @cached_property
    def _turn_of(self) -> Lock:
        """They have one place each."""
        return Lock()

    @cached_property
    def _zip(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(self._paths[0])
