"""Where the records of a run are kept, and how some of them are looked at."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Self, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from equiaudit.audit.records import ImageRecord

R = TypeVar("R", bound=ImageRecord)


class Shelf(MutableMapping[int, R]):
    """Records by `ImageRecord.index`, in the order in which they first came."""

    def __init__(self) -> None:
        self.lost = set[int]()
        """The images that could not be read."""

    def __setitem__(self, index: int, record: R) -> None:
        self.put(index, record)
        if record.unreadable is None:
            self.lost.discard(index)
        else:
            self.lost.add(index)

    def __delitem__(self, index: int) -> None:
        raise TypeError("records are kept")

    @abstractmethod
    def put(self, index: int, record: R) -> None:
        """Keep `record`, in place of an earlier one."""


class Pile(Shelf[R]):
    """The records as they are."""

    def __init__(self, records: Iterable[R] = ()) -> None:
        super().__init__()
        self._records: dict[int, R] = {}
        for record in records:
            self[record.index] = record

    def put(self, index: int, record: R) -> None:
        """Keep it."""
        self._records[index] = record

    def __getitem__(self, index: int) -> R:
        return self._records[index]

    def __iter__(self) -> Iterator[int]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)


@dataclass(frozen=True, eq=False)
class Records(Sequence[R], Generic[R]):
    """The records of some images in some order, each fetched from the shelf when asked for."""

    shelf: Shelf[R]
    indices: NDArray[np.int32]
    """(n,) `ImageRecord.index` of each."""

    @classmethod
    def of(cls, shelf: Shelf[R], indices: Iterable[int] | None = None) -> Self:
        """Those of `indices`, or all."""
        chosen = shelf if indices is None else indices
        return cls(shelf, np.fromiter(chosen, np.int32))

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, place: int) -> R: ...
    @overload
    def __getitem__(self, place: slice) -> Records[R]: ...
    def __getitem__(self, place: int | slice) -> R | Records[R]:
        if isinstance(place, slice):
            return replace(self, indices=self.indices[place])
        return self.shelf[int(self.indices[place])]

    def __iter__(self) -> Iterator[R]:
        return (self.shelf[int(index)] for index in self.indices)

    def where(self, wanted: NDArray[np.bool_]) -> Records[R]:
        """Those for which `wanted` (n,) is set."""
        return replace(self, indices=self.indices[wanted])

    def by_index(self) -> Records[R]:
        """In the order of the listing."""
        return replace(self, indices=np.sort(self.indices))

    @property
    def readable(self) -> Records[R]:
        """Those of images that could be read."""
        lost = np.fromiter(self.shelf.lost, np.int32)
        return self.where(~np.isin(self.indices, lost))
