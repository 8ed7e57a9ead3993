"""What is kept per image."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class ImageRecord(ABC):
    """What every task keeps of one image."""

    index: int
    file: str
    sha256: str
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    """What decoding had to say about the file."""
    unreadable: str | None = field(default=None, kw_only=True)

    @property
    @abstractmethod
    def truth(self) -> str:
        """What is known to be right, as text: part of the data's fingerprint."""

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> Self:
        """The inverse of `to_json`; ValueError, TypeError or KeyError on a damaged line."""
        data: dict[str, Any] = json.loads(line)
        return cls(**data | {"notes": tuple(data["notes"])})
