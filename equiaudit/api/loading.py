"""`load_model`, and the settings of a model that every verb takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from equiaudit.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from equiaudit.data import Dataset, Place
    from equiaudit.models import Model

__all__ = [
    "ModelSettings",
    "as_path",
    "as_place",
    "load_model",
    "open_data",
    "require_segmenter",
    "settled_task",
]


_MOST_LABELS = 256


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
    output_layout: str
    """Where its channels are, where it is a map: auto, NCHW or NHWC."""
    device: str
    backend: str
    stride: tuple[int, int] | None
    """Total stride, where it cannot be found from the model."""


def load_model(
    model: str | Path | nn.Module | Model,
    *,
    normalisation: bool = True,
    **settings: Unpack[ModelSettings],
) -> Model:
    """Load any supported model, in eval mode, with its preprocessing.

    `model` is a path, `torchvision:NAME/WEIGHTS`, `timm:NAME` or a module. Without
    `normalisation`, for work that reads no images, mean and std need not be known. Raises
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
        file=as_path(named.pop("preprocess", None)),
    )
    output = named.pop("output_name", None)
    return load(model, output=output, preprocess=overrides, normalisation=normalisation, **named)


def open_data(
    model: Model,
    data: str | Place,
    labels: str | Place | None,
    limit: int | None,
    seed: int,
    *,
    classes: str | Place | None = None,
    ignore_index: int | None = None,
) -> Dataset:
    """The images of `data`, with labels, masks or targets in the numbering of `model`.

    `classes` and `ignore_index` say how masks are read, `labels` where labels are.
    """
    from equiaudit.data import open_dataset

    if model.task != "classification":
        if labels is not None:
            raise InputError(
                f"--labels names one class per image, and {model.name} returns {model.task} maps.",
                tip="Put masks into masks/ beside images/.",
            )
        return _open_dense(model, data, limit, seed, classes, ignore_index)
    if classes is not None or ignore_index is not None:
        raise InputError(
            f"--classes and --ignore-index are of masks, and {model.name} is a classifier.",
            tip="Leave them out; --labels FILE.csv gives labels.",
        )
    return open_dataset(
        data,
        labels=labels,
        class_names=model.class_names,
        num_classes=2 if model.num_classes == 1 else model.num_classes,
        limit=limit,
        seed=seed,
    )


def _open_dense(
    model: Model,
    data: str | Place,
    limit: int | None,
    seed: int,
    classes: str | Place | None,
    ignore_index: int | None,
) -> Dataset:
    from equiaudit.data import (
        ClassTable,
        MaskReader,
        TargetReader,
        open_dense_dataset,
        read_class_table,
    )

    if model.task == "image":
        return open_dense_dataset(data, "image", TargetReader(), limit=limit, seed=seed)
    table = ClassTable() if classes is None else read_class_table(classes)
    count = max(2, model.num_classes or 2)
    stated = dict(table.names) or dict(enumerate(model.class_names or ()))
    names = {index: name for index, name in stated.items() if index < count}
    reader = MaskReader(count, ignore_index, table)
    return open_dense_dataset(
        data, "segmentation", reader, class_names=names, limit=limit, seed=seed
    )


def _class_count(model: Model, data: str | Place, classes: str | Place | None) -> int:
    """That of a model that returns labels, or else that of `classes`."""
    from equiaudit.data import has_masks, read_class_table

    if model.num_classes is not None:
        return max(2, model.num_classes)
    if classes is not None:
        return max(read_class_table(classes).names) + 1
    if has_masks(data):
        raise InputError(
            f"{model.name} returns labels, and nothing says how many classes there are.",
            tip="Name them with --classes FILE.csv (columns name,index).",
        )
    return _MOST_LABELS


def settled_task(
    model: Model, data: str | Place, task: str, classes: str | Place | None = None
) -> Model:
    """`model` with the task that its outputs and the folder suggest, where `task` is "auto".

    Maps (N, C, H, W) are taken for scores of classes, and for images where `data` holds
    targets/ and no masks/. Where labels are returned and nothing says how many classes there
    are, `classes` does.
    """
    from equiaudit.data import has_masks, has_targets

    if model.task == "segmentation" and model.outputs_labels:
        return replace(model, num_classes=_class_count(model, data, classes))
    if task != "auto" or model.task != "segmentation":
        return model
    if has_targets(data):
        note = "task image, as there are targets"
        return replace(model, task="image", notes=(*model.notes, note))
    if has_masks(data):
        return model
    note = "task segmentation, from the shape of the output; --task image for image outputs"
    return replace(model, notes=(*model.notes, note))


def require_segmenter(model: Model) -> None:
    """A sequence of sliding windows follows a defect through maps."""
    if model.task != "segmentation":
        raise InputError(
            f"{model.name} returns {model.task} outputs, and the caps protocol follows a defect"
            " through segmentations.",
            tip="Name a segmentation output with --output-name, or give --task segmentation.",
        )


def as_path(value: str | Path | None) -> Path | None:
    """A path, or nothing."""
    return None if value is None else Path(value)


def as_place(value: str | Path | Place) -> Place:
    """A path, or what a URL leads to; to be opened once, as a remote one is listed then."""
    from equiaudit.data import place_of

    return place_of(value)


def _floats(values: Sequence[float] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(float(v) for v in values)
