"""`--backend auto`: which way of running the model a scan takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from equiaudit.audit.geometry import geometry
from equiaudit.audit.journal import has_records
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.setup import images_per_call, in_random_order, plan_of, run_key
from equiaudit.audit.tasks import task_of
from equiaudit.data import Dataset, Decoded, decode
from equiaudit.models.backends import Choice, choose, rebuild, stays, ways
from equiaudit.models.pixels import normalise
from equiaudit.models.types import Model
from equiaudit.results import BackendTrial

_SAMPLE = 2
"""Batches of the data that the ways are tried on."""
_SHORT = 10
"""Batches in a scan that is not worth a trial, whatever the model."""


def as_it_is(model: Model, options: ScanOptions) -> Choice:
    """No choice at all."""
    return Choice(model, images_per_call(model, options), "")


def pick(model: Model, dataset: Dataset, options: ScanOptions, folder: Path | None) -> Choice:
    """The fastest way to run `model` on `dataset`, or that of the run in `folder` to continue.

    Nothing here may end a scan: what fails is a way that is not taken.
    """
    batch = images_per_call(model, options)
    if model.reading:
        return stays(model, batch, "its outputs are read as boxes")
    begun = _begun(model, dataset, options, folder, batch)
    if begun is not None:
        return begun
    if options.batch_size != "auto" and model.device.type != "cpu":
        return stays(model, batch, "the batch size is given")
    passes = len(dataset.items) * plan_of(model, options).passes_per_image()
    if passes < _SHORT * batch:
        return stays(model, batch, f"the scan is short ({passes} passes)")
    images = _sample(model, dataset, options, batch)
    if images is None:
        return stays(model, batch, "no image of the data could be read")
    return choose(model, images, passes=passes, batch_size=batch)


def trials_of(choice: Choice) -> tuple[BackendTrial, ...]:
    """What was tried, as a result holds it."""
    return tuple(
        BackendTrial(
            backend=trial.backend,
            batch_size=trial.batch_size,
            milliseconds=None if trial.seconds is None else round(1000 * trial.seconds, 4),
            error=trial.error,
            reason=trial.reason,
        )
        for trial in choice.trials
    )


def _begun(
    model: Model,
    dataset: Dataset,
    options: ScanOptions,
    folder: Path | None,
    batch: int,
) -> Choice | None:
    """How the run was made whose journal lies in `folder`, if one does that this one continues."""
    if folder is None or not options.resume:
        return None
    plan = plan_of(model, options)
    task = task_of(model, dataset, plan, options)
    for backend, size in ways(model, batch):
        key = run_key(task, replace(model, backend=backend), dataset, plan, size)
        if not has_records(folder, key):
            continue
        try:
            made = rebuild(model, backend)
        except Exception:  # What could be made then cannot now: the run starts anew.
            return None
        return stays(made, size, "the run to be continued was made by it")
    return None


def _sample(model: Model, dataset: Dataset, options: ScanOptions, batch: int) -> Tensor | None:
    """The first images of the run, as the model wants them, on its device."""
    wanted = geometry(model.preprocess, 0)
    items = in_random_order(dataset, options.seed)[: _SAMPLE * batch]
    images = [decode(item, wanted) for item in items]
    pictures = [
        normalise(image.pixels[None], model.preprocess, model.device)
        for image in images
        if isinstance(image, Decoded)
    ]
    return torch.cat(pictures) if pictures else None
