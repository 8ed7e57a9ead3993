"""The data set that comes of DATA and the settings of how to read it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from equiaudit.api.loading import ModelSettings
from equiaudit.data.reading import DataSettings, Reading
from equiaudit.errors import InputError
from equiaudit.tasks import TASKS

if TYPE_CHECKING:
    from equiaudit.data import Dataset, Place
    from equiaudit.data.sequences import SequenceData
    from equiaudit.models import Model

__all__ = [
    "DataSettings",
    "Reading",
    "ScanSettings",
    "open_data",
    "open_sequence_data",
    "parted",
    "refuse_doubt",
    "settled_task",
]


class ScanSettings(ModelSettings, DataSettings, total=False):
    """How the model is loaded, and how the data are read."""


def parted(settings: ScanSettings) -> tuple[Reading, ModelSettings]:
    """How the data are read, and how the model is loaded."""
    left: dict[str, Any] = dict(settings)
    return Reading.taken_from(left), cast(ModelSettings, left)


_MOST_LABELS = 256
"""Classes of a map of labels where nothing says how many there are."""


def open_data(
    model: Model,
    data: str | Place,
    reading: Reading,
    limit: int | None,
    seed: int,
    *,
    settle: bool = True,
) -> Dataset:
    """The images of `data`, with labels, masks or targets in the numbering of `model`.

    Where it is not clear how labels are numbered the model is asked, unless `settle` is off, for
    work that needs no labels.
    """
    from equiaudit.api.class_order import settled_labels

    dataset = TASKS.named(model.task).open(model, data, reading, limit, seed)
    return settled_labels(model, dataset) if settle else dataset


def open_sequence_data(
    model: Model, data: Place, reading: Reading, limit: int | None, seed: int
) -> SequenceData:
    """The sequences of `data`, for the caps protocol."""
    from equiaudit.data.mask_flags import mask_reader
    from equiaudit.data.sequences import open_sequences

    return open_sequences(
        data,
        mask_reader(model.num_classes, reading),
        layout=reading.layout,
        split=reading.split,
        no_mask=reading.no_mask,
        limit=limit,
        seed=seed,
    )


def _counted(model: Model, data: str | Place, reading: Reading) -> Model:
    """`model` with a number of classes, where it returns maps of labels and does not say."""
    from equiaudit.data import has_masks, read_class_table

    if not model.outputs_labels or not TASKS[model.task].maps or model.num_classes is not None:
        return model
    if reading.classes_place is not None:
        named = set(read_class_table(reading.classes_place).names) - {_void(reading)}
        return replace(model, num_classes=max(2, max(named, default=0) + 1))
    if has_masks(data):
        raise InputError(
            f"{model.name} returns labels, and nothing says how many classes there are.",
            tip="Name them with --classes FILE.csv (columns name,index).",
        )
    return replace(model, num_classes=_MOST_LABELS)


def _void(reading: Reading) -> int:
    """The index of a table of classes that is none; an ignored value that masks store is one
    only where they are not renumbered."""
    from equiaudit.data import VOID

    stated = None if reading.mask_offset else reading.ignore_index
    return VOID if stated is None else stated


def settled_task(model: Model, data: str | Place, reading: Reading | None = None) -> Model:
    """`model` with the task that its outputs and the folder suggest, where nothing named it.

    What outputs were taken for, from their shape, gives way to a task of the same shape that
    `data` tells of. Where labels are returned and nothing says how many classes there are,
    the table of classes in `reading` does.
    """
    if model.outputs_labels:
        return _counted(model, data, reading or Reading())
    if model.task_source:
        return model
    guess = TASKS[model.task]
    for other in TASKS.values():
        note = other.told_by(data) if other.output == guess.output else ""
        if note and other is not guess:
            told = replace(model, task=other.name, notes=(*model.notes, note))
            refuse_doubt(told)
            return told if other.scores else _without_scores(told)
    refuse_doubt(model)
    note = guess.unsettled(data)
    return replace(model, notes=(*model.notes, note)) if note else model


def refuse_doubt(model: Model) -> None:
    """InputError where one class per place is to be read from what may be several."""
    task = TASKS[model.task]
    if model.doubt and task.scores and task.exclusive:
        raise InputError(
            f"{model.name}: {model.doubt}.",
            tip="--task segmentation reads them as scores of one class all the same; --task image"
            " reads maps as images.",
        )


def _without_scores(model: Model) -> Model:
    """As a model whose task was named from the start."""
    return replace(model, num_classes=None, outputs_probabilities=False)
