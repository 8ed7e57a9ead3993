"""Data sets as the `datasets` library of Hugging Face keeps them, read as folders of images.

`save_to_disk` leaves arrow streams, the hub parquet shards; in both a row holds the bytes of an
image, and what is known of it in further columns. Nothing is unpacked: an image is looked up in its
row when it is asked for.
"""

from __future__ import annotations

import json
import os
import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any

from equiaudit.data.remote import RemotePath, Store
from equiaudit.errors import InputError, first_line

_ENDINGS = (".arrow", ".parquet")
_SHARD = re.compile(
    r"(?:^|[-_.])(?:data|train|training|val|valid|validation|test|testing)(?:[-_.]|$)|^\d{4,}$"
    r"|-\d{5}-of-\d{5}$"
)
_BESIDE = {".json", ".md", ".txt", ".yaml", ".yml", ".py", ""}
"""Endings of what else lies in such a folder."""
_MOST_FOLDERS, _DEEPEST = 16, 3
_KEPT = 4
"""Row groups of parquet that are held."""
_MASKS = "masks/"
_LIST = re.compile(r"(?:large_|fixed_size_)?list<")
_IMAGES = ("image", "img", "images", "photo", "picture", "pixel_values", "jpg", "png", "webp")
_ENDINGS_OF = ((b"\x89PNG", ".png"), (b"\xff\xd8", ".jpg"), (b"RIFF", ".webp"), (b"GIF8", ".gif"))
"""How files of a kind begin; others are called .tif, and read by their content."""


def rows_at(path: Path) -> RemotePath | None:
    """What the shards at `path` hold: one of them, or a folder of nothing else; else None."""
    if path.suffix.lower() in _ENDINGS and path.is_file():
        return RemotePath(ArrowRows(path.parent, (path.name,), str(path)))
    if not path.is_dir():
        return None
    folder = _snapshot(path) or path
    shards = tuple(sorted(_shards(folder, 0) or ()))
    return RemotePath(ArrowRows(folder, shards, str(path))) if shards else None


def _snapshot(folder: Path) -> Path | None:
    """What a folder of the hub's cache has checked out."""
    main = folder / "refs" / "main"
    if not main.is_file():
        return None
    found = folder / "snapshots" / main.read_text(errors="replace").strip()[:64]
    return found if found.is_dir() else None


def _shards(folder: Path, depth: int) -> list[str] | None:
    """Names of shards relative to `folder`; None where other data lies among them."""
    files, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                ending = os.path.splitext(entry.name)[1].lower()
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append(entry.name)
                elif ending in _ENDINGS and _SHARD.search(entry.name[: -len(ending)]):
                    files.append(entry.name)
                elif ending not in _BESIDE:
                    return None
    except OSError:
        return None
    if len(folders) > _MOST_FOLDERS or (folders and depth == _DEEPEST):
        return None
    for name in folders:
        inner = _shards(folder / name, depth + 1)
        if inner is None:
            return None
        files += [f"{name}/{shard}" for shard in inner]
    return files


@dataclass(frozen=True)
class Column:
    """A column beside the images."""

    name: str
    kind: str
    """That of the feature ("ClassLabel", "Image"), or the type of its values."""
    classes: tuple[str, ...] = ()
    several: bool = False
    """A cell holds a list of them."""


