"""Maps among what a model returns, whatever it wraps them in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor


def change_maps(output: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Apply `change` to every map (B, C, h, w) of `output`, as `change_tensors`.

    Raises ValueError for anything else: a label or a box has no place that could be changed.
    """

    def changed(tensor: Tensor) -> Tensor:
        if tensor.dim() != 4:
            raise ValueError(f"a dense output must be a map (B, C, h, w), not {tensor.dim()}-D")
        return change(tensor)

    return change_tensors(output, changed, what="a dense output must be made of maps")


def change_tensors(
    output: Any,
    change: Callable[[Tensor], Tensor],
    *,
    what: str = "an output must be made of tensors",
) -> Any:
    """Apply `change` to every tensor of `output`: one, or tuples, lists and mappings of them, which
    come back as tuples, lists and dicts. Raises ValueError, beginning with `what`, for others.
    """
    if isinstance(output, Tensor):
        return change(output)
    if isinstance(output, Mapping):
        return {name: change_tensors(value, change, what=what) for name, value in output.items()}
    if isinstance(output, tuple):
        return tuple(change_tensors(value, change, what=what) for value in output)
    if isinstance(output, list):
        return [change_tensors(value, change, what=what) for value in output]
    raise ValueError(f"{what}, not {type(output).__name__}")
