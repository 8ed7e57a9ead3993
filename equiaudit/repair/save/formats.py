"""The files a converted graph can be written as; each kind is one class.

| suffix | what it is | used with |
|---|---|---|
| .pt | TorchScript archive | torch.jit.load |
| .pt2 | torch.export archive | torch.export.load |
| .onnx | ONNX, opset 20 (18 with pad "slices"), dynamic batch | onnxruntime |
| .safetensors | tensors; NAME.graph.pt and NAME.json beside it | torch and safetensors |

None needs equiaudit to run. A checkpoint's graph is a TorchScript archive without weights:

    net = torch.jit.load("fixed.graph.pt")
    tensors = safetensors.torch.load_file("fixed.safetensors")
    net.load_state_dict({name: t.clone() for name, t in tensors.items()}, assign=True)
    logits = net(batch)

The clones lie at aligned addresses; the last bits of a matrix product depend on that.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import onnx
import safetensors.torch
import torch
from torch import fx, nn

from equiaudit._version import __version__
from equiaudit.errors import RunError
from equiaudit.graphs.portable import (
    padded_by_slices,
    plain_graph,
    with_own_names,
    with_plain_sorts,
)
from equiaudit.graphs.quiet import quiet
from equiaudit.graphs.routes import export_dynamic
from equiaudit.models.hashing import file_sha256
from equiaudit.models.preprocess import PREPROCESS_EXTRA_FILE, PREPROCESS_KEY
from equiaudit.models.runtimes.base import Forward
from equiaudit.repair.canonical.onnx_export import with_nodes, with_symbols
from equiaudit.repair.canonical.torch_files import as_exportable, as_script
from equiaudit.repair.options import OPSETS, Pad, check_suffix
from equiaudit.repair.rewrite.separable import native_pools
from equiaudit.repair.save.in_runtimes import Run, in_runtimes

__all__ = [
    "FORMATS",
    "Checkpoint",
    "Exported",
    "Format",
    "Onnx",
    "Run",
    "TorchScript",
    "exported_onnx",
    "file_format",
    "write_onnx",
]

_ONNX_LIMIT = 2**31 - 2**20
"""An ONNX file is one protobuf message, which ends at 2 GiB."""


class Format(Protocol):
    """How to write a graph to a file, and how to run what was written.

    `preprocess` is the text of a preprocessing file that travels inside, "" for none.
    """

    @property
    def bit_equal(self) -> bool:
        """Whether the file computes the very bits of the graph it was written from."""
        ...

    @property
    def leeway(self) -> float:
        """How much more than rounding outputs may differ, as a share of their range."""
        ...

    @property
    def output_dtypes(self) -> tuple[torch.dtype, ...]:
        """What the graph's outputs, in order, are cast to; () where they are left alone."""
        ...

    def write(
        self, module: fx.GraphModule, path: Path, example: torch.Tensor, preprocess: str
    ) -> tuple[Path, ...]:
        """Write `path`; returns the files written beside it."""
        ...

    def load(self, path: Path) -> Run:
        """What runs the file, on the CPU, without equiaudit.

        It takes what the graph takes, and returns its outputs in their order: a tensor, or
        a tuple of several.
        """
        ...


def file_format(path: Path, pad: Pad = "wrap", runtimes: tuple[str, ...] = ()) -> Format:
    """The format that `path`'s suffix names; InputError lists the suffixes there are.

    An ONNX file is run in `runtimes` too, besides onnxruntime.
    """
    check_suffix(path, pad)
    suffix = path.suffix.lower()
    return Onnx(pad, runtimes) if suffix == ".onnx" else FORMATS[suffix]


@dataclass(frozen=True)
class TorchScript:
    """A scripted graph of aten operators."""

    bit_equal: bool = True
    leeway: float = 0.0
    output_dtypes: tuple[torch.dtype, ...] = ()

    def write(
        self, module: fx.GraphModule, path: Path, example: torch.Tensor, preprocess: str
    ) -> tuple[Path, ...]:
        """Script the graph and save it."""
        with quiet():
            script = torch.jit.script(as_script(module, example))
            extra = {PREPROCESS_EXTRA_FILE: preprocess} if preprocess else {}
            _write_whole(path, lambda to: torch.jit.save(script, to, _extra_files=extra))  # type: ignore[no-untyped-call]
        return ()

    def load(self, path: Path) -> Run:
        """The archive on the CPU."""
        return _load_script(path)


