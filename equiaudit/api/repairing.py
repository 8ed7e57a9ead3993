"""`inspect`, `fix` and `verify`: loading, the engine, the scans around it, and the files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

from equiaudit.api.loading import (
    ModelSettings,
    as_path,
    load_model,
    open_data,
    require_classifier,
)
from equiaudit.audit.observer import Observer, Silent
from equiaudit.audit.options import ScanOptions

if TYPE_CHECKING:
    import torch
    from torch import nn

    from equiaudit.audit.assemble import Scan
    from equiaudit.data import Dataset
    from equiaudit.models import Model
    from equiaudit.repair import Recover
    from equiaudit.results import Estimate
    from equiaudit.results.repair import FixReport, Inspection, Verification

__all__ = ["fix", "inspect", "verify"]

_PICTURES = 8
"""Images of the data that a verification runs on, besides the synthetic set."""


def inspect(
    model: str | Path | nn.Module | Model, **model_settings: Unpack[ModelSettings]
) -> Inspection:
    """Every operation that samples, pads or flattens, and whether `fix` can make it exact.

    Needs the input size, and no normalisation. Raises NothingToDo where the model cannot be
    captured as one graph.
    """
    from equiaudit.repair import inspect as inspect_model

    return inspect_model(load_model(model, normalisation=False, **model_settings))


def verify(
    model: str | Path | nn.Module | Model,
    data: str | Path | None = None,
    *,
    against: str | Path | nn.Module | Model | None = None,
    limit: int = _PICTURES,
    seed: int = 0,
    seconds: float = 60.0,
    output: str | Path | None = None,
    **model_settings: Unpack[ModelSettings],
) -> Verification:
    """Whether `model` is exactly equivariant to circular shifts, over every phase.

    Runs on `limit` images of `data` and on a synthetic set; `against` is the unmodified
    model, as a control. With `output`, that folder receives verification.json.
    """
    from equiaudit.repair import verify_model

    needs_values = data is not None
    loaded = load_model(model, normalisation=needs_values, **_for(model, model_settings))
    control = None
    if against is not None:
        fitting = _for(against, model_settings)
        control = load_model(against, normalisation=needs_values, **fitting)
    images = None
    if data is not None:
        images = _pictures(loaded, open_data(loaded, data, None, limit, seed), limit)
    found = verify_model(loaded, against=control, images=images, seed=seed, seconds=seconds)
    if output is not None:
        _write_verifications(Path(output), [found])
    return found


def fix(
    model: str | Path | nn.Module | Model,
    out: str | Path | None,
    *,
    method: str = "mass",
    select: Literal["features", "input"] = "features",
    only: str | Sequence[str] | None = None,
    skip: str | Sequence[str] | None = None,
    dry_run: bool = False,
    data: str | Path | None = None,
    labels: str | Path | None = None,
    limit: int | None = None,
    max_shift: int = 16,
    offsets: int | Literal["full"] = 16,
    seed: int = 0,
    max_accuracy_drop: float | None = None,
    seconds: float = 20.0,
    report: str | Path | None = None,
    recover: Callable[[Model], Recover] | None = None,
    observer: Observer | None = None,
    **model_settings: Unpack[ModelSettings],
) -> FixReport:
    """Convert `model` to exactly equivariant sampling, verify it, and write it to `out`.

    The kind of file is told by the suffix of `out`: .pt, .pt2, .onnx or .safetensors. With
    `data`, both models are scanned with the same shifts for the before/after table, and
    `max_accuracy_drop` (0.005 is half a point) is held against the unshifted accuracies.
    With `report`, that folder receives fix.json, verification.json and both scans. What does
    not verify, or loses more accuracy, is left at ``OUT.unverified``.

    `recover` makes, for the loaded model, what trains the converted graph before it is verified.

    Raises NothingToDo (exit 5) where there is nothing to fix or the conversion is refused.
    """
    from equiaudit.repair import FixOptions
    from equiaudit.repair import fix as convert

    observer = observer or Silent()
    loaded = load_model(model, normalisation=not dry_run, **model_settings)
    options = FixOptions(
        method=method,
        select=select,
        only=only,
        skip=skip,
        seconds=seconds,
        seed=seed,
        dry_run=dry_run,
    )
    dataset = None if data is None or dry_run else open_data(loaded, data, labels, limit, seed)
    images = None if dataset is None else _pictures(loaded, dataset, _PICTURES)
    trained = None if recover is None or dry_run else recover(loaded)
    found = convert(loaded, out, options, images=images, recover=trained, progress=observer.note)
    folder = as_path(report)
    if dataset is not None:
        require_classifier(loaded)
        shifting = ScanOptions(max_shift=max_shift, offsets=offsets, seed=seed, limit=limit)
        table = _BeforeAfter(loaded, dataset, shifting, folder, observer)
        found = table.added_to(found, max_accuracy_drop)
    if folder is not None:
        _write_verifications(folder, found.verifications)
        _write(folder, {"fix.json": found.model_dump_json(indent=2) + "\n"})
    return found


def _for(model: str | Path | nn.Module | Model, settings: ModelSettings) -> ModelSettings:
    """The settings that fit this model of two: an architecture is only for bare weights."""
    from equiaudit.models import needs_arch

    fitting = settings.copy()
    if not isinstance(model, str | Path) or not needs_arch(model):
        fitting.pop("arch", None)
    return fitting


def _pictures(model: Model, dataset: Dataset, count: int) -> dict[str, torch.Tensor]:
    """Up to `count` readable images, (C, H, W) as the model receives them."""
    from equiaudit.audit.geometry import geometry
    from equiaudit.data import Decoded, decode
    from equiaudit.shifts.canvas import normalise

    how = model.preprocess
    step = max(1, len(dataset.items) // count)
    images = (decode(item, geometry(how, 0)) for item in dataset.items[::step][:count])
    import torch

    cpu = torch.device("cpu")
    return {
        image.item.file: normalise(image.pixels[None], how, cpu)[0]
        for image in images
        if isinstance(image, Decoded)
    }


@dataclass(frozen=True)
class _BeforeAfter:
    """Both models on the same images and shifts."""

    model: Model
    dataset: Dataset
    options: ScanOptions
    folder: Path | None
    observer: Observer

    def added_to(self, report: FixReport, max_accuracy_drop: float | None) -> FixReport:
        """`report` with both columns, and held against the accuracy it may lose."""
        if report.output is None:
            return report
        options, notes = self._fitting()
        stride = report.inspection.total_stride or self.model.total_stride
        before = self._scan(replace(self.model, total_stride=stride), options, "before")
        fixed = load_model(
            report.output,
            stride=stride,
            device=str(self.model.device),
            size=self.model.preprocess.size,
        )
        after = self._scan(replace(fixed, class_names=self.model.class_names), options, "after")
        full = report.model_copy(
            update={
                "before": _figures(before),
                "after": _figures(after),
                "notes": (*report.notes, *notes),
            }
        )
        return full if max_accuracy_drop is None else _held(full, max_accuracy_drop)

    def _fitting(self) -> tuple[ScanOptions, tuple[str, ...]]:
        """Without crop shifts where the images have no room for them, and a note of that."""
        from equiaudit.audit.geometry import geometry
        from equiaudit.data import TooSmall, check_sizes

        wanted = geometry(self.model.preprocess, self.options.max_shift)
        try:
            check_sizes(self.dataset.items, wanted, workers=2)
        except TooSmall as error:
            note = f"crop shifts are left out: {error.message}"
            return replace(self.options, shifts=("circular", "zero-pad")), (note,)
        return self.options, ()

    def _scan(self, model: Model, options: ScanOptions, name: str) -> Scan:
        from equiaudit.audit.engine import run_scan
        from equiaudit.report import write_reports

        self.observer.note(f"scanning the model {name}")
        home = None if self.folder is None else self.folder / name
        done, journal = run_scan(model, self.dataset, options, folder=home, observer=self.observer)
        if home is not None:
            write_reports(done.result, home, samples_csv=done.samples)
        journal.discard()
        return done


def _figures(scan: Scan) -> dict[str, Estimate]:
    return {name: scan.result.metric(name) for name in scan.result.metric_names()}


def _held(report: FixReport, most: float) -> FixReport:
    """`report`, its file renamed where the unshifted accuracy fell by more than `most`."""
    names = [name for name in report.before if name.endswith(".accuracy_clean")]
    if not names or report.outcome != "written":
        return report
    before, after = (float(column[names[0]]) for column in (report.before, report.after))
    if before - after <= most:
        return report
    places = [Path(place) for place in (*report.companions, report.output or "")]
    for place in places:
        os.replace(place, f"{place}.unverified")
    reason = f"Accuracy fell from {before:.1%} to {after:.1%}, by more than {most:.2%}"
    moved = {
        "outcome": "unverified",
        "reason": reason,
        "output": f"{places[-1]}.unverified",
        "companions": tuple(f"{place}.unverified" for place in places[:-1]),
    }
    return report.model_copy(update=moved)


def _write_verifications(folder: Path, records: Iterable[Verification]) -> None:
    dumped = [record.model_dump(mode="json") for record in records]
    _write(folder, {"verification.json": json.dumps(dumped, indent=2) + "\n"})


def _write(folder: Path, texts: dict[str, str]) -> None:
    from equiaudit.report.formats import write_files

    write_files(folder, texts)
