"""From an ONNX file to a checked graph with all its tensors, and what its borders are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import torch
from onnx import TensorProto, numpy_helper

from equiaudit.errors import InputError, NothingToDo, first_line
from equiaudit.models.onnx import external_files, read_onnx
from equiaudit.models.onnx_functions import check_functions, every_node

CANONICAL_TIP = "--method canonical needs no graph."
OPSETS = range(7, 24)

_DEFAULT_DOMAINS = ("", "ai.onnx")
_DAMAGED_TIP = "Copy or download it again."

DTYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.UINT8: torch.uint8,
    TensorProto.UINT16: torch.uint16,
    TensorProto.BOOL: torch.bool,
    # What is computed in float32 rounds the same way at every position.
    TensorProto.FLOAT16: torch.float32,
}
"""The torch dtype that stands for each ONNX type."""

_IMAGE_TYPES = ("float32", "float16", "uint8")


@dataclass(frozen=True)
class Port:
    """An input or output of the file: numpy's dtype name, and its axes as it states them.

    An axis is a size, a name for a free size, or None where nothing is said.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


def read_model(source: Path | onnx.ModelProto) -> onnx.ModelProto:
    """The graph with its external data inside and its own functions inlined.

    Raises InputError where it is damaged, invalid or reaches outside its folder, NothingToDo
    where its opset is not one of `OPSETS`.
    """
    model = _from_file(source) if isinstance(source, Path) else _from_memory(source)
    opset(model)
    check_functions(model, what="The ONNX model")
    for item in _all_tensors(model):
        _check_size(item)
    return onnx.inliner.inline_local_functions(model) if model.functions else model


def _from_file(path: Path) -> onnx.ModelProto:
    model = read_onnx(path)
    if not external_files(model, path):
        return model
    _check_external(model, path)
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except Exception as error:  # onnx raises nearly anything here
        raise InputError(
            f"The external data of {path} cannot be read: {first_line(error)}.", tip=_DAMAGED_TIP
        ) from error
    return model


def _check_external(model: onnx.ModelProto, path: Path) -> None:
    """Before anything is allocated: each tensor lies inside its file."""
    for item in _all_tensors(model):
        if item.data_location != TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in item.external_data}
        stored = (path.parent / entries.get("location", "")).stat().st_size
        try:
            start, length = (int(entries.get(key, "0")) for key in ("offset", "length"))
        except ValueError:
            start, length = -1, 0
        if start < 0 or length < 0 or start + length > stored:
            raise InputError(
                f"The tensor {item.name!r} of {path} lies outside its data file.",
                tip=_DAMAGED_TIP,
            )


def _from_memory(model: onnx.ModelProto) -> onnx.ModelProto:
    if any(item.data_location == TensorProto.EXTERNAL for item in _all_tensors(model)):
        raise InputError(
            "The model's tensors are in another file.", tip="Give the path of the ONNX file."
        )
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        raise InputError(f"The ONNX model is not valid: {first_line(error)}.") from error
    return model


def opset(model: onnx.ModelProto) -> int:
    """The version of the default operator set; NothingToDo where it is not one of `OPSETS`."""
    versions = [o.version for o in model.opset_import if o.domain in _DEFAULT_DOMAINS]
    if not versions or versions[0] not in OPSETS:
        found = f"opset {versions[0]}" if versions else "no operator set of ONNX itself"
        raise NothingToDo(
            f"The ONNX model uses {found}; opsets {OPSETS[0]} to {OPSETS[-1]} can be imported.",
            tip=f"Convert it with onnx.version_converter; {CANONICAL_TIP}",
        )
    return int(versions[0])


def _all_tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    yield from model.graph.initializer
    for node in every_node((*model.graph.node, *(n for f in model.functions for n in f.node))):
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t
            for graph in (attribute.g, *attribute.graphs):
                yield from graph.initializer


def tensor(item: TensorProto) -> torch.Tensor:
    """The tensor, float16 as float32; NothingToDo for types that torch does not compute in."""
    dtype = DTYPES.get(item.data_type)
    if dtype is None:
        raise NothingToDo(
            f"The tensor {item.name!r} is of type {type_name(item.data_type)},"
            " which cannot be imported.",
            tip=CANONICAL_TIP,
        )
    _check_size(item)
    return torch.from_numpy(np.array(numpy_helper.to_array(item))).to(dtype)


def _check_size(item: TensorProto) -> None:
    """As many elements as its shape says, before anything of that shape is made."""
    if item.data_type not in DTYPES:
        return
    stored = _stored_elements(item)
    if any(side < 0 for side in item.dims) or math.prod(item.dims) != stored:
        shape = "x".join(map(str, item.dims))
        raise InputError(
            f"The tensor {item.name!r} has shape {shape} and holds {stored} elements.",
            tip=_DAMAGED_TIP,
        )


def _stored_elements(item: TensorProto) -> int:
    width = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(item.data_type)).itemsize
    if item.HasField("raw_data"):
        return len(item.raw_data) // width
    field = onnx.helper.tensor_dtype_to_field(item.data_type)
    return len(getattr(item, field))


def type_name(elem_type: int) -> str:
    """`float16` for 10; the number itself where ONNX knows no such type."""
    try:
        name: str = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem_type)).name
    except (KeyError, ValueError, TypeError):
        return f"number {elem_type}"
    return name


def image_port(model: onnx.ModelProto) -> Port:
    """The one input that is no initialiser; InputError where it is not a batch of images."""
    known = {item.name for item in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in known]
    ports = [_port(item) for item in inputs if item.type.HasField("tensor_type")]
    if len(inputs) != 1 or len(ports) != 1 or len(ports[0].shape) != 4:
        raise InputError("The ONNX model does not take one 4-D batch of images as its only input.")
    if ports[0].dtype not in _IMAGE_TYPES:
        raise InputError(
            f"The ONNX model takes {ports[0].dtype} input; {', '.join(_IMAGE_TYPES)} are supported."
        )
    return ports[0]


def output_ports(model: onnx.ModelProto) -> tuple[Port, ...]:
    """The outputs, in order; InputError where there is none."""
    if not model.graph.output:
        raise InputError("The ONNX model has no output.")
    return tuple(_port(item) for item in model.graph.output)


def _port(item: onnx.ValueInfoProto) -> Port:
    kind = item.type.tensor_type
    return Port(item.name, type_name(kind.elem_type), tuple(_axis(d) for d in kind.shape.dim))


def _axis(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    """A size below one stands for a free axis in some exporters' files."""
    if dim.HasField("dim_value"):
        return int(dim.dim_value) if dim.dim_value > 0 else None
    return str(dim.dim_param) or None
