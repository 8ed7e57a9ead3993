"""The files a converted graph can be written as; each kind is one class.

| suffix | what it is | used with |
|---|---|---|
| .pt | TorchScript archive | torch.jit.load |
| .pt2 | torch.export archive | torch.export.load |
| .onnx | ONNX, opset 20, dynamic batch | onnxruntime |
| .safetensors | tensors; NAME.graph.pt and NAME.json beside it | torch and safetensors |

None needs equiaudit to run. A checkpoint's graph is a TorchScript archive without weights:

    net = torch.jit.load("fixed.graph.pt")
    tensors = safetensors.torch.load_file("fixed.safetensors")
    net.load_state_dict({name: t.clone() for name, t in tensors.items()}, assign=True)
    logits = net(batch)

The clones lie at aligned addresses; the last bits of a matrix product depend on that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import onnx
import safetensors.torch
import torch
from torch import fx, nn

from equiaudit._version import __version__
from equiaudit.errors import InputError, RunError
from equiaudit.models.preprocess import PREPROCESS_EXTRA_FILE, PREPROCESS_KEY
from equiaudit.repair.plain import plain_graph, scriptable
from equiaudit.repair.quiet import quiet
from equiaudit.repair.routes import export_dynamic

__all__ = ["FORMATS", "Format", "file_format", "sha256"]

OPSET = 20
_ONNX_LIMIT = 2**31 - 2**20
"""An ONNX file is one protobuf message, which ends at 2 GiB."""

Run = Callable[[torch.Tensor], torch.Tensor]


class Format(Protocol):
    """How to write a graph to a file, and how to run what was written.

    `preprocess` is the text of a preprocessing file that travels inside, "" for none.
    """

    @property
    def bit_equal(self) -> bool:
        """Whether the file computes the very bits of the graph it was written from."""
        ...

    def write(
        self, module: fx.GraphModule, path: Path, example: torch.Tensor, preprocess: str
    ) -> tuple[Path, ...]:
        """Write `path`; returns the files written beside it."""
        ...

    def load(self, path: Path) -> Run:
        """What runs the file, on the CPU, without equiaudit."""
        ...


def file_format(path: Path) -> Format:
    """The format that `path`'s suffix names; InputError lists the suffixes there are."""
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise InputError(
            f"{path.name} has no suffix that names a kind of model.",
            tip=f"Use one of {', '.join(FORMATS)}.",
        ) from None


@dataclass(frozen=True)
class TorchScript:
    """A scripted graph of aten operators."""

    bit_equal: bool = True

    def write(
        self, module: fx.GraphModule, path: Path, example: torch.Tensor, preprocess: str
    ) -> tuple[Path, ...]:
        """Script the graph and save it."""
        with quiet():
            script = torch.jit.script(scriptable(module))
            extra = {PREPROCESS_EXTRA_FILE: preprocess} if preprocess else {}
            torch.jit.save(script, path, _extra_files=extra)  # type: ignore[no-untyped-call]
        return ()

    def load(self, path: Path) -> Run:
        """The archive on the CPU."""
        return _load_script(path)


@dataclass(frozen=True)
class Exported:
    """A program of torch.export."""

    bit_equal: bool = True

    def write(
        self, module: fx.GraphModule, path: Path, example: torch.Tensor, preprocess: str
    ) -> tuple[Path, ...]:
        """Export the graph with a dynamic batch and save it."""
        with quiet():
            program = export_dynamic(plain_graph(module), _two_or_more(example))
            for node in program.graph.nodes:
                node.meta.pop("stack_trace", None)  # paths of the machine it was made on
            extra = {PREPROCESS_EXTRA_FILE: preprocess} if preprocess else {}
            torch.export.save(program, path, extra_files=extra)
        return ()

    def load(self, path: Path) -> Run:
        """The program's module."""
        with quiet():
            module: Run = torch.export.load(path).module()
        return module


@dataclass(frozen=True)
class Onnx:
    """An ONNX graph with one input "image" (batch, C, H, W) and one output "output"."""

    bit_equal: bool = False

    def write(
        self, module: fx.GraphModule, path: Path, example: torch.Tensor, preprocess: str
    ) -> tuple[Path, ...]:
        """Export by way of torch.export; needs onnxscript."""
        sample = _two_or_more(example)
        with quiet():
            program = torch.onnx.export(
                export_dynamic(plain_graph(module), sample),
                (sample,),
                dynamo=True,
                opset_version=OPSET,
                input_names=["image"],
                output_names=["output"],
                verbose=False,
            )
        if program is None:
            raise RunError("torch.onnx.export returned no program.")
        model = _tidy(program.model_proto, preprocess)
        if model.ByteSize() > _ONNX_LIMIT:
            raise RunError(f"{path.name} would be over 2 GiB.", tip="Write a .pt2 instead.")
        onnx.save(model, path)
        return ()

    def load(self, path: Path) -> Run:
        """A session of onnxruntime on the CPU, as many threads as torch uses."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

        def run(batch: torch.Tensor) -> torch.Tensor:
            (output,) = session.run(None, {"image": batch.numpy(force=True)})
            return torch.from_numpy(output)

        return run


@dataclass(frozen=True)
class Checkpoint:
    """A state dict, with its graph and its configuration beside it.

    NAME.json holds: format ("equiaudit-graph"), format_version, weights and graph (file
    names) and the sha256 of each, input ([C, H, W]), preprocess (the text of a preprocessing
    file or null), tool_version and torch_version.
    """

    bit_equal: bool = True

    def write(
        self, module: fx.GraphModule, path: Path, example: torch.Tensor, preprocess: str
    ) -> tuple[Path, ...]:
        """Write the tensors, the graph without them, and the configuration."""
        graph, config = path.with_suffix(".graph.pt"), path.with_suffix(".json")
        with quiet():
            script = torch.jit.script(scriptable(module))
            state = {name: value.detach().contiguous() for name, value in _state(script).items()}
            script.load_state_dict({name: _hollow(t) for name, t in state.items()}, assign=True)
            torch.jit.save(script, graph)  # type: ignore[no-untyped-call]
        metadata = {PREPROCESS_KEY: preprocess} if preprocess else None
        safetensors.torch.save_file(_unshared(state), path, metadata)
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


def sha256(path: Path) -> str:
    """Of the file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        "weights_sha256": sha256(path),
        "graph": graph.name,
        "graph_sha256": sha256(graph),
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
