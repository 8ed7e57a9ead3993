"""What is kept of one image: the classes decided for, unshifted and under every shift."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from equiaudit.audit.records import ImageRecord

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SetRecord(ImageRecord):
    """Decisions as bits, in hexadecimal; or why there are none."""

    classes: int = 0
    known: str | None = None
    """The classes that are there; None where nothing says."""
    clean: str = ""
    """"" where the output is not finite."""
    shifted: dict[str, str] = field(default_factory=dict)
    """By series, and the parts of contrasts: K times the classes."""
    nonfinite: dict[str, int] = field(default_factory=dict)
    """By series, the outputs that are not finite, where there are such."""

    @property
    def truth(self) -> str:
        """The true classes."""
        return str(self.known)

    @property
    def finite(self) -> bool:
        """Whether the unshifted output is."""
        return self.unreadable is None and self.clean != ""

    def decided(self) -> Bools:
        """(C,) unshifted."""
        return np.asarray(unpacked(self.clean, self.classes)[0])

    def true(self) -> Bools | None:
        """(C,) what is there."""
        return None if self.known is None else unpacked(self.known, self.classes)[0]

    def of(self, name: str) -> Bools:
        """(K, C) under series `name`."""
        return unpacked(self.shifted[name], self.classes)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """The inverse of `to_json`; ValueError, TypeError or KeyError on a damaged line."""
        found = super(SetRecord, cls).from_json(line)
        for bits in (found.clean, found.known or "", *found.shifted.values()):
            unpacked(bits, found.classes)
        return found


def packed(decisions: Bools) -> str:
    """(C,) or (K, C) as hexadecimal, each row of whole bytes."""
    return np.packbits(decisions, axis=-1).tobytes().hex()


def unpacked(bits: str, classes: int) -> Bools:
    """(K, C)"""
    width = -(-classes // 8)
    raw = np.frombuffer(bytes.fromhex(bits), np.uint8)
    rows = raw.reshape(-1, width) if width else np.zeros((0, 0), np.uint8)
    return np.unpackbits(rows, axis=1, count=classes).astype(np.bool_)
