"""import_onnx: a file, or a model in memory, to a torch module that is checked against it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from torch import fx

from equiaudit.errors import InputError, NothingToDo
from equiaudit.graphs.quiet import quiet
from equiaudit.repair.onnx.check import disagreement, in_float32
from equiaudit.repair.onnx.patterns import simplify
from equiaudit.repair.onnx.reader import (
    CANONICAL_TIP,
    Port,
    image_port,
    opset,
    output_ports,
    read_model,
)
from equiaudit.repair.onnx.requantise import Quantised, quantised
from equiaudit.repair.onnx.trace import trace
from equiaudit.repair.onnx.values import BATCH

_LARGEST_SIDE = 1 << 13
_LARGEST_FILE = (1 << 31) - (1 << 20)
"""Of the graph with all its tensors: onnxruntime is given it as one protobuf message."""


@dataclass(frozen=True)
class ImportedOnnx:
    """An ONNX model as a torch module, and all that is needed to write ONNX like it.

    `module` maps float32 (N, C, H, W) of any N, pixel values as the file takes them, to the
    file's output, or to a tuple of its outputs, in the order of `outputs`: float32 where the
    file has float16. It is a
    graph of aten operators in eval mode; its parameters are the file's initialisers under
    their own names, float16 widened to float32. All is computed in float32, since rounding to
    float16 along the way would differ from position to position.
    """

    module: fx.GraphModule
    input: Port
    outputs: tuple[Port, ...]
    """The main one first."""
    layout: str
    """Of the file's input: "NCHW" or "NHWC"."""
    channels: int
    size: tuple[int, int]
    """(H, W) that the module is for, px."""
    opset: int
    graph_name: str
    producer: str
    widened: bool
    """Whether the file computes in float16, at least in places."""
    error: float
    """Largest difference from onnxruntime on random images, over the output range."""
    shell: onnx.ModelProto
    """The file without its nodes and tensors: borders, metadata, versions."""
    metadata_props: Mapping[str, str] = field(default_factory=dict)
    quantised: Quantised = field(default_factory=Quantised)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The main one first."""
        return tuple(port.name for port in self.outputs)

    @property
    def dtypes(self) -> dict[str, str]:
        """The file's own type of each input and output, by name."""
        return {port.name: port.dtype for port in (self.input, *self.outputs)}

    @property
    def fixed_batch(self) -> int | None:
        """The one batch size that the file takes, None where it is free."""
        leading = self.input.shape[0]
        return leading if isinstance(leading, int) else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What became of the file's types and sizes, a sentence each."""
        return tuple(_notes(self))

    @property
    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """The free axes of each input and output, with a name for each."""
        return {port.name: _free_axes(port) for port in (self.input, *self.outputs)}


def _notes(imported: ImportedOnnx) -> Iterator[str]:
    places = (1, 2) if imported.layout == "NHWC" else (2, 3)
    if any(not isinstance(imported.input.shape[i], int) for i in places):
        h, w = imported.size
        yield (
            f"the file leaves height and width open; what is converted takes {h}x{w} only, since"
            " the origins are chosen among the positions of one size"
        )
    if imported.widened:
        yield (
            "the file computes in float16, what is converted in float32 with the same weights,"
            " since rounding to float16 along the way differs from position to position;"
            " inputs and outputs keep their type"
        )
    if imported.quantised:
        yield (
            "the file computes in integers; what is written has them and their scales again, each"
            " operator in float between DequantizeLinear and QuantizeLinear"
        )
    if len(imported.outputs) > 1:
        names = ", ".join(imported.output_names)
        yield f"every output is converted: {names}; the labels are those of the first"


def _free_axes(port: Port) -> dict[int, str]:
    return {i: s or f"axis_{i}" for i, s in enumerate(port.shape) if not isinstance(s, int)}


