"""ONNX files as torch modules that `capture` takes, and the way back to the file's interface.

| module | part |
|---|---|
| `reader` | a file to a checked graph with all its tensors; its interface |
| `graph` | an `fx.Graph` of aten operators in the making, constants folded |
| `ops` | one function per ONNX operator, by family |
| `trace` | the file's graph to that one, node by node |
| `patterns` | what exporters spell out is put back into one operator |
| `check` | the module against onnxruntime |
| `module` | all of these in a row |
| `capturing` | the module as the graph that the analysis reads |
| `interface` | an exported graph under the names, types and axes of the file it came from |
"""

from equiaudit.repair.onnx.capturing import OnnxCaptured, capture_onnx
from equiaudit.repair.onnx.interface import restore_interface
from equiaudit.repair.onnx.module import ImportedOnnx, import_onnx
from equiaudit.repair.onnx.reader import Port

__all__ = [
    "ImportedOnnx",
    "OnnxCaptured",
    "Port",
    "capture_onnx",
    "import_onnx",
    "restore_interface",
]
