"""What a comparison found, as frozen pydantic models."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from equiaudit.results import Estimate

Change = Literal["better", "worse", "no difference shown"]


class McNemarTest(BaseModel):
    """Images that only one of the two models gets right, and the exact two-sided p-value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    a_only: int
    b_only: int
    p_value: float


class ComparisonRow(BaseModel):
    """One ``kind.metric``: what each result says, and `difference`, b less a.

    `paired` tells a difference over the same images from one of two intervals.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    a: Estimate
    b: Estimate
    difference: Estimate
    paired: bool
    mcnemar: McNemarTest | None = None
    verdict: Change
    """Of b against a."""


class Comparison(BaseModel):
    """All rows, what differs between the runs, and what was left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_a: str
    model_b: str
    rows: tuple[ComparisonRow, ...]
    notes: tuple[str, ...] = ()
