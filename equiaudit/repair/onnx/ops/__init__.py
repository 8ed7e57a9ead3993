"""One function per ONNX operator, from opset 7 to 23; each emits the natural aten operator."""

from equiaudit.repair.onnx.ops import (  # noqa: F401  (each module registers its operators)
    activation,
    arithmetic,
    choice,
    constant,
    conv,
    dense,
    indexing,
    layout,
    norm,
    pad,
    pool,
    quantised,
    reduce,
    resize,
)
from equiaudit.repair.onnx.ops.registry import CONTRIB, OPS, Translation

__all__ = ["CONTRIB", "OPS", "Translation"]
