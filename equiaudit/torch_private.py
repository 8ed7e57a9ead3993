"""All that is used of torch's private API, and of what it may still change.

`tests/test_torch_private.py` tries each by itself, so that it says what a new version of torch
broke; no other file has any of it (`tests/test_architecture.py`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any

import torch
from torch import fx, nn
from torch._ops import OpOverload, OpOverloadPacket
from torch.nn.modules.batchnorm import _BatchNorm as AnyBatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import TreeSpec, tree_leaves, tree_map, tree_unflatten

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = [
    "NATIVE_PAD",
    "AnyBatchNorm",
    "OpOverload",
    "OpOverloadPacket",
    "TorchDispatchMode",
    "TreeSpec",
    "archive_reader",
    "called_as",
    "export_schema",
    "know_integer_operators",
    "operator_name",
    "output_spec",
    "overload_name",
    "program_of_script",
    "recorded_calls",
    "schema_of",
    "script_graphs",
    "tree_leaves",
    "tree_map",
    "tree_unflatten",
    "with_children",
]

NATIVE_PAD: Any = torch._C._nn.pad  # type: ignore[attr-defined]
"""What `torch.nn.functional.pad` is in a recorded graph."""


def operator_name(target: Any) -> str:
    """`conv2d` of `aten.conv2d.default`; empty for what is no operator of torch."""
    return str(getattr(target, "_opname", ""))


def overload_name(target: Any) -> str:
    """`default` of `aten.conv2d.default`."""
    return str(target._overloadname)


def schema_of(operator: Any) -> Any:
    """The arguments and returns of an operator: a torch.FunctionSchema."""
    return operator._schema


def output_spec(module: nn.Module) -> TreeSpec | None:
    """The structure of what an exported graph returns, where it carries it."""
    return getattr(module, "_out_spec", None)


def called_as(graph: fx.Graph, original: fx.GraphModule) -> None:
    """Let `graph` take its inputs and give its outputs as `original` does."""
    graph.set_codegen(copy.deepcopy(original.graph._codegen))


def with_children(module: nn.Module, children: Mapping[str, nn.Module]) -> nn.Module:
    """A shallow copy of `module` with other children; its parameters are shared."""
    twin = copy.copy(module)
    twin._modules = {**module._modules, **children}
    return twin


def program_of_script(script: torch.jit.ScriptModule, sample: torch.Tensor) -> ExportedProgram:
    """TorchScript's own graph as an exported program, node by node."""
    from torch._export.converter import TS2EPConverter

    return TS2EPConverter(script, (sample,)).convert()


def recorded_calls(function: Callable[[torch.Tensor], Any], sample: torch.Tensor) -> fx.GraphModule:
    """The operators that `function` calls, as a graph, before decomposition."""
    from torch.fx.experimental.proxy_tensor import make_fx

    return make_fx(function, pre_dispatch=True)(sample)


def script_graphs(module: torch.jit.ScriptModule) -> Iterator[Any]:
    """The graph of every method of a script and of the modules in it."""
    for each in module.modules():
        inner: Any = each._c
        yield from (inner._get_method(name).graph for name in inner._method_names())


def archive_reader(file: IO[bytes]) -> Any:
    """torch's own reader of its archives, which knows `get_all_records` and `get_record`."""
    return torch._C.PyTorchFileReader(file)


def export_schema() -> tuple[int, int]:
    """(major, minor) of the schema in which torch writes exported programs."""
    from torch._export.serde.schema import SCHEMA_VERSION

    major, minor = SCHEMA_VERSION[:2]
    return int(major), int(minor)


def know_integer_operators() -> None:
    """Let torch know `quantized_decomposed`, the operators of graphs that pt2e quantised."""
    import torch.ao.quantization.fx._decomposed  # noqa: F401  (registers them)
