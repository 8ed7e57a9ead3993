"""Whether images have a border for `canonical` to cut them at."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from equiaudit.results.repair import Borders
from equiaudit.sampling.canonical import canonical_report


def borders_of(images: Iterable[tuple[str, torch.Tensor]]) -> Borders:
    """Counts over named images (C, H, W), as a model receives them."""
    counts = dict.fromkeys(((True, True), (True, False), (False, True), (False, False)), 0)
    without = []
    for name, image in images:
        (found,) = canonical_report(image[None])
        ends = (found.row_border, found.column_border)
        counts[ends] += 1
        if not all(ends):
            without.append(name)
    both, rows_only, columns_only, neither = counts.values()
    return Borders(
        both=both,
        rows_only=rows_only,
        columns_only=columns_only,
        neither=neither,
        without=tuple(without),
    )