def _write_whole(path: Path, save: Callable[[io.BytesIO], None]) -> None:
    """Write what `save` makes; torch's own writer ends the process where a disk is full."""
    buffer = io.BytesIO()
    save(buffer)
    path.write_bytes(buffer.getbuffer())


@dataclass(frozen=True)
class Exported:
    """A program of torch.export."""

    bit_equal: bool = True
    leeway: float = 0.0
    output_dtypes: tuple[torch.dtype, ...] = ()

    def write(
        self, module: fx.GraphModule, path: Path, example: torch.Tensor, preprocess: str
    ) -> tuple[Path, ...]:
        """Export the graph with a dynamic batch and save it."""
        with quiet():
            program = _anywhere(
                export_dynamic(as_exportable(module, example), _two_or_more(example))
            )
            extra = {PREPROCESS_EXTRA_FILE: preprocess} if preprocess else {}
            _write_whole(path, lambda to: torch.export.save(program, to, extra_files=extra))
        return ()

    def load(self, path: Path) -> Run:
        """The program's module."""
        with quiet():
            module: Run = torch.export.load(path).module()
        return module


@dataclass(frozen=True)
class Onnx:
    """An ONNX graph with one input "image" (batch, C, H, W) and one output "output"."""

    pad: Pad = "wrap"
    runtimes: tuple[str, ...] = ()
    bit_equal: bool = False
    leeway: float = 0.0
    output_dtypes: tuple[torch.dtype, ...] = ()

    def write(
        self, module: fx.GraphModule, path: Path, example: torch.Tensor, preprocess: str
    ) -> tuple[Path, ...]:
        """Export by way of torch.export; needs onnxscript."""
        write_onnx(exported_onnx(module, example, preprocess, self.pad), path)
        return ()

    def load(self, path: Path) -> Run:
        """The runtimes on the CPU, as many threads as torch uses."""
        return in_runtimes(path, self.runtimes, _only_output)


def _only_output(forward: Forward) -> Run:
    def run(batch: torch.Tensor) -> torch.Tensor:
        (output,) = forward(batch).values()
        return output  # type: ignore[no-any-return]

    return run


def exported_onnx(
    module: fx.GraphModule,
    example: torch.Tensor,
    preprocess: str,
    pad: Pad = "wrap",
    outputs: int = 1,
) -> onnx.ModelProto:
    """`module` as ONNX: input "image", output "output" ("output_1", ... where there are more).

    Its batch axis is free, and it names no path of the machine it was made on. Raises RunError
    where a Pad(mode="wrap") is left that was not wanted.
    """
    sample = _two_or_more(example)
    plain = with_plain_sorts(with_own_names(plain_graph(native_pools(module))))
    padded = padded_by_slices(plain) if pad == "slices" else plain
    with quiet():
        program = torch.onnx.export(
            export_dynamic(with_symbols(padded), sample),
            (sample,),
            dynamo=True,
            opset_version=OPSETS[pad],
            input_names=["image"],
            output_names=["output", *(f"output_{i}" for i in range(1, outputs))],
            verbose=False,
        )
    if program is None:
        raise RunError("torch.onnx.export returned no program.")
    model = with_nodes(_tidy(program.model_proto, preprocess))
    if pad == "slices" and (left := next(_wrapping(model), None)) is not None:
        raise RunError(f"The node {left} still pads by wrapping.", tip="Use --pad wrap.")
    return model


def write_onnx(model: onnx.ModelProto, path: Path) -> None:
    """Write `model` as one file; RunError where it is too large for that."""
    if model.ByteSize() > _ONNX_LIMIT:
        raise RunError(f"{path.name} would be over 2 GiB.", tip="Write a .pt2 instead.")
    onnx.save(model, path)


def _wrapping(model: onnx.ModelProto) -> Iterator[str]:
    nodes = (*model.graph.node, *(node for f in model.functions for node in f.node))
    for node in nodes:
        mode = next((a.s for a in node.attribute if a.name == "mode"), b"")
        if node.op_type == "Pad" and mode == b"wrap":
            yield node.name or node.output[0]


