"""ONNX files, run by onnxruntime."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equiaudit.data.class_names import names_in_mapping
from equiaudit.errors import InputError
from equiaudit.models.artefact import ALONE, Artefact
from equiaudit.models.hashing import file_sha256
from equiaudit.models.onnx_functions import check_functions, constant_tensors, sort_nodes
from equiaudit.models.onnx_ports import Feed, ImageInput, as_tensors, fixed_fields, image_input
from equiaudit.models.onnx_proto import GraphProto, ModelProto, NodeProto, TensorProto
from equiaudit.models.preprocess import (
    PREPROCESS_KEY,
    Hints,
    PreprocessFields,
    parse_preprocess,
)

if TYPE_CHECKING:
    import onnxruntime as ort
    import torch

_DAMAGED_TIP = "Copy or download it again."
_CUDA = "CUDAExecutionProvider"
_LARGEST_BATCH = 1024
_NEWER_IR = re.compile(r"IR version: (\d+), max supported IR version: (\d+)")


@dataclass(frozen=True)
class OnnxFile:
    """A graph without its external data, and what its input and metadata say."""

    path: Path
    proto: ModelProto
    inputs: Mapping[str, str]
    """Values for the inputs that are not the image, by name."""
    image: ImageInput
    hints: Hints


def open_onnx(path: Path, inputs: Mapping[str, str] | None = None) -> OnnxFile:
    """The graph at `path`, read without torch.

    Raises InputError where the file is damaged, was exported in training mode, its external
    data is missing or lies outside its folder, or no input is known to be the image batch.
    """
    proto = _parsed(path)
    _refuse_training_export(proto, path)
    image = image_input(proto, path, inputs or {})
    stated = _metadata(proto, path)
    fixed, planes = fixed_fields(image, stated, str(path), "ONNX")
    hints = Hints(stated=stated, fixed=fixed, planes=planes)
    return OnnxFile(path, proto, inputs or {}, image, hints)


def load_onnx(opened: OnnxFile) -> Artefact:
    """The model of the file, checked.

    What onnx's checker has against it is a note: onnxruntime decides whether it runs, and
    InputError is raised where it does not.
    """
    path, proto, inputs, image = opened.path, opened.proto, opened.inputs, opened.image
    complaint, dynamic = _complaint(proto, path), _scales_by_batch(proto)
    if complaint:
        _session(path, None, path.name)
    return Artefact(
        name=path.name,
        kind="onnx",
        sha256=file_sha256(path, external_files(proto, path)),
        path=path,
        onnx=path,
        hints=opened.hints,
        fixed_batch=image.shape[0] or (1 if dynamic else None),
        batches=_built_in(proto),
        image_input=image.name,
        inputs=dict(inputs),
        notes=(
            "exported in eval mode",
            *((ALONE,) if dynamic else ()),
            *_said(complaint),
            *tuple(f"input {name!r} is {value}" for name, value in inputs.items()),
        ),
        class_names=names_in_mapping({item.key: item.value for item in proto.metadata_props}),
    )


def _scales_by_batch(proto: ModelProto) -> bool:
    """Whether an image's answer depends on those beside it in a batch."""
    graphs = [proto.graph, *proto.functions]
    return any(node.op_type.startswith("DynamicQuantize") for g in graphs for node in g.node)


def _built_in(proto: ModelProto) -> tuple[int, ...]:
    """The first sizes of outputs and of constant shapes: a batch that was traced, maybe."""
    from onnx import numpy_helper

    outputs = [item.type.tensor_type.shape.dim for item in proto.graph.output]
    found = {dims[0].dim_value for dims in outputs if dims}
    shapes = {node.input[1] for node in proto.graph.node if node.op_type == "Reshape"}
    for name, tensor in constant_tensors(proto.graph).items():
        if name in shapes and tensor.data_type == TensorProto.INT64 and tensor.dims[:1] != [0]:
            found.add(int(numpy_helper.to_array(tensor).reshape(-1)[0]))
    return tuple(sorted(size for size in found if 2 < size <= _LARGEST_BATCH))


def _said(complaint: str) -> tuple[str, ...]:
    return (f"onnx's checker has something against the file: {complaint}",) if complaint else ()


def read_onnx(path: Path) -> ModelProto:
    """The graph at `path` without its external data, its nodes in order.

    Raises InputError where it is not valid ONNX.
    """
    proto = _parsed(path)
    complaint = _complaint(proto, path)
    if complaint:
        raise InputError(f"{path} is not a valid ONNX model: {complaint}.", tip=_DAMAGED_TIP)
    sort_nodes(proto.graph)
    return proto


def _parsed(path: Path) -> ModelProto:
    """The graph, with what could harm refused: places of data, functions without end."""
    try:
        proto: ModelProto = ModelProto.FromString(path.read_bytes())
    except Exception as error:  # protobuf's DecodeError is not importable in every version
        raise InputError(
            f"{path} is a damaged or truncated ONNX file.", tip=_DAMAGED_TIP
        ) from error
    external_files(proto, path)
    check_functions(proto, what=str(path))
    if not proto.graph.node:
        raise InputError(f"{path} is an ONNX file without nodes.", tip=_DAMAGED_TIP)
    return proto


