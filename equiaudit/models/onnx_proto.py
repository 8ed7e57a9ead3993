"""The messages of ONNX files, without the rest of the package onnx.

`import onnx` brings number types and helpers, which take longer than refusing a file does. Its
module of messages stands alone; it is imported under its own name, so that onnx has the same ones.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

__all__ = ["GraphProto", "ModelProto", "NodeProto", "TensorProto", "ValueInfoProto"]

_NAME = "onnx.onnx_ml_pb2"


def _import_alone() -> None:
    """Nothing where the module is not where every onnx so far has it: importing it finds it."""
    package = find_spec("onnx")
    place = None if package is None or package.origin is None else Path(package.origin)
    spec = place and spec_from_file_location(_NAME, place.with_name("onnx_ml_pb2.py"))
    if _NAME in sys.modules or not spec or not spec.loader or not Path(str(spec.origin)).is_file():
        return
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[_NAME] = module


if not TYPE_CHECKING:
    _import_alone()
    from onnx.onnx_ml_pb2 import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto
