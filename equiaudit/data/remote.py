"""Files behind a URL, read by fsspec and the driver of the URL's scheme.

A folder is listed once and its files are read whole, by whichever thread asks. What the network
loses is asked for again a few times; then it is a RunError, since an image must not go missing
because a cable did. Only what is wrong with one file (gone, forbidden) is that file's own fault.
No message shows a user name, a password or a query.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any, TypeVar

from equiaudit.errors import EquiauditError, InputError, RunError, first_line

T = TypeVar("T")

_PAUSES = (0.25, 1.0, 4.0)
"""Seconds before each further attempt."""
_OWN_FAULTS = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""Of one file or folder; asking again does not mend them."""
_URL = re.compile(r"([a-z][a-z0-9+.-]*)(::[a-z][a-z0-9+.-]*)*://", re.IGNORECASE)
_USER = re.compile(r"(://)[^/\s'\"]*@")
_QUERY = re.compile(r"([a-z][a-z0-9+.-]*://[^\s?#'\"]*)[?#][^\s'\"]*", re.IGNORECASE)
_DRIVERS = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "hf": "huggingface_hub",
    "az": "adlfs",
    "abfs": "adlfs",
    "http": "aiohttp",
    "https": "aiohttp",
    "sftp": "paramiko",
    "ssh": "paramiko",
}
"""What `pip install` takes for a scheme."""


def is_url(text: str) -> bool:
    """Whether `text` begins as s3://, memory:// or a chain like zip::https:// does."""
    return _URL.match(text) is not None


def without_secrets(text: str) -> str:
    """`text` with what may be secret taken out of its URLs: user, password, query, fragment."""
    return _QUERY.sub(r"\1", _USER.sub(r"\1", text))