class ArrowRows(Store):
    """The images of arrow and parquet shards, one called SHARD/ROW.png; masks apart.

    The size that is listed for an image is that of its shard.
    """

    def __init__(self, folder: Path, shards: Sequence[str], shown: str) -> None:
        self._folder, self._shards = folder, tuple(shards)
        super().__init__(shown)
        self._prepare()

    def _prepare(self) -> None:
        self._lock, self._held = Lock(), OrderedDict[tuple[str, int], Any]()

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_folder": self._folder, "_shards": self._shards}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._prepare()

    def __eq__(self, other: object) -> bool:
        own = (self._folder, self._shards)
        return isinstance(other, ArrowRows) and (other._folder, other._shards) == own

    def __hash__(self) -> int:
        return hash((self._folder, self._shards))

    def answers(self) -> bool:
        """Whether all shards are there."""
        return all((self._folder / shard).is_file() for shard in self._shards)

    def read(self, name: str, most: int) -> bytes:
        """The first `most` bytes of the image in a row; FileNotFoundError where there is none."""
        column = self.masks if name.startswith(_MASKS) else self.images
        stem, _, place = name.removeprefix(_MASKS).rpartition("/")
        row, _, _ = place.partition(".")
        if column is None or stem not in self._by_stem or not row.isdecimal():
            raise FileNotFoundError(name)
        with self._lock:
            content = self._cell(self._by_stem[stem], int(row), column.name)
        if isinstance(content, Mapping):
            content = content.get("bytes")
        if not isinstance(content, bytes):
            raise FileNotFoundError(name)
        return content[:most]

    @property
    def _of_images(self) -> list[Column]:
        return [c for c in self.columns if c.kind == "Image" and not c.several]

    @cached_property
    def images(self) -> Column:
        """The column of images; InputError where there is none, or it may be several."""
        found = self._of_images
        named = [column for name in _IMAGES for column in found if column.name.lower() == name]
        if not found or (not named and len(found) > 1):
            which = "no column" if not found else "several columns"
            raise InputError(
                f"{self.shown} has {which} of images among"
                f" {', '.join(column.name for column in self.columns)}.",
                tip="Call that of the images `image`; its cells hold bytes and path.",
            )
        return named[0] if named else found[0]

    @cached_property
    def masks(self) -> Column | None:
        """The other column of images, where there is one."""
        found = [column for column in self._of_images if column != self.images]
        if len(found) > 1:
            raise InputError(
                f"{self.shown} has a mask per image in {found[0].name} or in {found[1].name}, so"
                " which is meant cannot be told.",
                tip="Save it with remove_columns of all but one.",
            )
        return found[0] if found else None

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """All, as the first shard has them."""
        schema = self._fields(self._shards[0])
        features = _features(schema) or self._stated()
        return tuple(_column(field, features.get(field.name)) for field in schema)

    def values(self, column: Column) -> dict[str, list[Any]]:
        """Stem of each shard -> what `column` holds, row by row."""
        return {
            stem: self._table(shard, [column.name]).column(column.name).to_pylist()
            for stem, shard in self._by_stem.items()
        }

    def mask_of(self, name: str) -> str:
        """Where the mask of an image is read."""
        return _MASKS + name

    @cached_property
    def _by_stem(self) -> dict[str, str]:
        return {os.path.splitext(shard)[0]: shard for shard in self._shards}

    @cached_property
    def _listed(self) -> list[tuple[str, int | None]]:
        return list(self._rows())

    def _rows(self) -> Iterator[tuple[str, int | None]]:
        for stem, shard in self._by_stem.items():
            count, size = self._count(shard), (self._folder / shard).stat().st_size
            ending = self._ending(shard, stem) if count else ""
            for row in range(count):
                yield f"{stem}/{row:06}{ending}", size

    def _ending(self, shard: str, stem: str) -> str:
        content = self._cell(shard, 0, self.images.name)
        if isinstance(content, Mapping):
            if content.get("bytes") is None and content.get("path"):
                raise InputError(
                    f"{self._folder / shard} holds no image in its first row, but a path,"
                    f" {str(content['path'])[:80]!r}.",
                    tip="Save the data set with the images in it (save_to_disk does that).",
                )
            content = content.get("bytes")
        start = content if isinstance(content, bytes) else b""
        return next((ending for head, ending in _ENDINGS_OF if start.startswith(head)), ".tif")

    def _stated(self) -> Mapping[str, Any]:
        """The features that dataset_info.json states beside the shards."""
        path = (self._folder / self._shards[0]).parent / "dataset_info.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8")).get("features")
        except (OSError, ValueError, AttributeError, RecursionError):
            return {}
        return found if isinstance(found, Mapping) else {}

    # By pyarrow

    def _fields(self, shard: str) -> Any:
        opened = self._open(shard)
        return opened.schema_arrow if shard.lower().endswith(".parquet") else opened.schema

    def _count(self, shard: str) -> int:
        opened = self._open(shard)
        parquet = shard.lower().endswith(".parquet")
        return int(opened.metadata.num_rows if parquet else opened.num_rows)

    def _table(self, shard: str, columns: list[str]) -> Any:
        opened = self._open(shard)
        if not shard.lower().endswith(".parquet"):
            return opened
        try:
            return opened.read(columns=columns)
        except Exception as error:
            raise self._damaged(shard, error) from None

    def _cell(self, shard: str, row: int, column: str) -> Any:
        opened = self._open(shard)
        if not shard.lower().endswith(".parquet"):
            if row >= opened.num_rows:
                raise FileNotFoundError(f"{shard}/{row}")
            return opened.column(column)[row].as_py()
        counts = (opened.metadata.row_group(i).num_rows for i in range(opened.num_row_groups))
        ends = list(accumulate(counts))
        group = bisect_right(ends, row)
        if group == len(ends):
            raise FileNotFoundError(f"{shard}/{row}")
        key = (f"{shard}/{column}", group)
        if key not in self._held:
            self._held[key] = opened.read_row_group(group, columns=[column]).column(column)
            if len(self._held) > _KEPT:
                self._held.popitem(last=False)
        return self._held[key][row - (ends[group - 1] if group else 0)].as_py()

    def _open(self, shard: str) -> Any:
        """A parquet file, or the table of an arrow stream, which is mapped, not read."""
        if shard not in self._opened_shards:
            try:
                self._opened_shards[shard] = _opened(self._folder / shard)
            except ImportError:
                raise InputError(
                    f"{self._folder / shard} is an arrow or parquet file, and pyarrow, which reads"
                    " those, is not installed.",
                    tip='Install it: pip install "equiaudit[datasets]".',
                ) from None
            except Exception as error:  # damaged files raise whatever the reader may
                raise self._damaged(shard, error) from None
        return self._opened_shards[shard]

    @cached_property
    def _opened_shards(self) -> dict[str, Any]:
        return {}

    def _damaged(self, shard: str, error: Exception) -> InputError:
        return InputError(f"{self._folder / shard} cannot be read: {first_line(error)}.")


