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


class Relabelled(BaseModel):
    """An unshifted image to which the two give different labels, in words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    a: str
    b: str


class Labels(BaseModel):
    """How far the two agree on the unshifted images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    same: Estimate
    """Share of the images to which both give the same label."""
    differ: int
    examples: tuple[Relabelled, ...]
    """The first that differ, in the order of the data set."""


class ChangedImage(BaseModel):
    """An image that one of the two keeps steadier under shifts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    a: float
    b: float
    """What each keeps of it, by `Changed.metric`."""
    pictures: tuple[tuple[str, str], ...] = ()
    """(caption, `data:` URI), where one of the results has some."""


class Changed(BaseModel):
    """The images that b changed most under one kind, by the metric that leads its figures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    """``kind.metric``"""
    steadier: tuple[ChangedImage, ...]
    """In b, the most so first."""
    shakier: tuple[ChangedImage, ...]


class Comparison(BaseModel):
    """All rows, what differs between the runs, and what was left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_a: str
    model_b: str
    n_images: int = 0
    rows: tuple[ComparisonRow, ...]
    labels: Labels | None = None
    """Of models that give each image one label."""
    changed: tuple[Changed, ...] = ()
    """Real moves first."""
    notes: tuple[str, ...] = ()