def _complaint(proto: ModelProto, path: Path) -> str:
    """What onnx's checker has against the file, in its own words; "" where nothing.

    The order of nodes, which onnxruntime does not mind, and a graph without a name do not
    count.
    """
    from onnx import checker

    mended = ModelProto()
    mended.CopyFrom(proto)
    changed = sort_nodes(mended.graph) or not mended.graph.name
    mended.graph.name = mended.graph.name or "graph"
    apart = any(t.data_location == TensorProto.EXTERNAL for t in _tensors(proto))
    by_path = _is_utf8(path) and (apart or not changed)
    try:
        checker.check_model(str(path) if by_path else mended.SerializeToString())
    except (checker.ValidationError, RuntimeError, ValueError) as error:
        return str(error).strip().splitlines()[0].rstrip(".")
    return ""


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def external_files(proto: ModelProto, path: Path) -> tuple[Path, ...]:
    """The files with the model's external data, sorted by name.

    Raises InputError where one is missing, or is not inside the model's own folder.
    """
    places = {
        entry.value
        for tensor in _tensors(proto)
        if tensor.data_location == TensorProto.EXTERNAL
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


def _tensors(proto: ModelProto) -> Iterator[TensorProto]:
    yield from _graph_tensors(proto.graph)
    for function in proto.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for attribute in (a for node in nodes for a in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for graph in (attribute.g, *attribute.graphs):
            yield from _graph_tensors(graph)


def _metadata(proto: ModelProto, path: Path) -> PreprocessFields:
    for item in proto.metadata_props:
        if item.key == PREPROCESS_KEY:
            where = f"the metadata of {path}"
            return parse_preprocess(item.value, where=where, source="ONNX metadata")
    return {}


def _refuse_training_export(proto: ModelProto, path: Path) -> None:
    for node in proto.graph.node:
        modes = [a.i for a in node.attribute if a.name == "training_mode"]
        if node.op_type == "BatchNormalization" and modes == [1]:
            raise InputError(
                f"{path} was exported in training mode (node {node.name or node.output[0]}).",
                tip="Call model.eval() and export it again.",
            )


def onnx_forward(
    source: Path | bytes,
    device: torch.device,
    *,
    what: str,
    image: str = "",
    inputs: Mapping[str, str] | None = None,
) -> Callable[[torch.Tensor], dict[str, Any]]:
    """A function from a batch to the outputs by name: tensors on `device`, or lists of them.

    `image` names the input that takes the batch, else the first does; `inputs` are values for
    the others.
    """
    session = _session(source, device, what)
    feed = Feed(session.get_inputs(), image, inputs or {}, what)
    names = [output.name for output in session.get_outputs()]

    def forward(batch: torch.Tensor) -> dict[str, Any]:
        outputs: Sequence[Any] = session.run(None, feed(batch))
        found = {n: as_tensors(value, device) for n, value in zip(names, outputs, strict=True)}
        return {name: value for name, value in found.items() if value is not None}

    return forward


def _session(source: Path | bytes, device: torch.device | None, what: str) -> ort.InferenceSession:
    """On `device`, or on the CPU; as many threads as torch has."""
    import onnxruntime as ort
    import torch

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
        raise _not_run(str(error), what) from error


def _not_run(error: str, what: str) -> InputError:
    reason = error.strip().splitlines()[0].rstrip(".")
    newer = _NEWER_IR.search(error)
    if newer is None:
        return InputError(f"onnxruntime cannot run {what}: {reason}.")
    import onnxruntime as ort

    return InputError(
        f"{what} is of ONNX IR version {newer[1]}; the installed onnxruntime {ort.__version__}"
        f" reads up to {newer[2]}.",
        tip=f"Update onnxruntime, or save the file with ir_version = {newer[2]}.",
    )


def _readable(path: Path, what: str) -> str | bytes:
    """The path, or the file's content where the name is one that onnxruntime cannot take."""
    if _is_utf8(path):
        return str(path)
    if external_files(ModelProto.FromString(path.read_bytes()), path):
        raise InputError(
            f"onnxruntime cannot read {what}: its name is not UTF-8.", tip="Rename the file."
        )
    return path.read_bytes()


def _providers(device: torch.device | None, what: str) -> list[Any]:
    if device is None or device.type == "cpu":
        return ["CPUExecutionProvider"]
    import onnxruntime as ort

    if _CUDA not in ort.get_available_providers():
        raise InputError(
            f"The installed onnxruntime cannot run {what} on {device}.",
            tip="Use --device cpu, or install onnxruntime-gpu.",
        )
    return [(_CUDA, {"device_id": device.index or 0}), "CPUExecutionProvider"]