def import_onnx(
    source: str | Path | onnx.ModelProto,
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    layout: str | None = None,
    main: str | None = None,
) -> ImportedOnnx:
    """Import a model of one image batch, float32, float16 or uint8, of opset 7 to 23.

    `size` (H, W), `channels` and `layout` are needed where the file leaves them open; `main`
    names the output that comes first, else the file's first does. The
    result agrees with onnxruntime to 1e-5 of each output's range on random images; a net that
    is too sensitive for that, as closely as float32 determines its result.

    Raises InputError where the file is damaged, invalid or reaches outside its folder, or
    leaves something open; NothingToDo, naming the node, where there is no equivalent.
    """
    model = read_model(Path(source) if isinstance(source, str) else source)
    image, found, shape = bounds(model, size, channels, layout)
    outputs = _main_first(output_ports(model), main)
    if model.ByteSize() > _LARGEST_FILE:
        raise NothingToDo("The ONNX model is over 2 GiB.", tip=CANONICAL_TIP)
    with quiet():
        module = _traced(model, image, outputs, shape, nhwc=found == "NHWC")
        error = disagreement(module, model, image, outputs, shape, nhwc=found == "NHWC")
    return ImportedOnnx(
        module=module,
        input=image,
        outputs=outputs,
        layout=found,
        channels=shape[0],
        size=(shape[1], shape[2]),
        opset=opset(model),
        graph_name=model.graph.name,
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        widened=in_float32(model) is not model,
        error=error,
        shell=_shell(model),
        metadata_props={item.key: item.value for item in model.metadata_props},
        quantised=quantised(model),
    )


def bounds(
    model: onnx.ModelProto, size: tuple[int, int] | None, channels: int | None, layout: str | None
) -> tuple[Port, str, tuple[int, int, int]]:
    """The image as the file takes it, its layout, and (C, H, W)."""
    image = image_port(model)
    found = layout or _layout(image)
    return image, found, _shape(image, found, size, channels)


def _main_first(outputs: tuple[Port, ...], main: str | None) -> tuple[Port, ...]:
    if main is not None and main not in {port.name for port in outputs}:
        raise InputError(f"The ONNX model has no output {main!r}.")
    return tuple(sorted(outputs, key=lambda port: main is not None and port.name != main))


def _shell(model: onnx.ModelProto) -> onnx.ModelProto:
    shell = onnx.ModelProto()
    shell.CopyFrom(model)
    graph = shell.graph
    for field_ in (graph.node, graph.initializer, graph.sparse_initializer, graph.value_info):
        del field_[:]
    return shell


def _traced(
    model: onnx.ModelProto,
    image: Port,
    outputs: tuple[Port, ...],
    shape: tuple[int, int, int],
    *,
    nhwc: bool,
) -> fx.GraphModule:
    leading = image.shape[0]
    module = trace(
        model.graph,
        opset=opset(model),
        image=image.name,
        shape=shape,
        nhwc=nhwc,
        fixed_batch=leading if isinstance(leading, int) else None,
        outputs=[port.name for port in outputs],
    )
    simplify(module)
    _check_batch(module, outputs)
    for node in module.graph.nodes:
        node.meta.pop("val", None)
    return module


def _check_batch(module: fx.GraphModule, outputs: tuple[Port, ...]) -> None:
    """What is converted later is every output, image by image."""
    output = next(node for node in module.graph.nodes if node.op == "output")
    made = output.args[0] if isinstance(output.args[0], tuple | list) else output.args
    for port, node in zip(outputs, made, strict=True):
        value = node.meta["val"]
        if not value.dim() or value.shape[0] != BATCH:
            raise NothingToDo(
                f"The output {port.name!r} of the ONNX model is not one result per image.",
                tip=CANONICAL_TIP,
            )


def _layout(image: Port) -> str:
    """NCHW unless the place of 1 or 3 channels tells otherwise."""
    first, last = image.shape[1] in (1, 3), image.shape[3] in (1, 3)
    return "NHWC" if last and not first else "NCHW"


def _shape(
    image: Port, layout: str, size: tuple[int, int] | None, channels: int | None
) -> tuple[int, int, int]:
    """(C, H, W), from the file where it says so."""
    order = (1, 2, 3) if layout == "NCHW" else (3, 1, 2)
    stated = [image.shape[i] for i in order]
    given = (channels, *(size or (None, None)))
    names = ("channels", "height", "width")
    c, h, w = (_side(*item) for item in zip(names, stated, given, strict=True))
    return c, h, w


def _side(name: str, stated: int | str | None, given: int | None) -> int:
    if isinstance(stated, int) and given is not None and given != stated:
        raise InputError(f"The ONNX model's {name} is {stated}, not {given}.")
    side = stated if isinstance(stated, int) else given
    if side is None and name == "channels":
        side = 3
    if side is None:
        raise InputError(f"The ONNX model leaves the {name} of its images open.", tip="Add --size.")
    if not 0 < side <= _LARGEST_SIDE:
        raise InputError(f"The ONNX model's {name} is {side}; 1 to {_LARGEST_SIDE} are supported.")
    return side
