"""A file system in memory whose network fails as a test says: shaky://..."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem


def _never(path: str) -> None:
    """No fault."""


class Shaky(MemoryFileSystem):
    """`fault` is called with the path before each opening or listing, and may raise."""

    protocol = "shaky"
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    fault: ClassVar[Callable[[str], None]] = staticmethod(_never)
    opened: ClassVar[list[str]] = []
    asked: ClassVar[list[int]] = []

    @classmethod
    def _strip_protocol(cls, path):
        """Without user, password and query, as drivers do."""
        plain = re.sub(r"^shaky://([^/@]*@)?", "memory://", path).partition("?")[0]
        return super()._strip_protocol(plain)

    def open(self, path, mode="rb", **how):
        if "r" in mode:
            type(self).opened.append(path)
            type(self).fault(path)
        stream = super().open(path, mode, **how)
        return _Counting(stream) if "r" in mode else stream

    def find(self, path, **how):
        type(self).fault(path)
        return super().find(path, **how)

    def exists(self, path, **how):
        type(self).fault(path)
        return super().exists(path, **how)


class _Counting:
    """Notes how many bytes are asked for."""

    def __init__(self, stream):
        self._stream = stream

    def read(self, most=-1):
        Shaky.asked.append(most)
        return self._stream.read(most)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def install() -> None:
    """Know the scheme, and forget what earlier tests left."""
    fsspec.register_implementation("shaky", Shaky, clobber=True)
    Shaky.store.clear()
    Shaky.pseudo_dirs[:] = [""]
    Shaky.fault = staticmethod(_never)
    Shaky.opened, Shaky.asked = [], []


def upload(folder: Path, url: str) -> str:
    """Copy `folder` to `url`, empty folders too; returns `url`."""
    fs, root = fsspec.core.url_to_fs(url)
    fs.makedirs(root, exist_ok=True)
    for path in sorted(folder.rglob("*")):
        name = f"{root}/{path.relative_to(folder).as_posix()}"
        if path.is_dir():
            fs.makedirs(name, exist_ok=True)
        else:
            fs.pipe(name, path.read_bytes())
    return url
