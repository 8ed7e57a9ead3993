"""From the settings of masks to their reader."""

from __future__ import annotations

from equiaudit.data.class_table import ClassTable, read_class_table
from equiaudit.data.masks import MaskReader
from equiaudit.data.reading import Reading


def mask_reader(num_classes: int | None, reading: Reading) -> MaskReader:
    """How masks become classes of a model with `num_classes` channels, as far as flags say."""
    if reading.mask_threshold is not None:
        reading.refuse(
            ("classes", "mask_offset"),
            "is of class ids, and --mask-threshold makes two classes of levels",
            "Leave one of them out.",
        )
    classes = reading.classes_place
    return MaskReader(
        num_classes=max(2, num_classes or 2),
        ignore=reading.ignore_index,
        table=ClassTable() if classes is None else read_class_table(classes),
        offset=reading.mask_offset,
        threshold=reading.mask_threshold,
        lying=reading.mask_orientation,
    )
