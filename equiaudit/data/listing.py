"""Which image files a folder holds, in an order that every machine agrees on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, repeat
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple, overload

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
_Some = tuple[list[str], list[int]]
"""`ImageFile.relative` and `size` of some files."""


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


@dataclass(frozen=True, eq=False)
class Files(Sequence[ImageFile]):
    """Files of the folder `root`: two lists, and an `ImageFile` each as it is asked for."""

    root: Place
    relative: list[str]
    """`ImageFile.relative` of each."""
    sizes: list[int]

    @classmethod
    def of(cls, root: Place, files: Sequence[ImageFile]) -> Files:
        """`files`, whose names are relative to `root`."""
        if isinstance(files, Files):
            return files
        return cls(root, [file.relative for file in files], [file.size for file in files])

    @cached_property
    def names(self) -> list[str]:
        """`ImageFile.name` of each."""
        return self.relative if is_ascii(self.relative) else list(map(printable, self.relative))

    def taken(self, places: Sequence[int]) -> Files:
        """Those at `places`, in that order."""
        return Files(self.root, [self.relative[i] for i in places], [self.sizes[i] for i in places])

    def __len__(self) -> int:
        return len(self.relative)

    @overload
    def __getitem__(self, place: int) -> ImageFile: ...
    @overload
    def __getitem__(self, place: slice) -> Files: ...
    def __getitem__(self, place: int | slice) -> ImageFile | Files:
        if isinstance(place, slice):
            return Files(self.root, self.relative[place], self.sizes[place])
        return ImageFile(self.root, self.relative[place], self.sizes[place])

    def __iter__(self) -> Iterator[ImageFile]:
        return map(ImageFile, repeat(self.root), self.relative, self.sizes)


def list_images(root: Place) -> Files:
    """Every image file under `root`, see `list_files`."""
    return images_of(list_files(root))


def list_files(root: Place) -> Files:
    """Every file under `root`, at any depth, sorted by the bytes of its relative name.

    Hidden files and folders are left out. Links are followed, but no folder is entered
    twice, so a loop ends. A link that leads nowhere is listed: reading it will fail, and
    that belongs in the report. InputError where a folder cannot be listed.
    """
    names: list[str] = []
    sizes: list[int] = []
    for some, theirs in _remote_files(root) if isinstance(root, RemotePath) else _files(root):
        names += some
        sizes += theirs
    keys = names if is_ascii(names) else list(map(os.fsencode, names))
    return Files(root, names, sizes).taken(sorted(range(len(names)), key=keys.__getitem__))


def holds_images(root: Path) -> bool:
    """Whether `list_images` would find any; the first one ends the search."""
    return any(is_image(name) for names, _ in _files(root) for name in names)


def images_of(files: Files) -> Files:
    """The images among files; the arrays among those only where there is nothing else."""
    endings = [name[name.rfind(".") :] for name in files.relative]
    known = {ending: ending.lower() for ending in set(endings)}  # few, of very many files
    wanted = {ending for ending, lower in known.items() if lower in EXTENSIONS - {_ARRAY}}
    wanted = wanted or {ending for ending, lower in known.items() if lower == _ARRAY}
    if len(wanted) == len(known):
        return files
    return files.taken([place for place, ending in enumerate(endings) if ending in wanted])


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


def is_mask(name: str) -> bool:
    """Whether a file name ends as that of an image or a mask."""
    return _ending(name) in MASK_EXTENSIONS


def _ending(name: str) -> str:
    """In lower case; of a visible file, so that no name begins with its ending."""
    return name[name.rfind(".") :].lower()  # of one without, what no ending is called


def _remote_files(root: RemotePath) -> Iterator[_Some]:
    for name, size in root.files():
        if _FOREIGN_FOLDERS.isdisjoint(name.split("/")[:-1]):
            yield [name], [size]


def _files(root: Path) -> Iterator[_Some]:
    """Some at a time, so that a search may end early."""
    pending, entered = [""], {_identity(root)}
    while pending:
        prefix = pending.pop()
        inner: list[str] = []
        try:
            with _opened(root / prefix) as folder, os.scandir(folder) as entries:
                yield from _of_folder(entries, prefix, inner)
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
    entries: Iterable[os.DirEntry[str]], prefix: str, inner: list[str]
) -> Iterator[_Some]:
    """The files of one folder; the folders in it go to `inner`."""
    entries = iter(entries)
    while some := list(islice(entries, _CHUNK)):
        names, sizes = [], []
        for entry in some:
            name = entry.name
            if name[0] == ".":
                continue
            try:
                if entry.is_dir():
                    if name not in _FOREIGN_FOLDERS:
                        inner.append(f"{prefix}{name}/")
                    continue
                status = entry.stat()
                if not S_ISREG(status.st_mode):  # a pipe or a device would block its reader
                    continue
                size = status.st_size
            except OSError:  # a link that leads nowhere, or points at itself
                size = 0
            names.append(prefix + name)
            sizes.append(size)
        yield names, sizes


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
