"""How DATA is read: the settings that say so, and the data set that comes of them."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypedDict

from equiaudit.errors import InputError

if TYPE_CHECKING:
    from equiaudit.data import Dataset, Place
    from equiaudit.data.sequences import SequenceData
    from equiaudit.models import Model

__all__ = ["DataSettings", "Reading", "open_data", "open_sequence_data", "settled_task"]


class DataSettings(TypedDict, total=False):
    """How labels and masks are told; each key is optional."""

    layout: str
    """The name of a layout, or "auto"."""
    labels: str | Path | Place | None
    """A CSV with the columns file and label, or its URL."""
    classes: str | Path | Place | None
    """A CSV with the columns name, index and colour, or its URL."""
    ignore_index: int | None
    """The id of mask pixels that do not count."""


@dataclass(frozen=True)
class Reading:
    """`DataSettings`, complete."""

    layout: str = "auto"
    labels: str | Path | Place | None = None
    classes: str | Path | Place | None = None
    ignore_index: int | None = None

    @classmethod
    def taken_from(cls, settings: MutableMapping[str, Any]) -> Self:
        """Its own out of `settings`, which keeps the others."""
        return cls(**{f.name: settings.pop(f.name) for f in fields(cls) if f.name in settings})

    def stated(self) -> dict[str, object]:
        """What the numbers depend on, where it is no default; files are named elsewhere."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _FILES}
        defaults = {f.name: f.default for f in fields(self)}
        return {name: value for name, value in own.items() if value != defaults[name]}

    def refuse(self, names: tuple[str, ...], why: str, tip: str) -> None:
        """InputError for the first of `names` that is set."""
        for field in fields(self):
            if field.name in names and getattr(self, field.name) != field.default:
                raise InputError(f"--{field.name.replace('_', '-')} {why}.", tip=tip)


_FILES = ("labels", "classes")
_MOST_LABELS = 256
_OF_MASKS = ("classes", "ignore_index")


def open_data(
    model: Model, data: str | Place, reading: Reading, limit: int | None, seed: int
) -> Dataset:
    """The images of `data`, with labels, masks or targets in the numbering of `model`."""
    from equiaudit.data import open_dataset

    if model.task != "classification":
        reading.refuse(
            ("labels",),
            f"names one class per image, and {model.name} returns {model.task} maps",
            "Put masks into masks/ beside images/.",
        )
        return _open_dense(model, data, reading, limit, seed)
    reading.refuse(
        _OF_MASKS,
        f"is of masks, and {model.name} is a classifier",
        "Leave it out; --labels FILE.csv gives labels.",
    )
    return open_dataset(
        data,
        labels=_place(reading.labels),
        class_names=model.class_names,
        num_classes=2 if model.num_classes == 1 else model.num_classes,
        layout=reading.layout,
        limit=limit,
        seed=seed,
    )


def open_sequence_data(data: Place, reading: Reading, limit: int | None, seed: int) -> SequenceData:
    """The sequences of `data`, for the caps protocol."""
    from equiaudit.data.sequences import open_sequences

    return open_sequences(data, layout=reading.layout, limit=limit, seed=seed)


def _open_dense(
    model: Model, data: str | Place, reading: Reading, limit: int | None, seed: int
) -> Dataset:
    from equiaudit.data import (
        ClassTable,
        MaskReader,
        TargetReader,
        open_dense_dataset,
        read_class_table,
    )

    how: dict[str, Any] = {"layout": reading.layout, "limit": limit, "seed": seed}
    if model.task == "image":
        return open_dense_dataset(data, "image", TargetReader(), **how)
    classes = _place(reading.classes)
    table = ClassTable() if classes is None else read_class_table(classes)
    count = max(2, model.num_classes or 2)
    stated = dict(table.names) or dict(enumerate(model.class_names or ()))
    names = {index: name for index, name in stated.items() if index < count}
    reader = MaskReader(count, reading.ignore_index, table)
    return open_dense_dataset(data, "segmentation", reader, class_names=names, **how)


def _place(file: str | Path | Place | None) -> Place | None:
    from equiaudit.data import place_of

    return None if file is None else place_of(file)


def _class_count(model: Model, data: str | Place, classes: str | Path | Place | None) -> int:
    """That of a model that returns labels, or else that of `classes`."""
    from equiaudit.data import has_masks, read_class_table

    file = _place(classes)
    if model.num_classes is not None:
        return max(2, model.num_classes)
    if file is not None:
        return max(read_class_table(file).names) + 1
    if has_masks(data):
        raise InputError(
            f"{model.name} returns labels, and nothing says how many classes there are.",
            tip="Name them with --classes FILE.csv (columns name,index).",
        )
    return _MOST_LABELS


def settled_task(
    model: Model, data: str | Place, task: str, classes: str | Path | Place | None = None
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
