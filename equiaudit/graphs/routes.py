"""The ways into one aten graph.

| route | takes |
|---|---|
| `export_eager` | nn.Module of Python code |
| `reexport` | fx.GraphModule |
| `convert_torchscript` | ScriptModule, mostly traced ones |
| `retrace_torchscript` | ScriptModule, mostly scripted ones |

Each returns a graph in normal form whose batch axis is dynamic, or raises what torch raised.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.export import Dim, ExportedProgram

from equiaudit.graphs.integers import with_stored_weights
from equiaudit.graphs.nodes import module_path
from equiaudit.graphs.normal_form import module_of, normal_form, single_output_program
from equiaudit.graphs.outputs import main_output, named_tensors
from equiaudit.graphs.quiet import quiet
from equiaudit.torch_private import operator_name, output_spec, program_of_script, recorded_calls

aten = torch.ops.aten
_SAMPLE_BATCH = 7
"""Of a sample to record with: unlikely to be the size of another axis."""
_SIZED = ("view", "reshape", "_unsafe_view", "expand")


def export_dynamic(module: nn.Module, sample: torch.Tensor) -> ExportedProgram:
    """`torch.export` with batch N >= 1 dynamic and every other axis as in `sample`."""
    with torch.no_grad():
        return torch.export.export(
            module, (sample,), dynamic_shapes=({0: Dim.DYNAMIC},), strict=False
        )


def export_eager(
    module: nn.Module, sample: torch.Tensor, *, every_output: bool = False
) -> fx.GraphModule:
    """Route 1: a module of Python code; `every_output` as in `reexport`."""
    return single_output_program(export_dynamic(module, sample), every_output=every_output)


def inlined(graph: fx.GraphModule, example: torch.Tensor) -> fx.GraphModule:
    """`graph` as it runs in its present mode, its modules dissolved; itself where it calls none.

    `example` is a batch (N, C, H, W). Parameters and buffers keep their names and are shared.
    """
    if not any(node.op == "call_module" for node in graph.graph.nodes):
        return graph
    sample = example[:1].repeat(_SAMPLE_BATCH, 1, 1, 1)
    with quiet():
        return export_eager(graph, sample, every_output=True).train(graph.training)


def reexport(
    module: fx.GraphModule, sample: torch.Tensor, *, every_output: bool = False
) -> fx.GraphModule:
    """Route 2: a graph that was exported before, perhaps for one batch size only.

    With `every_output` its result is a tuple where the module has several.
    """
    spec = output_spec(module)
    loose = _with_free_batch(normal_form(module, spec, every_output=every_output))
    program = export_dynamic(loose, sample)
    graph = single_output_program(program, every_output=every_output)
    located = any(module_path(node) for node in graph.graph.nodes)
    return graph if located else _with_paths(graph)


def convert_torchscript(
    script: torch.jit.ScriptModule, sample: torch.Tensor, *, every_output: bool = False
) -> fx.GraphModule:
    """Route 3: TorchScript's own graph, node by node."""
    program = program_of_script(script, sample)
    spec = program.call_spec.out_spec
    graph = normal_form(module_of(program), spec, every_output=every_output)
    if is_quantised(script):
        graph = with_stored_weights(graph, script)
    again = export_dynamic(_with_free_batch(graph), sample)
    return _with_paths(single_output_program(again, every_output=every_output))


def is_quantised(module: nn.Module) -> bool:
    """Whether it is TorchScript that computes in integers (`torch.ao`), by scales it states."""
    if not isinstance(module, torch.jit.ScriptModule):
        return False
    kinds = {node.kind() for node in module.inlined_graph.nodes()}
    own = {kind for kind in kinds if kind.startswith("quantized::")}
    return bool(own) and not any("dynamic" in kind for kind in own)


def retrace_torchscript(
    script: torch.jit.ScriptModule, sample: torch.Tensor, *, every_output: bool = False
) -> fx.GraphModule:
    """Route 4: record what the TorchScript interpreter calls."""

    def main(batch: torch.Tensor) -> Any:
        returned = script(batch)
        if every_output:
            return tuple(tensor for _, tensor in named_tensors(returned))
        return main_output(returned)

    with torch.no_grad():
        recorded = recorded_calls(main, sample)
    names = _state_names(script)
    graph = _with_free_batch(normal_form(recorded, names=names, every_output=every_output))
    again = export_dynamic(graph, sample)
    return _with_paths(single_output_program(again, every_output=every_output))


def _state_names(script: nn.Module) -> Mapping[int, str]:
    """State-dict name by storage address; the first name of a shared tensor."""
    state = {**dict(script.named_buffers()), **dict(script.named_parameters())}
    return {tensor.data_ptr(): name for name, tensor in reversed(state.items())}


def _with_free_batch(module: fx.GraphModule) -> fx.GraphModule:
    """Sizes that hold the sample's batch N as a number, with N read from the input."""
    graph = module.graph
    image = next(node for node in graph.nodes if node.op == "placeholder")
    batch = _leading(image)
    for node in graph.nodes:
        if operator_name(node.target) in _SIZED and _fixes_batch(node, batch):
            with graph.inserting_before(node):
                free = graph.call_function(aten.sym_size.int, (image, 0))
            node.update_arg(1, [free, *list(node.args[1])[1:]])
    module.recompile()
    return module


def _fixes_batch(node: fx.Node, batch: object) -> bool:
    source, size = node.args[0], node.args[1]
    if not isinstance(batch, int) or not isinstance(size, list | tuple) or not size:
        return False
    return isinstance(source, fx.Node) and bool(size[0] == batch) and _leading(source) == batch


def _leading(node: fx.Node) -> object:
    value = node.meta.get("val")
    return value.shape[0] if isinstance(value, torch.Tensor) and value.dim() else None


def _with_paths(module: fx.GraphModule) -> fx.GraphModule:
    """Say where an op came from by the name of its weight: not every graph keeps a call stack."""
    for node in module.graph.nodes:
        weights = [n for n in node.all_input_nodes if n.op == "get_attr"]
        if weights and node.op == "call_function":
            path = str(weights[0].target).rpartition(".")[0]
            node.meta["nn_module_stack"] = {f"L__self__{path}": (path, "")}
        else:
            node.meta.pop("nn_module_stack", None)
    return module