def _opened(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix.lower() == ".parquet":
        return pq.ParquetFile(path, memory_map=True)
    source = pa.memory_map(str(path))
    stream = source.read(6) != b"ARROW1"
    source.seek(0)
    table = (pa.ipc.open_stream if stream else pa.ipc.open_file)(source).read_all()
    table.validate(full=True)  # offsets beyond the file would be followed
    return table


def _features(schema: Any) -> Mapping[str, Any]:
    """Those that `datasets` writes into the schema."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}


def _column(field: Any, feature: Any) -> Column:
    held, several = str(field.type), _LIST.match(str(field.type)) is not None
    if several:
        held = str(field.type.value_type)
        inside = feature[:1] if isinstance(feature, list) else [feature]
        feature = next(iter(inside), None)
        feature = feature.get("feature", feature) if isinstance(feature, Mapping) else None
    kind = feature.get("_type") if isinstance(feature, Mapping) else None
    names = feature.get("names") if isinstance(feature, Mapping) else None
    if isinstance(names, list) and kind == "ClassLabel":
        return Column(field.name, kind, tuple(map(str, names)), several)
    if kind == "Image" or held.startswith("struct<bytes: "):
        return Column(field.name, "Image", (), several)
    if held.endswith("binary") and field.name.lower() in _IMAGES:
        return Column(field.name, "Image", (), several)
    return Column(field.name, str(kind if kind not in (None, "Value") else held), (), several)
