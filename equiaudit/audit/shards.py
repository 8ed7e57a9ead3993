"""Which part of a scan one of several machines does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from equiaudit.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Shard `number` of `count`, from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """``2/8``; InputError for anything else."""
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
        number, count = map(int, found.groups()) if found else (0, 0)
        if not 1 <= number <= count:
            raise InputError(
                f"--shard is {text!r}; it is I/N, with I from 1 to N.",
                tip="--shard 1/4 is the first of four.",
            )
        return cls(number, count)

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def file_name(self) -> str:
        """Of what the shard writes."""
        return f"shard-{self.number}-of-{self.count}.jsonl"

    def own(self, blocks: Sequence[T]) -> list[T]:
        """Every `count`-th of the blocks of the whole scan, so that shards are of one size."""
        return list(blocks[self.number - 1 :: self.count])
