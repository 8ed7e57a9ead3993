"""The settings that say how DATA is read."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict

from equiaudit.data.class_names import ClassNames, read_class_names
from equiaudit.data.class_table import read_class_table
from equiaudit.data.places import Place, place_of
from equiaudit.data.tables import read_table
from equiaudit.data.tree import check_images
from equiaudit.errors import InputError

if TYPE_CHECKING:
    from equiaudit.data.classes import ClassOrder


class DataSettings(TypedDict, total=False):
    """How labels and masks are told; each key is optional."""

    layout: str
    """The name of a layout, or "auto"."""
    labels: str | Path | Place | None
    """A table with the columns file and label, or its URL."""
    class_order: ClassOrder | None
    """How classes are counted where that is not clear: "string" as torchvision's ImageFolder,
    "natural" as timm, "index" where the number is the class index."""
    class_names: str | Path | Place | None
    """A file with the names of the model's classes in their order, or its URL."""
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
    class_order: ClassOrder | None = None
    class_names: str | Path | Place | None = None
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

    def check_places(self, data: str | Place, *, sequences: bool = False) -> None:
        """InputError where DATA, an image in it, the layout or a table is plainly not there.

        No model is needed to tell; what reads them later says so here.
        """
        if _absent(self.class_names):
            read_class_names(place_of(self.class_names or ""))
        if sequences:
            from equiaudit.data.sequences import require_folder

            require_folder(data)
        else:
            check_images(data)
        if self.layout != "auto":
            from equiaudit.data.layouts import check_name

            check_name(self.layout)
        if _absent(self.labels):
            read_table(place_of(self.labels or ""))
        if _absent(self.classes):
            read_class_table(self.classes or "")

    @property
    def labels_place(self) -> Place | None:
        """Where the labels are."""
        return None if self.labels is None else place_of(self.labels)

    def names_for(self, model: str, own: Sequence[str] | None, count: int | None) -> ClassNames:
        """The names of the `count` classes of `model`: those of the file, or else its `own`.

        InputError where the file names another number of classes.
        """
        if self.class_names is None:
            return ClassNames(tuple(own or ()))
        found = read_class_names(place_of(self.class_names))
        if count is not None and len(found.names) != count:
            raise InputError(
                f"{self.class_names} names {len(found.names)} classes, and {model} has {count}.",
                tip="Give one name per class, in the order of the model's outputs.",
            )
        return found

    @property
    def classes_place(self) -> Place | None:
        """Where the table of classes is."""
        return None if self.classes is None else place_of(self.classes)


_FILES = ("labels", "class_names", "classes")
OF_MASKS = (
    *("classes", "ignore_index", "mask_offset", "mask_threshold", "mask_orientation"),
    *("split", "no_mask"),
)
"""Settings that only masks are read by."""
LAYING = ("layout", *OF_MASKS)
"""Those that say how DATA and its masks lie."""


def _absent(table: str | Path | Place | None) -> bool:
    """Whether a file on disk is named that is not there."""
    place = None if table is None else place_of(table)
    return isinstance(place, Path) and not place.exists()
