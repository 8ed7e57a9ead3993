"""Where images come from: a folder becomes a `Dataset`, and its files become pixels, once.

Imports numpy and Pillow as its names are first asked for, never torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from equiaudit.data.class_table import ClassTable, read_class_table
    from equiaudit.data.classes import Doubt
    from equiaudit.data.dataset import (
        Dataset,
        has_masks,
        has_targets,
        open_bare_dataset,
        open_dataset,
        open_dense_dataset,
    )
    from equiaudit.data.decoding import Decoded, decode
    from equiaudit.data.geometry import Geometry, TooSmall
    from equiaudit.data.items import Item, Items
    from equiaudit.data.label_sets import class_folders_in, open_label_sets
    from equiaudit.data.letterbox import Letterbox
    from equiaudit.data.mask_values import IGNORED, VOID
    from equiaudit.data.masks import MaskReader, TargetReader
    from equiaudit.data.object_sets import Labels, open_objects
    from equiaudit.data.places import Place, is_lost, place_of
    from equiaudit.data.prefetch import check_sizes, decode_ahead
    from equiaudit.data.remote import without_secrets
    from equiaudit.data.truth import Truth, TruthReader

_HOME = {
    "ClassTable": "class_table",
    "read_class_table": "class_table",
    "Doubt": "classes",
    "Dataset": "dataset",
    "has_masks": "dataset",
    "has_targets": "dataset",
    "open_bare_dataset": "dataset",
    "open_dataset": "dataset",
    "open_dense_dataset": "dataset",
    "Decoded": "decoding",
    "Letterbox": "letterbox",
    "Geometry": "geometry",
    "TooSmall": "geometry",
    "decode": "decoding",
    "Item": "items",
    "Items": "items",
    "class_folders_in": "label_sets",
    "open_label_sets": "label_sets",
    "IGNORED": "mask_values",
    "VOID": "mask_values",
    "MaskReader": "masks",
    "TargetReader": "masks",
    "Labels": "object_sets",
    "open_objects": "object_sets",
    "Place": "places",
    "is_lost": "places",
    "place_of": "places",
    "check_sizes": "prefetch",
    "decode_ahead": "prefetch",
    "without_secrets": "remote",
    "Truth": "truth",
    "TruthReader": "truth",
}

__all__ = [
    "IGNORED",
    "VOID",
    "ClassTable",
    "Dataset",
    "Decoded",
    "Doubt",
    "Geometry",
    "Item",
    "Items",
    "Labels",
    "Letterbox",
    "MaskReader",
    "Place",
    "TargetReader",
    "TooSmall",
    "Truth",
    "TruthReader",
    "check_sizes",
    "class_folders_in",
    "decode",
    "decode_ahead",
    "has_masks",
    "has_targets",
    "is_lost",
    "open_bare_dataset",
    "open_dataset",
    "open_dense_dataset",
    "open_label_sets",
    "open_objects",
    "place_of",
    "read_class_table",
    "without_secrets",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"equiaudit.data.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
