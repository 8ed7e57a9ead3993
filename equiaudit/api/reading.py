"""How DATA is read: the settings that say so, and the data set that comes of them."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict

from equiaudit.errors import InputError

if TYPE_CHECKING:
    from equiaudit.data import Dataset, MaskReader, Place
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
    """The stored value of mask pixels that do not count."""
    split: str | None
    """train, val or test, where a data set is so parted; None for what the layout says."""
    no_mask: Literal["refuse", "background"] | None
    """What an image without a mask means; None for what the layout says."""
    mask_offset: int | None
    """What is added to the values of masks: -1 where id 1 is the model's class 0."""
    mask_threshold: int | None
    """The value from which on a mask's pixel is class 1; all below are class 0."""
    mask_orientation: Literal["stored", "upright"] | None
    """Whether masks lie as stored pixels or upright, of images that EXIF turns."""


@dataclass(frozen=True)
class Reading:
    """`DataSettings`, complete."""

    layout: str = "auto"
    labels: str | Path | Place | None = None
    classes: str | Path | Place | None = None
    ignore_index: int | None = None
    split: str | None = None
    no_mask: Literal["refuse", "background"] | None = None
    mask_offset: int | None = None
    mask_threshold: int | None = None
    mask_orientation: Literal["stored", "upright"] | None = None

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
_OF_VALUES = ("classes", "ignore_index", "mask_offset", "mask_threshold")
_OF_MASKS = (*_OF_VALUES, "no_mask", "mask_orientation", "split")


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


def open_sequence_data(
    model: Model, data: Place, reading: Reading, limit: int | None, seed: int
) -> SequenceData:
    """The sequences of `data`, for the caps protocol."""
    from equiaudit.data.sequences import open_sequences

    reading.refuse(("labels",), "is not read by the protocol caps", "Leave it out.")
    return open_sequences(
        data,
        mask_reader(model, reading),
        layout=reading.layout,
        split=reading.split,
        no_mask=reading.no_mask,
        limit=limit,
        seed=seed,
    )


def _open_dense(
    model: Model, data: str | Place, reading: Reading, limit: int | None, seed: int
) -> Dataset:
    from equiaudit.data import TargetReader, open_dense_dataset

    how: dict[str, Any] = {"layout": reading.layout, "limit": limit, "seed": seed}
    if model.task == "image":
        reading.refuse(_OF_MASKS, "is of masks, and targets are images", "Leave it out.")
        return open_dense_dataset(data, "image", TargetReader(), **how)
    reader = mask_reader(model, reading)
    stated = dict(reader.table.names) or dict(enumerate(model.class_names or ()))
    names = {index: name for index, name in stated.items() if index < reader.num_classes}
    how |= {"split": reading.split, "no_mask": reading.no_mask}
    return open_dense_dataset(data, "segmentation", reader, class_names=names, **how)


def mask_reader(model: Model, reading: Reading) -> MaskReader:
    """How masks become classes of `model`, as far as flags say."""
    from equiaudit.data import ClassTable, MaskReader, read_class_table

    if reading.mask_threshold is not None:
        reading.refuse(
            ("classes", "mask_offset"),
            "names class ids, and --mask-threshold makes two classes of levels",
            "Leave one of them out.",
        )
    classes = _place(reading.classes)
    return MaskReader(
        num_classes=max(2, model.num_classes or 2),
        ignore=reading.ignore_index,
        table=ClassTable() if classes is None else read_class_table(classes),
        offset=reading.mask_offset,
        threshold=reading.mask_threshold,
        lying=reading.mask_orientation,
    )


def _place(file: str | Path | Place | None) -> Place | None:
    from equiaudit.data import place_of

    return None if file is None else place_of(file)


def settled_task(model: Model, data: str | Place, task: str) -> Model:
    """`model` with the task that its outputs and the folder suggest, where `task` is "auto".

    Maps (N, C, H, W) are taken for scores of classes, and for images where `data` holds
    targets/ and no masks/.
    """
    from equiaudit.data import has_masks, has_targets

    if task != "auto" or model.task != "segmentation":
        return model
    if has_targets(data):
        note = "task image, as there are targets"
        return replace(model, task="image", notes=(*model.notes, note))
    if has_masks(data):
        return model
    note = "task segmentation, from the shape of the output; --task image for image outputs"
    return replace(model, notes=(*model.notes, note))
