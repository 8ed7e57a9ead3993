"""Which image files a folder holds, in an order that every machine agrees on."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from equiaudit.errors import InputError

__all__ = ["EXTENSIONS", "ImageFile", "list_images", "sub_folders"]

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
"""File name endings that count as images, in any case."""

_FOREIGN_FOLDERS = frozenset({"__MACOSX", "__pycache__"})


@dataclass(frozen=True)
class ImageFile:
    """One file: `name` is relative to the listed folder, posix, and always valid UTF-8."""

    name: str
    path: Path
    size: int
    """Bytes; 0 for a link that leads nowhere."""


def list_images(root: Path) -> tuple[ImageFile, ...]:
    """Every image file under `root`, at any depth, sorted by the bytes of its relative name.

    Hidden files and folders are left out. Links are followed, but no folder is entered
    twice, so a loop ends. A link that leads nowhere is listed: reading it will fail, and
    that belongs in the report. InputError where a folder cannot be listed.
    """
    found = (_image_file(root, path) for path in _files(root))
    images = [image for image in found if image is not None]
    return tuple(sorted(images, key=lambda image: os.fsencode(image.path.relative_to(root))))


def sub_folders(root: Path) -> tuple[str, ...]:
    """Names of the folders directly in `root`, hidden ones left out, sorted."""
    return tuple(_printable_name(Path(e.name)) for e in _entries(root) if _is_folder(e))


def _files(root: Path) -> Iterator[Path]:
    pending, entered = [root], {_identity(root)}
    while pending:
        for entry in _entries(pending.pop()):
            path = Path(entry.path)
            if not _is_folder(entry):
                yield path
            elif (identity := _identity(path)) not in entered:
                entered.add(identity)
                pending.append(path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            visible = [e for e in entries if not e.name.startswith(".")]
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be listed: {error.strerror}.") from None
    return sorted(visible, key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir() and entry.name not in _FOREIGN_FOLDERS
    except OSError:  # a link that points at itself
        return False


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _image_file(root: Path, path: Path) -> ImageFile | None:
    if path.suffix.lower() not in EXTENSIONS:
        return None
    try:
        status = path.stat()
    except OSError:
        size = 0
    else:
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device would block its reader
            return None
        size = status.st_size
    return ImageFile(_printable_name(path.relative_to(root)), path, size)


def _printable_name(relative: Path) -> str:
    """Reports are UTF-8, file names need not be: odd bytes are written as ``\\xNN``."""
    return os.fsencode(relative.as_posix()).decode("utf-8", "backslashreplace")
