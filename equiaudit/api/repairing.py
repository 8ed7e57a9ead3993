"""`inspect`, `fix` and `verify`: loading, the engine, the scans around it, and the files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

from equiaudit.api.choosing import GOALS, Comparison, Goal
from equiaudit.api.columns import BeforeAfter
from equiaudit.api.loading import (
    ModelSettings,
    as_path,
    load_model,
    open_data,
    settled_task,
)
from equiaudit.api.recovering import Training
from equiaudit.api.room import PICTURES, pictures, require_room
from equiaudit.audit.observer import Observer, Silent
from equiaudit.audit.options import ScanOptions
from equiaudit.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from equiaudit.data import Dataset
    from equiaudit.models import Model
    from equiaudit.models.types import Preprocess
    from equiaudit.repair import FixOptions
    from equiaudit.results.repair import FixReport, Inspection, Verification

__all__ = ["fix", "inspect", "verify"]


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
    limit: int = PICTURES,
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
        images = pictures(open_data(loaded, data, None, limit, seed), loaded.preprocess, limit)
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
    margin: int = 16,
    positions: Mapping[str, str] | None = None,
    window: int | Literal["auto"] | None = None,
    pad: Literal["wrap", "slices"] = "wrap",
    compare_methods: bool = False,
    goal: Goal = "circular",
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
    calibrate: bool = False,
    distil: int = 0,
    finetune: int = 0,
    learning_rate: float | None = None,
    train_data: str | Path | None = None,
    train_limit: int | None = None,
    observer: Observer | None = None,
    **model_settings: Unpack[ModelSettings],
) -> FixReport:
    """Convert `model` by `method`, verify it, and write it to `out`.

    The kind of file is told by the suffix of `out`: .pt, .pt2, .onnx or .safetensors. With
    `data`, both models are scanned with the same shifts for the before/after table, and
    `max_accuracy_drop` (0.005 is half a point) is held against the unshifted accuracies.
    `positions` says of outputs by name or place that they are "boxes", "keypoints" or "none".
    `pad` is how an ONNX file pads circularly. `window` px of every map's border are left out
    of choices, "auto" as many as a shift of 16 px and the padding before it touch.
    With `report`, that folder receives fix.json, fix.md, verification.json and both scans. What
    claims to be exact and does not verify, or loses more accuracy, is left at ``OUT.unverified``.

    With the method "auto" every method that fits is measured on `data`, and that of the highest
    consistency under `goal` is taken among those that lose at most `max_accuracy_drop` (0.01 by
    default); `compare_methods` stops after the measurements.

    `calibrate`, `distil` (epochs) and `finetune` (epochs) win accuracy back before the net is
    verified, on up to `train_limit` images of `train_data`, or of `data` where that is not
    given; `learning_rate` is the highest. A run that was stopped goes on where it was.

    Raises NothingToDo (exit 5) where there is nothing to fix, the conversion is refused, or no
    method is within the accuracy.
    """
    from equiaudit.repair import FixOptions
    from equiaudit.repair import fix as convert

    observer = observer or Silent()
    comparing = compare_methods or method == "auto"
    _check_goal(goal, comparing, data)
    if comparing and not (compare_methods or dry_run):
        _check_target(out)  # before the time goes into measuring
    training = Training(
        calibrate=calibrate,
        distil=distil,
        finetune=finetune,
        rate=learning_rate,
        folder=train_data,
        limit=train_limit,
        data=data,
        labels=labels,
        seed=seed,
    )
    trains = training.wanted and not dry_run
    scanning = comparing or not dry_run
    loaded = load_model(model, normalisation=scanning, **model_settings)
    if data is not None and scanning:
        loaded = settled_task(loaded, data, model_settings.get("task", "auto"))
    options = FixOptions(
        method=method,
        select=select,
        only=only,
        skip=skip,
        margin=margin,
        positions=tuple((positions or {}).items()),
        window=window,
        pad=pad,
        seconds=seconds,
        seed=seed,
        dry_run=dry_run,
    )
    dataset = open_data(loaded, data, labels, limit, seed) if data and scanning else None
    shifting = ScanOptions(max_shift=max_shift, offsets=offsets, seed=seed, limit=limit)
    folder = as_path(report)
    compared = None
    if comparing and dataset is not None:
        _require_labels(loaded)
        comparison = Comparison(loaded, dataset, shifting, options, goal, observer)
        compared = comparison.report(0.01 if max_accuracy_drop is None else max_accuracy_drop)
        if compare_methods:
            return _kept(compared, folder)
        options = comparison.chosen(compared)
    found = convert(
        loaded,
        out,
        options,
        images=None if dataset is None else partial(_given, dataset, loaded, options),
        recover=training.recover(loaded, as_path(out), observer) if trains else None,
        progress=observer.note,
    )
    if trains:
        training.discard(as_path(out))
    if dataset is not None and not dry_run:
        table = BeforeAfter(loaded, dataset, shifting, folder, observer)
        found = table.added_to(found, max_accuracy_drop)
    return _kept(found if compared is None else _with_choice(found, compared), folder)


def _check_goal(goal: str, comparing: bool, data: str | Path | None) -> None:
    if goal not in GOALS:
        raise InputError(f"--goal is {goal!r}.", tip=f"It is {' or '.join(GOALS)}.")
    if comparing and data is None:
        raise InputError("Methods are compared on images.", tip="Add --data DIR.")


def _check_target(out: str | Path | None) -> None:
    from equiaudit.repair.formats import file_format

    if out is None:
        raise InputError("fix needs a file to write.", tip="Add -o OUT, or --compare-methods.")
    file_format(Path(out))


def _require_labels(model: Model) -> None:
    if model.task == "image":
        raise InputError(
            f"{model.name} returns images, and methods are compared by the labels they keep.",
            tip="Give --method and --data for its figures before and after.",
        )


def _given(
    dataset: Dataset, model: Model, options: FixOptions, how: Preprocess
) -> dict[str, torch.Tensor]:
    """Images for the verification; InputError where they are too small for the fixed model."""
    if how.size != model.preprocess.size:
        require_room(dataset, how, options.margin, options.method)
    return pictures(dataset, how)


def _with_choice(found: FixReport, compared: FixReport) -> FixReport:
    notes = tuple(dict.fromkeys((*compared.notes, *found.notes)))
    update = {"candidates": compared.candidates, "choice": compared.choice, "notes": notes}
    return found.model_copy(update=update)


def _kept(report: FixReport, folder: Path | None) -> FixReport:
    """`report`, written to its folder where there is one."""
    if folder is not None:
        from equiaudit.report.repair import render_fix

        _write_verifications(folder, report.verifications)
        _write(
            folder,
            {
                "fix.json": report.model_dump_json(indent=2) + "\n",
                "fix.md": render_fix(report, "md"),
            },
        )
    return report


def _for(model: str | Path | nn.Module | Model, settings: ModelSettings) -> ModelSettings:
    """The settings that fit this model of two: an architecture is only for bare weights."""
    from equiaudit.models import needs_arch

    fitting = settings.copy()
    if not isinstance(model, str | Path) or not needs_arch(model):
        fitting.pop("arch", None)
    return fitting


def _write_verifications(folder: Path, records: Iterable[Verification]) -> None:
    dumped = [record.model_dump(mode="json") for record in records]
    _write(folder, {"verification.json": json.dumps(dumped, indent=2) + "\n"})


def _write(folder: Path, texts: dict[str, str]) -> None:
    from equiaudit.report.formats import write_files

    write_files(folder, texts)
