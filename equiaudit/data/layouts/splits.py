"""Which part of a data set is read: its training, validation or test images."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from equiaudit.errors import InputError

T = TypeVar("T")
_WORD = re.compile(
    r"(?:^|[_\-./ ])(train(?:ing)?|val(?:id(?:ation)?)?|test(?:ing)?)(?=$|[_\-./ ])", re.IGNORECASE
)
_MEANT = {"tr": "train", "va": "val", "te": "test"}


def split_of(name: str) -> str:
    """train, val or test, as the folders of a file say; empty where they do not."""
    found = _WORD.search(name.rpartition("/")[0])
    return _MEANT[found[1][:2].lower()] if found else ""


def chosen_split(
    files: Sequence[T],
    split: Callable[[T], str],
    known: Collection[str],
    prefer: Sequence[str],
    asked: str | None,
    where: object,
) -> tuple[list[T], tuple[str, ...]]:
    """The files of one split, and what is to be said of it.

    `known` are the splits that have masks. Without `asked`, the first of `prefer` among them is
    taken; without that, all are. InputError where none is called `asked`.
    """
    present = sorted({split(file) for file in files} - {""})
    said = ", ".join(present)
    if asked is not None:
        wanted = split_of(f"{asked}/") or asked
        kept = [file for file in files if split(file) == wanted]
        if not kept:
            raise InputError(
                f"{where} has no split {asked!r}.",
                tip=f"It has {said}." if said else "Leave --split out: no folder names a split.",
            )
        return kept, (f"Of {said}, {wanted} is read.",) if len(present) > 1 else ()
    if len(present) < 2:
        return list(files), ()
    best = next((name for name in prefer if name in known), None)
    if best is None:
        return list(files), (f"The images of {said} are all read; --split takes one of them.",)
    kept = [file for file in files if split(file) == best]
    return kept, (f"Of {said}, {best} is read; --split takes another.",)
