"""The verbs as functions: what the command line calls and what a test imports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from equiaudit.audit.observer import Observer, Silent
from equiaudit.audit.options import ScanOptions
from equiaudit.errors import InputError
from equiaudit.judging import Judge

if TYPE_CHECKING:
    from torch import nn

    from equiaudit.data import Dataset
    from equiaudit.models import Model, Preprocess
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


def _require_classification(model: Model) -> None:
    if model.task != "classification":
        raise InputError(
            f"{model.name} returns {model.task} outputs, and scan reads labels, one per image.",
            tip="Name a classifier output with --output-name.",
        )


def load_model(model: str | Path | nn.Module | Model, **settings: Unpack[ModelSettings]) -> Model:
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
    from equiaudit.comparison import parse_samples
    from equiaudit.data import open_dataset
    from equiaudit.report import record_baseline, write_reports

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
    judge = Judge.prepare(gates, baseline, require=require_baseline)
    kinds = (protocol,) if protocol else options.shifts
    judge.check(kinds)
    loaded = load_model(model, **model_settings)
    _require_classification(loaded)
    dataset = open_dataset(
        data,
        labels=_path(labels),
        class_names=loaded.class_names,
        num_classes=2 if loaded.num_classes == 1 else loaded.num_classes,
        limit=limit,
        seed=seed,
    )
    judge.check(kinds, labelled=dataset.labelled)
    folder = _path(output)
    observer.settings(_in_force(loaded, dataset, options))
    named = {name: model_settings.get(name) for name in ("arch", "task", "output_name", "trust")}
    said = {name: value for name, value in named.items() if value and value != "auto"}
    done, journal = run_scan(
        loaded, dataset, options, folder=folder, observer=observer, settings=said
    )
    if folder is not None:  # Before the baseline has its say: a mismatch must not cost the run.
        write_reports(done.result, folder, samples_csv=done.samples, images=images)
    journal.discard()
    result = judge.judged(done.result, parse_samples(done.samples), observer.note)
    if folder is not None:
        write_reports(result, folder, images=images)
    if judge.lacks_baseline and judge.path is not None:
        observer.note(f"This run is recorded as the baseline at {judge.path}.")
        record_baseline(result, done.samples, judge.path)
    return result


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)


def _floats(values: Sequence[float] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(float(v) for v in values)


def _in_force(model: Model, dataset: Dataset, options: ScanOptions) -> dict[str, str]:
    """Every setting the numbers depend on, as a person reads it."""
    how = model.preprocess
    height, width = how.size
    shifts = options.protocol or (
        f"{', '.join(options.shifts)} up to {options.max_shift} px, {options.offsets} per image"
    )
    stride = "not known" if model.total_stride is None else "x".join(map(str, model.total_stride))
    return {
        "model": f"{model.name} ({model.kind}, {model.backend}, {model.device}, {how.dtype})",
        "notes": "; ".join(model.notes),
        "data": f"{len(dataset.items)} images, {'labelled' if dataset.labelled else 'no labels'}",
        "window": f"{height}x{width}{_said(how, 'size')}",
        "resize": f"{how.resize or 'none'}{_said(how, 'resize')}",
        "channels": f"{how.channels}{_said(how, 'channels')}",
        "mean": f"{_numbers(how.mean)}{_said(how, 'mean')}",
        "std": f"{_numbers(how.std)}{_said(how, 'std')}",
        "total stride": stride,
        "shifts": shifts,
        "seed": str(options.seed),
    }


def _said(how: Preprocess, field: str) -> str:
    """Where a value came from, unless it is a flag or a default, which go without saying."""
    source = how.source.get(field, "default")
    return "" if source == "default" or source.startswith("flag") else f" ({source})"


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
