"""The verbs as functions: what the command line calls and what a test imports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from equiaudit.audit.observer import Observer, Silent
from equiaudit.audit.options import ScanOptions
from equiaudit.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from equiaudit.audit.assemble import Scan
    from equiaudit.gates import Gate
    from equiaudit.models import Model
    from equiaudit.results import Result

__all__ = ["ModelSettings", "load_model", "scan"]


class ModelSettings(TypedDict, total=False):
    """How a model is loaded; each key is optional."""

    arch: str | None
    """`torchvision:NAME`, `timm:NAME` or `pkg.module:factory`, for a state dict."""
    trust: bool
    """Allow files that run code when they are unpickled."""
    size: tuple[int, int] | None
    """(H, W) of the window the model sees, px."""
    mean: Sequence[float] | None
    """Per channel, RGB order, for pixels in [0, 1]."""
    std: Sequence[float] | None
    preprocess: str | Path | None
    """A TOML file with the whole preprocessing."""
    task: str
    output_name: str | None
    """Which output tensor counts, where the model has several."""
    device: str
    backend: str
    stride: tuple[int, int] | None
    """Total stride, where it cannot be found from the model."""


def load_model(
    model: str | Path | nn.Module | Model, **settings: Unpack[ModelSettings]
) -> Model:
    """Load any supported model, in eval mode, with its preprocessing.

    `model` is a path, `torchvision:NAME/WEIGHTS`, `timm:NAME` or a module. Raises
    InputError in one sentence for a file that is not a model, needs `arch` or `trust`, or
    whose preprocessing is not known.
    """
    from equiaudit.models import Model, PreprocessOverrides, load

    if isinstance(model, Model):
        return model
    named: dict[str, Any] = dict(settings)
    overrides = PreprocessOverrides(
        size=named.pop("size", None),
        mean=_floats(named.pop("mean", None)),
        std=_floats(named.pop("std", None)),
        file=_path(named.pop("preprocess", None)),
    )
    return load(model, output=named.pop("output_name", None), preprocess=overrides, **named)


def scan(
    model: str | Path | nn.Module | Model,
    data: str | Path,
    *,
    labels: str | Path | None = None,
    limit: int | None = None,
    shifts: Sequence[str] = ("circular", "crop", "zero-pad"),
    max_shift: int = 16,
    offsets: int | Literal["full"] = 16,
    seed: int = 0,
    protocol: str | None = None,
    batch_size: int | Literal["auto"] = "auto",
    workers: int | Literal["auto"] = "auto",
    strict: bool = False,
    accuracy_check: bool = True,
    images: bool = True,
    resume: bool = True,
    gates: Sequence[str] = (),
    baseline: str | Path | None = None,
    require_baseline: bool = False,
    output: str | Path | None = None,
    observer: Observer | None = None,
    **model_settings: Unpack[ModelSettings],
) -> Result:
    """Shift every image, run the model, and return the result.

    `data` is a folder of images; class sub-folders or `labels` (a CSV with file,label) say
    what they show. `offsets` shifts per image and kind are drawn from [-max_shift,
    max_shift]^2, or "full" takes them all. With `output`, that folder receives result.json,
    samples.csv, report.md and report.html, and an interrupted run continues from what it
    kept there. Raises InputError (exit 2) or RunError (exit 3) of `equiaudit.errors`.
    """
    from equiaudit.audit.engine import run_scan
    from equiaudit.data import open_dataset
    from equiaudit.report import write_reports

    observer = observer or Silent()
    options = ScanOptions(
        shifts=tuple(shifts),
        max_shift=max_shift,
        offsets=offsets,
        limit=limit,
        seed=seed,
        protocol=protocol,
        images=images,
        strict=strict,
        accuracy_check=accuracy_check,
        batch_size=batch_size,
        workers=workers,
        resume=resume,
    )
    judge = _Judge.prepare(gates, baseline, require_baseline, options)
    loaded = load_model(model, **model_settings)
    dataset = open_dataset(
        data,
        labels=_path(labels),
        class_names=loaded.class_names,
        num_classes=loaded.num_classes,
        limit=limit,
        seed=seed,
    )
    judge.check(dataset.labelled)
    folder = _path(output)
    observer.settings(_in_force(loaded, options, len(dataset.items)))
    done, journal = run_scan(loaded, dataset, options, folder=folder, observer=observer)
    result = judge.judged(done, observer)
    if folder is not None:
        write_reports(result, folder, samples_csv=done.samples, images=images)
    journal.discard()
    return result
