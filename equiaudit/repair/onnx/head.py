"""The part of an ONNX file that can be imported, captured as a graph."""

from __future__ import annotations

from dataclasses import dataclass, replace

from equiaudit.errors import EquiauditError
from equiaudit.models.types import Model
from equiaudit.repair.onnx.capturing import OnnxCaptured, capture_onnx
from equiaudit.repair.onnx.split import Split, split_onnx

__all__ = ["Head", "head_of"]


@dataclass(frozen=True)
class Head:
    """An ONNX file whose last nodes have no equivalent, up to those."""

    split: Split
    captured: OnnxCaptured

    @property
    def note(self) -> str:
        """What becomes of the rest."""
        return self.captured.notes[-1]


def head_of(model: Model) -> Head | None:
    """The part of an ONNX file that can be imported; None where there is no such part."""
    how = model.preprocess
    if model.kind != "onnx" or model.path is None:
        return None
    try:
        split = split_onnx(model.path, size=how.size, channels=how.planes, layout=how.layout)
        captured = None if split is None else capture_onnx(split.head)
    except EquiauditError:
        return None
    if split is None or captured is None:
        return None
    note = f"from {split.tail.first} on, its nodes are carried along as they are"
    return Head(split, replace(captured, notes=(note,)))