@dataclass(frozen=True)
class Checkpoint:
    """A state dict, with its graph and its configuration beside it.

    NAME.json holds: format ("equiaudit-graph"), format_version, weights and graph (file
    names) and the sha256 of each, input ([C, H, W]), preprocess (the text of a preprocessing
    file or null), tool_version and torch_version.
    """

    bit_equal: bool = True
    leeway: float = 0.0
    output_dtypes: tuple[torch.dtype, ...] = ()

    def write(
        self, module: fx.GraphModule, path: Path, example: torch.Tensor, preprocess: str
    ) -> tuple[Path, ...]:
        """Write the tensors, the graph without them, and the configuration."""
        graph, config = path.with_suffix(".graph.pt"), path.with_suffix(".json")
        with quiet():
            script = torch.jit.script(as_script(module, example))
            state = {name: value.detach().contiguous() for name, value in _state(script).items()}
            script.load_state_dict({name: _hollow(t) for name, t in state.items()}, assign=True)
            _write_whole(graph, lambda to: torch.jit.save(script, to))  # type: ignore[no-untyped-call]
        metadata = {PREPROCESS_KEY: preprocess} if preprocess else None
        path.write_bytes(safetensors.torch.save(_unshared(state), metadata))
        text = json.dumps(_config(path, graph, example, preprocess), indent=2)
        config.write_text(text + "\n", encoding="utf-8")
        return graph, config

    def load(self, path: Path) -> Run:
        """The graph with the tensors put in."""
        script = _load_script(path.with_suffix(".graph.pt"))
        tensors = safetensors.torch.load_file(path)
        script.load_state_dict({name: t.clone() for name, t in tensors.items()}, assign=True)
        return script


FORMATS: Mapping[str, Format] = {
    ".pt": TorchScript(),
    ".pt2": Exported(),
    ".onnx": Onnx(),
    ".safetensors": Checkpoint(),
}


def _anywhere(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Without paths of the machine it was made on, or its device; in place."""
    for graph_module in program.graph_module.modules():
        if not isinstance(graph_module, fx.GraphModule):
            continue
        for node in list(graph_module.graph.nodes):
            node.meta.pop("stack_trace", None)
            if node.target is torch.ops.aten._assert_tensor_metadata.default:
                graph_module.graph.erase_node(node)
        graph_module.recompile()
    return program


def _load_script(path: Path) -> nn.Module:
    with quiet():
        script: nn.Module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    return script


def _two_or_more(example: torch.Tensor) -> torch.Tensor:
    """torch.export takes a batch of one for a constant."""
    return example if len(example) > 1 else example.repeat(2, 1, 1, 1)


def _state(script: nn.Module) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = script.state_dict()
    return state


def _hollow(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of the same shape that stores a single zero."""
    return torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)


def _unshared(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """safetensors refuses two names for one storage."""
    seen: set[int] = set()
    result = {}
    for name, tensor in state.items():
        result[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    return result


def _config(path: Path, graph: Path, example: torch.Tensor, preprocess: str) -> dict[str, Any]:
    return {
        "format": "equiaudit-graph",
        "format_version": 1,
        "weights": path.name,
        "weights_sha256": file_sha256(path),
        "graph": graph.name,
        "graph_sha256": file_sha256(graph),
        "input": list(example.shape[1:]),
        "preprocess": preprocess or None,
        "tool_version": __version__,
        "torch_version": torch.__version__,
    }


def _tidy(model: onnx.ModelProto, preprocess: str) -> onnx.ModelProto:
    """Name the batch axis, state the preprocessing, leave out the exporter's source paths."""
    for value in (*model.graph.input, *model.graph.output):
        leading = value.type.tensor_type.shape.dim[0]
        leading.dim_param = "batch"
    del model.graph.value_info[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for function in model.functions:
        for node in function.node:
            del node.metadata_props[:]
    if preprocess:
        entry = model.metadata_props.add()
        entry.key, entry.value = PREPROCESS_KEY, preprocess
    return model
