"""The images of a dataset: one `Item` each as it is asked for, packed arrays behind them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equiaudit.data.listing import is_ascii, printable
from equiaudit.data.places import Place

NO_LABEL = -1


@dataclass(frozen=True, slots=True)
class Item:
    """One image."""

    file: str
    """Its name relative to the dataset's root, posix; may hold newlines or markup."""
    path: Place
    label: int | None
    index: int
    """Its place in the full sorted listing of the folder, whatever `limit` and the labels
    left out: what is drawn for an image does not depend on its companions."""
    truth: Place | None = None
    """Its mask or target."""
    region: Place | None = None
    """A mask of the pixels that count, where only some do."""


@dataclass(frozen=True, eq=False)
class Names:
    """Many file names, one after the other in memory."""

    text: bytes
    ends: NDArray[np.int64]
    """(n,) where in `text` each ends."""

    @classmethod
    def of(cls, names: Iterable[str]) -> Names:
        """Pack `names`, which may hold any bytes that a file system gives."""
        names = list(names)
        if is_ascii(names):
            ends = np.cumsum(list(map(len, names)), dtype=np.int64)
            return cls("".join(names).encode(), ends)
        encoded = [os.fsencode(name) for name in names]
        return cls(b"".join(encoded), np.cumsum([len(name) for name in encoded], dtype=np.int64))

    def __getitem__(self, place: int) -> str:
        start = self.ends[place - 1] if place else 0
        return os.fsdecode(self.text[start : self.ends[place]])


@dataclass(frozen=True)
class Truths:
    """The masks or targets of the images, in a folder of their own."""

    root: Place
    names: Names
    """An empty one where an image has none."""

    def __getitem__(self, place: int) -> Place | None:
        name = self.names[place]
        return self.root / name if name else None


@dataclass(frozen=True, eq=False)
class Items(Sequence[Item]):
    """The images of a folder: some 50 bytes each, where an `Item` takes 500.

    A slice, or `taken` by places, shares the names.
    """

    root: Place
    names: Names
    labels: NDArray[np.int32] | None
    """(n,) for each name, `NO_LABEL` where there is none; None where no image has any."""
    listed: NDArray[np.int32]
    """(n,) for each name, the place in the full listing."""
    rows: NDArray[np.int32]
    """(m,) the names that are meant, in order."""
    truths: Truths | None = None
    regions: Truths | None = None

    @classmethod
    def of(
        cls,
        root: Place,
        names: Iterable[str],
        labels: NDArray[np.int32] | None = None,
        listed: NDArray[np.int32] | None = None,
        truths: Truths | None = None,
        regions: Truths | None = None,
    ) -> Items:
        """All of `names`, relative to `root`; `listed` is 0, 1, ... where it is not given."""
        packed = Names.of(names)
        rows = np.arange(len(packed.ends), dtype=np.int32)
        places = rows if listed is None else listed
        return cls(root, packed, labels, places, rows, truths, regions)

    @property
    def indices(self) -> NDArray[np.int32]:
        """(m,) `Item.index` of each."""
        return self.listed[self.rows]

    def taken(self, places: ArrayLike) -> Items:
        """Those at `places`, in that order."""
        return replace(self, rows=self.rows[np.asarray(places, np.int64)])

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Item: ...
    @overload
    def __getitem__(self, place: slice) -> Items: ...
    def __getitem__(self, place: int | slice) -> Item | Items:
        if isinstance(place, slice):
            return replace(self, rows=self.rows[place])
        return self._item(int(self.rows[place]))

    def __iter__(self) -> Iterator[Item]:
        return map(self._item, self.rows)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Items) or len(self) != len(other):
            return NotImplemented if not isinstance(other, Items) else False
        return all(a == b for a, b in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(self))

    def _item(self, row: int) -> Item:
        name, truths, regions = self.names[row], self.truths, self.regions
        label = NO_LABEL if self.labels is None else int(self.labels[row])
        return Item(
            file=printable(name),
            path=self.root / name,
            label=None if label == NO_LABEL else label,
            index=int(self.listed[row]),
            truth=None if truths is None else truths[row],
            region=None if regions is None else regions[row],
        )
