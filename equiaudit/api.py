"""The verbs as functions: what the command line calls and what a test imports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from equiaudit.audit.observer import Observer

if TYPE_CHECKING:
    from torch import nn

    from equiaudit.models import Model
    from equiaudit.results import Result

__all__ = ["load_model", "scan"]


def load_model(
    model: str | Path | nn.Module,
    *,
    arch: str | None = None,
    trust: bool = False,
    size: tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    preprocess: str | Path | None = None,
    task: str = "auto",
    output_name: str | None = None,
    device: str = "auto",
    backend: str = "auto",
    stride: tuple[int, int] | None = None,
) -> Model:
    """Load any supported model; see `equiaudit.models.load`."""
    raise NotImplementedError


def scan(
    model: str | Path | nn.Module | Model,
    data: str | Path,
    *,
    # model
    arch: str | None = None,
    trust: bool = False,
    size: tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    preprocess: str | Path | None = None,
    task: str = "auto",
    output_name: str | None = None,
    device: str = "auto",
    backend: str = "auto",
    stride: tuple[int, int] | None = None,
    # data
    labels: str | Path | None = None,
    limit: int | None = None,
    # shifts
    shifts: Sequence[str] = ("circular", "crop", "zero-pad"),
    max_shift: int = 16,
    offsets: int | Literal["full"] = 16,
    seed: int = 0,
    protocol: str | None = None,
    # run
    batch_size: int | Literal["auto"] = "auto",
    workers: int | Literal["auto"] = "auto",
    strict: bool = False,
    accuracy_check: bool = True,
    images: bool = True,
    resume: bool = True,
    # judge and write
    gates: Sequence[str] = (),
    baseline: str | Path | None = None,
    require_baseline: bool = False,
    output: str | Path | None = None,
    observer: Observer | None = None,
) -> Result:
    """Shift every image, run the model, and return the result.

    With `output`, the folder receives result.json, samples.csv, report.md and report.html,
    and an interrupted run continues from what it kept there.
    """
    raise NotImplementedError
