"""The kinds of shift there are."""

from __future__ import annotations

from equiaudit.kinds.base import Kind
from equiaudit.kinds.builtin import CIRCULAR, CROP, ZERO_PAD
from equiaudit.kinds.fractional import FRACTIONAL, SUBPIXEL
from equiaudit.registry import Registry

KINDS: Registry[Kind] = Registry("shift kind", {})


def register(kind: Kind) -> None:
    """Make `kind` known; InputError where its name is taken. `KINDS.remove` takes it back."""
    KINDS.add(kind.name, kind)


def usual() -> tuple[str, ...]:
    """The kinds that a scan runs where none is named, in that order."""
    return tuple(kind.name for kind in KINDS.values() if kind.usual)


def is_real(name: str) -> bool:
    """Whether real pixels enter under the kind `name`; a name that is no kind, as of a protocol,
    says nothing of it."""
    return name in KINDS and KINDS[name].real


for _kind in (CIRCULAR, CROP, ZERO_PAD, SUBPIXEL, FRACTIONAL):
    register(_kind)
