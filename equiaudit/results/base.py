"""What every result type is made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A value: it never changes, knows all its fields, and holds finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


class Measured(BaseModel):
    """A value like `Frozen` whose numbers may be infinite or none: errors of what was run."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Mismatch(Measured):
    """Where the largest error was: which image, and how it was shifted (rows, columns), px."""

    image: str
    shift: tuple[int, int]


class Skipped(Frozen):
    """Something that could not be done: what, and why."""

    name: str
    reason: str


class Estimate(Frozen):
    """A figure with its interval.

    `value` is None when there was nothing to average. `n` counts the sampling units
    (images). `method` names the interval: "cluster-wilson", "wilson", "scaled-wilson" (of
    shares of pixels), "bca", "jackknife", "betting-cs", "clopper-pearson", or "none" for an
    extreme that has no interval.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int
    method: str
    confidence: float = 0.95

    def __float__(self) -> float:
        if self.value is None:
            raise ValueError("nothing was averaged, so there is no value")
        return self.value
