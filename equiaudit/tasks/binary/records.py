"""What is kept of one image: labels, and the scores they were decided by."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from equiaudit.tasks.classification.records import LabelRecord


@dataclass(frozen=True, slots=True)
class ScoredRecord(LabelRecord):
    """A `LabelRecord` with the score behind each of its labels."""

    scores: bytes = b""
    """float32: the unshifted one, then those under all shifts in the columns' order."""

    def to_json(self) -> str:
        """One line."""
        own = json.loads(LabelRecord.to_json(self))
        return json.dumps(own | {"scores": self.scores.hex()}, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> Self:
        """The inverse of `to_json`; ValueError, TypeError or KeyError on a damaged line."""
        data: dict[str, Any] = json.loads(line)
        scores = bytes.fromhex(data.pop("scores"))
        found = super(ScoredRecord, cls).from_json(json.dumps(data))
        width = max((part.stop for part in (found.columns or {}).values()), default=-1) + 1
        if len(scores) != 4 * width:
            raise ValueError("a score per label is wanted")
        return replace(found, scores=scores)

    def score(self, name: str | None) -> NDArray[np.float32]:
        """(K,) under series `name`, (1,) unshifted where it is None."""
        every = np.frombuffer(self.scores, np.float32)
        return every[:1] if name is None else every[1:][(self.columns or {})[name]]
