"""What is kept of one image: small arrays with a row for every pass, the unshifted one first."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from equiaudit.audit.records import ImageRecord

Arrays = Mapping[str, NDArray[Any]]

FINITE = "finite"
"""The array (1 + passes,) of whether an output was."""
_TYPES = ("<f4", "<f8", "<i4", "|b1")


@dataclass(frozen=True)
class ArrayRecord(ImageRecord):
    """One image; `arrays` are (1 + passes, ...), in the order of the plan."""

    known: str = ""
    """What is known to be right, as text."""
    arrays: Arrays = field(default_factory=dict)

    @property
    def truth(self) -> str:
        """What is known."""
        return self.known

    def to_json(self) -> str:
        """One line; arrays in base64."""
        plain = {
            name: getattr(self, name)
            for name in ("index", "file", "sha256", "notes", "unreadable", "known")
        }
        arrays = {
            name: (array.dtype.str, array.shape, base64.b64encode(array.tobytes()).decode())
            for name, array in self.arrays.items()
        }
        return json.dumps(plain | {"arrays": arrays}, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> Self:
        """The inverse of `to_json`; ValueError, TypeError or KeyError on a damaged line."""
        data: dict[str, Any] = json.loads(line)
        arrays = {name: _array(*parts) for name, parts in data.pop("arrays").items()}
        return cls(**(data | {"notes": tuple(data["notes"])}), arrays=arrays)


def _array(dtype: str, shape: list[int], text: str) -> NDArray[Any]:
    if dtype not in _TYPES:
        raise ValueError(f"{dtype} is no type of these arrays")
    return np.frombuffer(base64.b64decode(text, validate=True), dtype).reshape(shape)
