"""Maps among what a model returns, whatever it wraps them in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor


def change_maps(output: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Apply `change` to every map (B, C, h, w) of `output`: a tensor, or tuples, lists and
    mappings of them, which come back as tuples, lists and dicts.

    Raises ValueError for anything else: a label or a box has no place that could be changed.
    """
    if isinstance(output, Tensor):
        if output.dim() != 4:
            raise ValueError(f"a dense output must be a map (B, C, h, w), not {output.dim()}-D")
        return change(output)
    if isinstance(output, Mapping):
        return {name: change_maps(value, change) for name, value in output.items()}
    if isinstance(output, tuple):
        return tuple(change_maps(value, change) for value in output)
    if isinstance(output, list):
        return [change_maps(value, change) for value in output]
    raise ValueError(f"a dense output must be made of maps, not {type(output).__name__}")
