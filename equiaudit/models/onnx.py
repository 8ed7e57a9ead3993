"""ONNX files, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch

from equiaudit.data.class_names import names_in_metadata
from equiaudit.errors import InputError
from equiaudit.models.artefact import Artefact, Forward
from equiaudit.models.hashing import file_sha256
from equiaudit.models.onnx_functions import check_functions
from equiaudit.models.preprocess import (
    PREPROCESS_KEY,
    Given,
    Hints,
    PreprocessFields,
    parse_preprocess,
)

__all__ = ["external_files", "load_onnx", "onnx_forward", "read_onnx"]

_DTYPES = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.UINT8: "uint8",
}
_SHAPE_SOURCE = "ONNX input shape"
_DAMAGED_TIP = "Copy or download it again."
_NAMES_KEYS = ("names", "class_names", "classes", "labels", "id2label")
_CUDA = "CUDAExecutionProvider"


@dataclass(frozen=True)
class _Input:
    """The one image input: its dtype by `Preprocess`'s names, None for a dynamic side."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    @property
    def layout(self) -> str | None:
        """NCHW or NHWC where the place of 1 or 3 channels tells, else None."""
        first, last = self.shape[1] in (1, 3), self.shape[3] in (1, 3)
        if first:
            return "NCHW"
        return "NHWC" if last else None


def load_onnx(path: Path) -> Artefact:
    """The ONNX model at `path`, checked, with what its input and metadata say.

    Raises InputError where the file is damaged or invalid, was exported in training mode, its
    external data is missing or lies outside its folder, or it does not take one image batch.
    """
    proto = read_onnx(path)
    _refuse_training_export(proto, path)
    image = _image_input(proto, path)
    stated = _metadata(proto, path)
    return Artefact(
        name=path.name,
        kind="onnx",
        sha256=file_sha256(path, external_files(proto, path)),
        path=path,
        onnx=path,
        hints=Hints(stated=stated, fixed=_fixed_fields(image, stated, path)),
        fixed_batch=image.shape[0],
        notes=("exported in eval mode",),
        class_names=_class_names(proto),
    )