class Store:
    """What a URL leads to: a folder with all it holds, or one file.

    Pickled by its URL alone, and opened anew where it arrives.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.shown = re.sub("(?<![:/])/+$", "", without_secrets(url))

    def __getstate__(self) -> dict[str, str]:
        return {"_url": self._url, "shown": self.shown}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Store) and other._url == self._url

    def __hash__(self) -> int:
        return hash(self._url)

    def __repr__(self) -> str:
        return f"Store({self.shown!r})"

    @cached_property
    def files(self) -> dict[str, int]:
        """Every file under the URL, relative, and its bytes (0 where not told): listed once."""
        return {name: size for name, size in self._listed if size is not None}

    @cached_property
    def folders(self) -> frozenset[str]:
        """Every folder under the URL, relative, also those that only file names tell of."""
        stated = {name for name, size in self._listed if size is None}
        return frozenset(stated.union(*(_above(name) for name, _ in self._listed)))

    def forget(self) -> None:
        """Let go of the listing."""
        for name in ("files", "folders", "_listed"):
            vars(self).pop(name, None)

    @cached_property
    def is_there(self) -> bool:
        """Whether there is anything at the URL."""
        return bool(self._listed) or self.answers()

    def answers(self) -> bool:
        """Whether the URL still leads somewhere, asked without any cache."""
        try:
            fs, root = self._connected(skip_instance_cache=True)
            return bool(fs.exists(root))
        except EquiauditError:
            raise
        except Exception:  # a driver raises what it likes
            return False

    def read(self, name: str, most: int) -> bytes:
        """The first `most` bytes of a file; the errors of `_OWN_FAULTS`, or RunError."""

        def whole() -> bytes:
            fs, root = self._opened
            with self._turn, fs.open(_joined(root, name), "rb", cache_type="none") as stream:
                content: bytes = stream.read(most)
            return content

        return self._patiently(whole)

    @cached_property
    def _turn(self) -> AbstractContextManager[Any]:
        """Members of a tar file share one place in it, so they are read one at a time."""
        return Lock() if self._url.lower().startswith("tar:") else nullcontext()

    @cached_property
    def _listed(self) -> list[tuple[str, int | None]]:
        """Names and bytes; None for folders. What is hidden is left out at any depth."""
        try:
            found = self._patiently(self._find)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InputError(
                f"The folder {self.shown} cannot be listed: {first_line(error)}."
            ) from None
        return [entry for entry in found if is_visible(entry[0])]

    def _find(self) -> list[tuple[str, int | None]]:
        fs, root = self._opened
        found: dict[str, dict[str, Any]] = fs.find(root, withdirs=True, detail=True)
        prefix = root.rstrip("/") + "/" if root else ""  # archives are read at their root
        entries = {k: v for k, v in found.items() if k.rstrip("/") != root.rstrip("/")}
        if found and not entries and fs.isfile(root):
            raise InputError(f"{self.shown} is not a folder.", tip="DATA is a folder of images.")
        return [(k.removeprefix(prefix), _size(v)) for k, v in entries.items() if _in(prefix, k)]

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        return self._connected()

    def _connected(self, **how: Any) -> tuple[Any, str]:
        """The file system, and the root as that calls it; InputError where a package lacks."""
        try:
            import fsspec
        except ImportError:
            raise InputError(
                f"{self.shown} is a URL, and fsspec, which reads those, is not installed.",
                tip='Install it: pip install "equiaudit[remote]".',
            ) from None
        scheme = re.split("::|://", self._url)[0].lower()
        try:
            fs, root = fsspec.core.url_to_fs(self._url, **how)
        except ImportError as error:
            tip = f"Install it: pip install {_DRIVERS[scheme]}." if scheme in _DRIVERS else None
            said = without_secrets(first_line(error))
            raise InputError(
                f"{self.shown} cannot be read without the driver for {scheme} ({said}).", tip=tip
            ) from None
        except ValueError as error:
            said = without_secrets(first_line(error))
            raise InputError(f"{self.shown} cannot be opened: {said}.") from None
        return fs, str(root)

    def _patiently(self, work: Callable[[], T]) -> T:
        """`work`, up to four times; RunError where it still fails for other than own faults."""
        said = ""
        for pause in (0.0, *_PAUSES):
            time.sleep(pause)
            try:
                return work()
            except (EquiauditError, MemoryError):
                raise
            except _OWN_FAULTS as error:
                kind = next(kind for kind in _OWN_FAULTS if isinstance(error, kind))
                raise kind(without_secrets(first_line(error))) from None
            except Exception as error:  # each driver has its own kinds of network error
                said = without_secrets(first_line(error))
        raise RunError(
            f"{self.shown} cannot be reached: {said}.",
            tip="What was done before is kept; run again when it is back to continue.",
        )


def _joined(root: str, name: str) -> str:
    return root + name if not name or root.endswith("/") else f"{root}/{name}"


def _in(prefix: str, key: str) -> bool:
    return key.startswith(prefix) and len(key) > len(prefix)


def _size(entry: dict[str, Any]) -> int | None:
    """Bytes of a file, None for a folder."""
    return None if entry.get("type") == "directory" else int(entry.get("size") or 0)


def is_visible(name: str) -> bool:
    """Not hidden; nor does it climb, as a name in a hostile listing may."""
    return all(part and not part.startswith(".") for part in name.rstrip("/").split("/"))


def _above(name: str) -> Iterator[str]:
    """The folders that a name lies in."""
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


@dataclass(frozen=True, slots=True)
class RemotePath:
    """A file or folder behind a URL, with the few methods of `pathlib.Path` that are needed."""

    store: Store
    key: str = ""
    """Relative to the store's URL; empty for that itself."""

    @classmethod
    def of(cls, url: str) -> RemotePath:
        """What `url` leads to; nothing is opened yet."""
        return cls(Store(url))

    def __str__(self) -> str:
        return _joined(self.store.shown, self.key)

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(self.store, f"{self.key}/{name}".lstrip("/"))

    @property
    def name(self) -> str:
        """The last part."""
        return str(self).rpartition("/")[2]

    @property
    def parent(self) -> RemotePath:
        """The folder around it; at the most that of the URL."""
        return RemotePath(self.store, self.key.rpartition("/")[0])

    def absolute(self) -> RemotePath:
        """As it is."""
        return self

    def exists(self) -> bool:
        """Whether the listing holds it, or there is anything at the URL."""
        if not self.key:
            return self.store.is_there
        return self.is_dir() or self.is_file()

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return self.exists() if not self.key else self.key in self.store.folders

    def is_file(self) -> bool:
        """Whether the listing holds it as a file."""
        return self.key in self.store.files

    def files(self) -> Iterator[tuple[str, int]]:
        """Every file in this folder at any depth: its relative name, and its bytes."""
        prefix = f"{self.key}/" if self.key else ""
        for name, size in self.store.files.items():
            if name.startswith(prefix):
                yield name[len(prefix) :], size

    def folders(self) -> tuple[str, ...]:
        """Names of the folders directly in this one, sorted."""
        prefix = f"{self.key}/" if self.key else ""
        inside = (f[len(prefix) :] for f in self.store.folders if f.startswith(prefix))
        return tuple(sorted(name for name in inside if "/" not in name))

    def read(self, most: int) -> bytes:
        """The first `most` bytes.

        FileNotFoundError or PermissionError where that is the file's own fault, RunError where
        it cannot be reached after several attempts.
        """
        return self.store.read(self.key, most)
