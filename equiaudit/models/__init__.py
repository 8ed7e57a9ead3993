"""What is examined: a file, a zoo name or a module becomes one `Model`.

`load` imports torch when it is first asked for; the value types and the preprocessing
readers do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from equiaudit.models.outline import Outline, foreseen, needs_arch
from equiaudit.models.preprocess import (
    PREPROCESS_KEY,
    PreprocessOverrides,
    preprocess_toml,
    read_preprocess_file,
)
from equiaudit.models.types import Model, Preprocess

if TYPE_CHECKING:
    from equiaudit.models.loading import load
    from equiaudit.models.stride import total_stride

__all__ = [
    "PREPROCESS_KEY",
    "Model",
    "Outline",
    "Preprocess",
    "PreprocessOverrides",
    "foreseen",
    "load",
    "needs_arch",
    "preprocess_toml",
    "read_preprocess_file",
    "total_stride",
]


def __getattr__(name: str) -> Any:
    if name == "load":
        from equiaudit.models.loading import load

        return load
    if name == "total_stride":
        from equiaudit.models.stride import total_stride

        return total_stride
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
