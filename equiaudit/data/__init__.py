"""Where images come from: a folder becomes a `Dataset`, and its files become pixels, once.

Imports numpy and Pillow, never torch.
"""

from equiaudit.data.class_table import ClassTable, read_class_table
from equiaudit.data.classes import ClassOrder, Doubt
from equiaudit.data.dataset import (
    Dataset,
    has_masks,
    has_targets,
    open_dataset,
    open_dense_dataset,
    open_images,
)
from equiaudit.data.decoding import Decoded, decode
from equiaudit.data.geometry import Geometry, TooSmall
from equiaudit.data.items import Item, Items
from equiaudit.data.label_sets import class_folders_in, open_label_sets
from equiaudit.data.letterbox import Letterbox
from equiaudit.data.masks import IGNORED, MaskReader, TargetReader
from equiaudit.data.places import Place, is_lost, place_of
from equiaudit.data.prefetch import check_sizes, decode_ahead
from equiaudit.data.remote import without_secrets
from equiaudit.data.truth import Truth, TruthReader

__all__ = [
    "IGNORED",
    "ClassOrder",
    "ClassTable",
    "Dataset",
    "Decoded",
    "Doubt",
    "Geometry",
    "Item",
    "Items",
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
    "open_dataset",
    "open_dense_dataset",
    "open_images",
    "open_label_sets",
    "place_of",
    "read_class_table",
    "without_secrets",
]
