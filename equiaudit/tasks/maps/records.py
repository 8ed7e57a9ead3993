"""What is kept of one image whose output is a map: sums and counts, never the map."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass, field
from typing import Any, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from equiaudit.audit.records import ImageRecord

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MapSeries:
    """One image under one series."""

    change: tuple[float | None, ...]
    """Per offset, in plan order: flip rate or NMSE; None for an output that is not finite."""
    border_sum: tuple[float, ...]
    border_count: tuple[int, ...]
    """Change and pixels by bin of distance to the border."""
    heat: str
    """Mean change per heat map cell, `packed`."""

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `asdict`."""
        return cls(**{name: _frozen(value) for name, value in data.items()})

    @property
    def finite(self) -> bool:
        """Whether all outputs were."""
        return None not in self.change

    @property
    def changes(self) -> Floats:
        """(K,) `change`, of a finite series."""
        return np.array(self.change, np.float64)


S = TypeVar("S", bound=MapSeries)


@dataclass(frozen=True)
class MapRecord(ImageRecord, Generic[S]):
    """One image, and every series; or why it has none."""

    truth_sha256: str = ""
    """Of its mask or target; empty where there is none."""
    finite: bool = False
    """Whether the unshifted output is."""
    series: dict[str, S] | None = None
    contrasts: dict[str, tuple[float | None, ...]] = field(default_factory=dict)
    """The change under the views of contrasts, by name."""

    @property
    def truth(self) -> str:
        """The hash of its mask or target."""
        return self.truth_sha256

    @classmethod
    def parse(cls, line: str, series_type: type[S]) -> Self:
        """The inverse of `to_json`; ValueError, TypeError or KeyError on a damaged line."""
        data: dict[str, Any] = json.loads(line)
        series = data.pop("series")
        if series is not None:
            series = {name: series_type.from_json(each) for name, each in series.items()}
        views = {name: _frozen(each) for name, each in data.pop("contrasts").items()}
        plain = {name: _frozen(value) for name, value in data.items()}
        return cls(**plain, series=series, contrasts=views)

    def of(self, name: str) -> S:
        """What was seen under series `name`."""
        return (self.series or {})[name]


def _frozen(value: Any) -> Any:
    """Lists as tuples, all the way down."""
    return tuple(_frozen(each) for each in value) if isinstance(value, list) else value


def packed(values: Floats) -> str:
    """An array as text, in single precision."""
    return base64.b64encode(zlib.compress(values.astype("<f4").tobytes())).decode()


def unpacked(text: str, shape: tuple[int, int]) -> Floats:
    """The inverse of `packed`."""
    size = 4 * shape[0] * shape[1]
    raw = zlib.decompressobj().decompress(base64.b64decode(text), size)
    return np.frombuffer(raw, "<f4").astype(np.float64).reshape(shape)
