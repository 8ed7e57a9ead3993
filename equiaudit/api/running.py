"""Which backend a scan runs on, where it is left to choose."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import fx, nn

    from equiaudit.audit.options import ScanOptions
    from equiaudit.data import Dataset
    from equiaudit.models import Model
    from equiaudit.models.backends import Choice

__all__ = ["choice_for", "is_left_to_choose"]


def is_left_to_choose(model: object, backend: str | None) -> bool:
    """Whether a scan may run `model` otherwise than it was loaded."""
    from equiaudit.models import Model

    return backend in (None, "auto") and not isinstance(model, Model)


def choice_for(
    model: Model, dataset: Dataset, options: ScanOptions, folder: Path | None, *, automatic: bool
) -> Choice:
    """How `model` is run on `dataset`: as it is, or where that is `automatic` the fastest way."""
    from equiaudit.audit.backend import as_it_is, pick

    if not automatic:
        return as_it_is(model, options)
    return pick(model, dataset, options, folder, partial(_graph, model))


def _graph(model: Model, module: nn.Module) -> fx.GraphModule:
    import torch

    from equiaudit.repair.capture import capture

    how = model.preprocess
    dtype: torch.dtype = getattr(torch, how.dtype)
    return capture(module, size=how.size, channels=len(how.mean), dtype=dtype).graph_module
