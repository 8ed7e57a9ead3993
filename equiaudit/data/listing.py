"""Which image files a folder holds, in an order that every machine agrees on."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

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

_FOREIGN_FOLDERS = frozenset({"__MACOSX", "__pycache__"})


@dataclass(frozen=True, slots=True)
class ImageFile:
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
    found = _listed(root, is_image)
    return without_arrays(found)


def list_files(root: Place) -> tuple[ImageFile, ...]:
    """Every file under `root`, at any depth, sorted by the bytes of its relative name.

    Hidden files and folders are left out. Links are followed, but no folder is entered
    twice, so a loop ends. A link that leads nowhere is listed: reading it will fail, and
    that belongs in the report. InputError where a folder cannot be listed.
    """
    return _listed(root, lambda name: True)


def holds_images(root: Path) -> bool:
    """Whether `list_images` would find any; the first one ends the search."""
    return next(_files(root, is_image), None) is not None


def _listed(root: Place, wanted: Callable[[str], bool]) -> tuple[ImageFile, ...]:
    found = _remote_files(root, wanted) if isinstance(root, RemotePath) else _files(root, wanted)
    files = (ImageFile(root, *file) for file in found)
    return tuple(sorted(files, key=lambda file: os.fsencode(file.relative)))


def without_arrays(images: Sequence[ImageFile]) -> tuple[ImageFile, ...]:
    """Images, or the arrays among them where there is nothing else."""
    others = tuple(image for image in images if not image.relative.lower().endswith(_ARRAY))
    return others or tuple(images)


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


def is_mask(name: str) -> bool:
    """Whether a file name ends as that of an image or a mask."""
    return _ending(name) in MASK_EXTENSIONS


def _ending(name: str) -> str:
    """In lower case; of a visible file, so that no name begins with its ending."""
    return name[place:].lower() if (place := name.rfind(".")) > name.rfind("/") else ""


def _remote_files(root: RemotePath, wanted: Callable[[str], bool]) -> Iterator[tuple[str, int]]:
    for name, size in root.files():
        if wanted(name) and _FOREIGN_FOLDERS.isdisjoint(name.split("/")[:-1]):
            yield name, size


def _files(root: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, int]]:
    """Relative name and size of what is wanted; a folder's entries are not kept together."""
    pending, entered = [""], {_identity(root)}
    while pending:
        prefix = pending.pop()
        inner = []
        for entry in _entries(root / prefix):
            if _is_folder(entry):
                inner.append(f"{prefix}{entry.name}/")
            elif wanted(entry.name) and (size := _size(entry)) is not None:
                yield prefix + entry.name, size
        for folder in sorted(inner):
            if (identity := _identity(root / folder)) not in entered:
                entered.add(identity)
                pending.append(folder)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be listed: {error.strerror}.") from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir() and entry.name not in _FOREIGN_FOLDERS
    except OSError:  # a link that points at itself
        return False


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _size(entry: os.DirEntry[str]) -> int | None:
    """Bytes; None for what is no file: a pipe or a device would block its reader."""
    try:
        status = entry.stat()
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else None
