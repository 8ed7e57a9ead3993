"""Where images come from: a folder becomes a `Dataset`, and its files become pixels, once.

Imports numpy and Pillow, never torch.
"""

from equiaudit.data.dataset import Dataset, Item, open_dataset
from equiaudit.data.decoding import Decoded, Geometry, TooSmall, decode
from equiaudit.data.prefetch import check_sizes, decode_ahead
from equiaudit.data.truth import Truth, TruthReader

__all__ = [
    "Dataset",
    "Decoded",
    "Geometry",
    "Item",
    "TooSmall",
    "Truth",
    "TruthReader",
    "check_sizes",
    "decode",
    "decode_ahead",
    "open_dataset",
]
