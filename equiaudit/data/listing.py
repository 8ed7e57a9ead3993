"""Which image files a folder holds, in an order that every machine agrees on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from operator import attrgetter
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

from equiaudit.data.places import Place
from equiaudit.data.remote import RemotePath
from equiaudit.errors import InputError

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".avif"}
    | {".jp2", ".j2k", ".jpx", ".dcm", ".dicom", ".npy"}
)
"""File name endings that count as images, in any case."""
_ARRAY = ".npy"
"""Counts where there is no other image: beside some, it holds features or a mask."""

MASK_EXTENSIONS = EXTENSIONS | {".gif", ".npy"}
"""Those of masks."""

_CHUNK = 1024
_FOREIGN_FOLDERS = frozenset({"__MACOSX", "__pycache__"})


class ImageFile(NamedTuple):
    """One file of the folder `root`, of which there may be very many."""

    root: Place
    relative: str
    """As the file system calls it, posix."""
    size: int
    """Bytes; 0 for a link that leads nowhere, or where a remote listing does not say."""

    @property
    def name(self) -> str:
        """`relative` as valid UTF-8."""
        return printable(self.relative)

    @property
    def path(self) -> Place:
        """Where it is."""
        return self.root / self.relative

    def below(self, base: str) -> ImageFile:
        """The same file, named without `base`, with which `relative` begins ("images/")."""
        if not base:
            return self
        return ImageFile(self.root / base[:-1], self.relative[len(base) :], self.size)


def list_images(root: Place) -> tuple[ImageFile, ...]:
    """Every image file under `root`, see `list_files`."""
    return images_of(list_files(root))


def list_files(root: Place) -> tuple[ImageFile, ...]:
    """Every file under `root`, at any depth, sorted by the bytes of its relative name.

    Hidden files and folders are left out. Links are followed, but no folder is entered
    twice, so a loop ends. A link that leads nowhere is listed: reading it will fail, and
    that belongs in the report. InputError where a folder cannot be listed.
    """
    chunks = _remote_files(root) if isinstance(root, RemotePath) else _files(root)
    files = list(chain.from_iterable(chunks))
    if is_ascii([file.relative for file in files]):
        files.sort(key=attrgetter("relative"))
    else:
        files.sort(key=lambda file: os.fsencode(file.relative))
    return tuple(files)


def holds_images(root: Path) -> bool:
    """Whether `list_images` would find any; the first one ends the search."""
    return any(is_image(file.relative) for file in chain.from_iterable(_files(root)))


def images_of(files: Sequence[ImageFile]) -> tuple[ImageFile, ...]:
    """The images among files; the arrays among those only where there is nothing else."""
    endings = [name[name.rfind(".") :] for name in [file.relative for file in files]]
    known = {ending: ending.lower() for ending in set(endings)}  # few, of very many files
    wanted = {ending for ending, lower in known.items() if lower in EXTENSIONS - {_ARRAY}}
    wanted = wanted or {ending for ending, lower in known.items() if lower == _ARRAY}
    if len(wanted) == len(known):
        return tuple(files)
    return tuple([f for f, ending in zip(files, endings, strict=True) if ending in wanted])


def is_image(name: str) -> bool:
    """Whether a file name ends as that of an image."""
    return _ending(name) in EXTENSIONS


def sub_folders(root: Place) -> tuple[str, ...]:
    """Names of the folders directly in `root`, hidden ones left out, sorted."""
    if isinstance(root, RemotePath):
        return tuple(name for name in root.folders() if name not in _FOREIGN_FOLDERS)
    return tuple(sorted(printable(e.name) for e in _entries(root) if _is_folder(e)))


def printable(name: str) -> str:
    """Reports are UTF-8, file names need not be: odd bytes are written as ``\\xNN``."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")


def is_ascii(names: Iterable[str]) -> bool:
    """Whether all are, so that they are printable and sort as their bytes do."""
    return "".join(names).isascii()


def names_of(files: Iterable[ImageFile]) -> list[str]:
    """`ImageFile.name` of many."""
    found = [file.relative for file in files]
    return found if is_ascii(found) else list(map(printable, found))


def is_mask(name: str) -> bool:
    """Whether a file name ends as that of an image or a mask."""
    return _ending(name) in MASK_EXTENSIONS


def _ending(name: str) -> str:
    """In lower case; of a visible file, so that no name begins with its ending."""
    return name[name.rfind(".") :].lower()  # of one without, what no ending is called


def _remote_files(root: RemotePath) -> Iterator[list[ImageFile]]:
    yield [
        ImageFile(root, name, size)
        for name, size in root.files()
        if _FOREIGN_FOLDERS.isdisjoint(name.split("/")[:-1])
    ]


def _files(root: Path) -> Iterator[list[ImageFile]]:
    """Some at a time, so that a search may end early."""
    pending, entered = [""], {_identity(root)}
    while pending:
        prefix = pending.pop()
        inner: list[str] = []
        try:
            with _opened(root / prefix) as folder, os.scandir(folder) as entries:
                yield from _of_folder(entries, root, prefix, inner)
        except OSError as error:
            raise _unlisted(root / prefix, error) from None
        for name in sorted(inner, reverse=True):  # the first is taken next
            if (identity := _identity(root / name)) not in entered:
                entered.add(identity)
                pending.append(name)


@contextmanager
def _opened(folder: Path) -> Iterator[Path | int]:
    """What a folder is listed by: where the system can, opened, so that its path is found once."""
    if os.scandir not in os.supports_fd:
        yield folder
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def _of_folder(
    entries: Iterable[os.DirEntry[str]], root: Path, prefix: str, inner: list[str]
) -> Iterator[list[ImageFile]]:
    """The files of one folder; the folders in it go to `inner`."""
    files: list[ImageFile] = []
    for entry in entries:
        name = entry.name
        if name[0] == ".":
            continue
        try:
            if entry.is_dir():
                if name not in _FOREIGN_FOLDERS:
                    inner.append(f"{prefix}{name}/")
                continue
            status = entry.stat()
        except OSError:  # a link that leads nowhere, or points at itself
            files.append(ImageFile(root, prefix + name, 0))
            continue
        if S_ISREG(status.st_mode):  # a pipe or a device would block its reader
            files.append(ImageFile(root, prefix + name, status.st_size))
        if len(files) == _CHUNK:
            yield files
            files = []
    yield files


def _unlisted(folder: Path, error: OSError) -> InputError:
    return InputError(f"The folder {folder} cannot be listed: {error.strerror}.")


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise _unlisted(folder, error) from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir() and entry.name not in _FOREIGN_FOLDERS
    except OSError:  # a link that points at itself
        return False


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino
