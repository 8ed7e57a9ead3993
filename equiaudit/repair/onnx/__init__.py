"""ONNX files as torch modules that `capture` takes, and the way back to the file's interface.

| module | part |
|---|---|
| `reader` | a file to a checked graph with all its tensors; its interface |
| `trace` | the graph to an `fx.Graph` of aten operators, constants folded |
| `ops` | one function per ONNX operator, by family |
| `patterns` | what exporters spell out is put back into one operator |
| `check` | the module against onnxruntime |
| `module` | all of these in a row |
| `capturing` | the module as the graph that the analysis reads |
| `like` | a converted graph written as the file was |
| `interface` | an exported graph under the names, types and axes of the file it came from |
"""

from equiaudit.repair.onnx.capturing import OnnxCaptured, capture_onnx
from equiaudit.repair.onnx.interface import restore_interface
from equiaudit.repair.onnx.module import ImportedOnnx, import_onnx
from equiaudit.repair.onnx.reader import Port
from equiaudit.repair.save.onnx_like import LikeOnnx

__all__ = [
    "ImportedOnnx",
    "LikeOnnx",
    "OnnxCaptured",
    "Port",
    "capture_onnx",
    "import_onnx",
    "restore_interface",
]