def read_onnx(path: Path) -> onnx.ModelProto:
    """The graph at `path` without its external data; InputError where it is not valid ONNX."""
    try:
        proto = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's DecodeError is not importable in every version
        raise InputError(
            f"{path} is a damaged or truncated ONNX file.", tip=_DAMAGED_TIP
        ) from error
    external_files(proto, path)
    check_functions(proto, what=str(path))
    try:
        onnx.checker.check_model(_checkable(path))
    except (onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise InputError(
            f"{path} is not a valid ONNX model: {reason}.", tip=_DAMAGED_TIP
        ) from error
    return proto


def _checkable(path: Path) -> str | bytes:
    """The path, or the content where the name is one that protobuf cannot take."""
    return str(path) if _is_utf8(path) else path.read_bytes()


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def external_files(proto: onnx.ModelProto, path: Path) -> tuple[Path, ...]:
    """The files with the model's external data, sorted by name.

    Raises InputError where one is missing, or is not inside the model's own folder.
    """
    places = {
        entry.value
        for tensor in _tensors(proto)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return tuple(_external_file(place, path) for place in sorted(places))


def _external_file(place: str, path: Path) -> Path:
    folder, relative = path.parent.resolve(), Path(place)
    outside = relative.is_absolute() or ".." in relative.parts or {"\\", "\0"} & set(place)
    if outside or not (folder / relative).resolve().is_relative_to(folder):
        raise InputError(
            f"The external data {place!r} of {path} lies outside the model's folder.",
            tip="Keep the data file beside the model.",
        )
    if not _is_file(folder / relative):
        raise InputError(f"The external data {place!r} of {path} is missing.", tip=_DAMAGED_TIP)
    return path.parent / relative


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name of a book's length, or with a zero byte
        return False


def _tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from _graph_tensors(proto.graph)
    for function in proto.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for attribute in (a for node in nodes for a in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for graph in (attribute.g, *attribute.graphs):
            yield from _graph_tensors(graph)


def _image_input(proto: onnx.ModelProto, path: Path) -> _Input:
    """Old files list the initialisers among the inputs; what is left is the image."""
    initialisers = {tensor.name for tensor in proto.graph.initializer}
    inputs = [item for item in proto.graph.input if item.name not in initialisers]
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
        raise InputError(f"{path} does not take one 4-D batch of images as its only input.")
    kind = inputs[0].type.tensor_type
    if kind.elem_type not in _DTYPES:
        name = onnx.TensorProto.DataType.Name(kind.elem_type).lower()
        raise InputError(f"{path} takes {name} input; float32, float16 and uint8 are supported.")
    shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
    return _Input(inputs[0].name, _DTYPES[kind.elem_type], tuple(side or None for side in shape))


def _metadata(proto: onnx.ModelProto, path: Path) -> PreprocessFields:
    for item in proto.metadata_props:
        if item.key == PREPROCESS_KEY:
            where = f"the metadata of {path}"
            return parse_preprocess(item.value, where=where, source="ONNX metadata")
    return {}


def _class_names(proto: onnx.ModelProto) -> tuple[str, ...] | None:
    """What the metadata calls the classes."""
    for item in proto.metadata_props:
        if item.key in _NAMES_KEYS and (found := names_in_metadata(item.value)):
            return found
    return None


def _fixed_fields(image: _Input, stated: PreprocessFields, path: Path) -> PreprocessFields:
    fixed = {"dtype": Given(image.dtype, "ONNX input type")}
    if image.layout:
        fixed["layout"] = Given(image.layout, _SHAPE_SOURCE)
    told = fixed.get("layout") or stated.get("layout")
    nhwc = told is not None and told.value == "NHWC"
    channels, sides = (image.shape[3], image.shape[1:3]) if nhwc else (
        image.shape[1], image.shape[2:])  # fmt: skip
    if channels not in (1, 3, None):
        raise InputError(f"{path} takes images of {channels} channels; 1 and 3 are supported.")
    if None not in sides:
        fixed["size"] = Given(sides, _SHAPE_SOURCE)
    if channels == 1:
        fixed["channels"] = Given("gray", _SHAPE_SOURCE)
    return fixed


def _refuse_training_export(proto: onnx.ModelProto, path: Path) -> None:
    for node in proto.graph.node:
        modes = [a.i for a in node.attribute if a.name == "training_mode"]
        if node.op_type == "BatchNormalization" and modes == [1]:
            raise InputError(
                f"{path} was exported in training mode (node {node.name or node.output[0]}).",
                tip="Call model.eval() and export it again.",
            )


def onnx_forward(source: Path | bytes, device: torch.device, *, what: str) -> Forward:
    """A function from a batch to the list of outputs as (name, tensor on `device`) pairs."""
    session = _session(source, device, what)
    image = session.get_inputs()[0].name
    names = [output.name for output in session.get_outputs()]

    def forward(batch: torch.Tensor) -> dict[str, torch.Tensor]:
        feed = {image: np.ascontiguousarray(batch.cpu().numpy())}
        outputs: Sequence[Any] = session.run(None, feed)
        return {
            name: torch.from_numpy(value).to(device)
            for name, value in zip(names, outputs, strict=True)
            if isinstance(value, np.ndarray)
        }

    return forward


def _session(source: Path | bytes, device: torch.device, what: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what matters is raised
    # Threads that spin between calls take the cores from whatever prepares the next batch.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        given = _readable(source, what) if isinstance(source, Path) else source
        return ort.InferenceSession(given, options, providers=_providers(device, what))
    except InputError:
        raise
    except Exception as error:  # onnxruntime's exceptions derive from nothing narrower
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise InputError(f"onnxruntime cannot run {what}: {reason}.") from error


def _readable(path: Path, what: str) -> str | bytes:
    """The path, or the file's content where the name is one that onnxruntime cannot take."""
    if _is_utf8(path):
        return str(path)
    if external_files(onnx.load(path, load_external_data=False), path):
        raise InputError(
            f"onnxruntime cannot read {what}: its name is not UTF-8.", tip="Rename the file."
        )
    return path.read_bytes()


def _providers(device: torch.device, what: str) -> list[Any]:
    if device.type == "cpu":
        return ["CPUExecutionProvider"]
    if _CUDA not in ort.get_available_providers():
        raise InputError(
            f"The installed onnxruntime cannot run {what} on {device}.",
            tip="Use --device cpu, or install onnxruntime-gpu.",
        )
    return [(_CUDA, {"device_id": device.index or 0}), "CPUExecutionProvider"]
