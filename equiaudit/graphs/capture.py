"""Capture: any torch model as one aten graph with a dynamic batch, checked against it."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from equiaudit.errors import NothingToDo, first_line
from equiaudit.graphs import routes
from equiaudit.graphs.outputs import main_output, main_output_name, named_tensors, relative_error
from equiaudit.graphs.quiet import quiet
from equiaudit.graphs.routes import is_quantised

SAMPLE_BATCHES = (7, 3, 5)
"""Of the sample a graph is recorded with (unlikely to be the size of another axis), and of those
that it is compared on."""
_TOLERANCE = 1e-6
"""Largest error against the original, as a share of its output range."""
_OF_INTEGERS = 0.1
"""The same for TorchScript in integers, whose graph rounds at fewer places (behind no pooling): a
step of one scale moves all behind it by whole steps of theirs."""

Route = Callable[[torch.Tensor], fx.GraphModule]


@dataclass(frozen=True)
class Captured:
    """One graph that computes what the model computes, for any batch size.

    `graph_module` maps (N, C, H, W) to the model's main output, on the CPU, in eval mode.
    Its nodes are aten operators before decomposition (`conv2d`, `batch_norm`, ...), none
    writes into its input, each carries `meta["val"]` (a fake tensor whose batch axis is
    symbolic) and, where known, `meta["nn_module_stack"]`. Parameters and buffers are the
    model's own tensors under their own names.
    """

    graph_module: fx.GraphModule
    route: str
    """How the graph was captured, in words."""
    size: tuple[int, int]
    """(H, W) of the input, px; fixed."""
    error: float
    """Largest difference from the model at two batch sizes, over its output range."""
    notes: tuple[str, ...] = ()


def capture(
    module: nn.Module,
    *,
    size: tuple[int, int],
    channels: int = 3,
    dtype: torch.dtype = torch.float32,
    output: str = "",
    every_output: bool = False,
) -> Captured:
    """Capture `module`, which maps (N, channels, *size) of `dtype` to a tensor.

    A module that returns a mapping or a tuple is captured for the `output` of that dotted name,
    else for its entry "out", or its first; with `every_output` for all, in a tuple where several.
    Routes are tried in order; the first whose graph agrees with the module at two batch
    sizes (to 1e-6 of the output range; bit for bit wherever torch allows) is taken.

    Raises NothingToDo, naming why each route failed, when there is none.
    """
    original = _on_cpu(module)
    generator = torch.Generator().manual_seed(0)
    batches = [
        torch.randn((n, channels, *size), generator=generator).to(dtype) for n in SAMPLE_BATCHES
    ]
    with _evaluating(original), quiet():
        main = original
        if output and _fixed_batch(original) is None:
            main = _returning(original, output, batches[1])
        try:
            found = recorded(main, _routes(main, every_output), batches, every_output=every_output)
        except Uncaptured as failure:
            raise _refusal(str(failure), every_output) from failure
        chosen = "" if main is original else output
        notes = () if every_output else _notes(found.error, original, batches[1], chosen)
    return Captured(found.graph, found.route, size, found.error, (*notes, *found.failures))


def _refusal(failures: str, every_output: bool) -> NothingToDo:
    if every_output:
        return NothingToDo(f"The model cannot be captured with all its outputs ({failures}).")
    return NothingToDo(
        f"The model cannot be captured as one graph ({failures}).",
        tip="Export it with torch.export and a dynamic batch; or to ONNX, which --method canonical"
        " takes as it is.",
    )


class Uncaptured(Exception):
    """No route led to a graph; says why of each."""


@dataclass(frozen=True)
class Recorded:
    """A graph in eval mode, the route that led to it, and how far it is from the module."""

    graph: fx.GraphModule
    route: str
    error: float
    """Largest difference over an output's range."""
    failures: tuple[str, ...]
    """Of the routes before."""


def recorded(
    original: nn.Module,
    routes: Sequence[tuple[str, Route]],
    batches: Sequence[torch.Tensor],
    *,
    every_output: bool,
) -> Recorded:
    """The first of `routes` that leads to a graph which agrees with `original`.

    The graph is recorded with the first of `batches` and compared on the others, for the main
    output or for all. Raises Uncaptured where there is none.
    """
    failures: list[str] = []
    for name, route in routes:
        try:
            graph = route(batches[0]).eval()
            error = max(_disagreement(graph, original, x, every_output) for x in batches[1:])
            if not error <= (_OF_INTEGERS if is_quantised(original) else _TOLERANCE):
                raise ValueError(
                    f"the graph differs from the model by {error:.1e} of its output range"
                )
        except Exception as failure:  # torch raises nearly anything here
            failures.append(f"{name}: {first_line(failure)}")
        else:
            return Recorded(graph, name, error, tuple(failures))
    raise Uncaptured("; ".join(failures))


def _routes(module: nn.Module, every_output: bool) -> Sequence[tuple[str, Route]]:
    def route(way: Callable[..., fx.GraphModule], source: nn.Module) -> Route:
        return lambda x: way(source, x, every_output=every_output)

    if isinstance(module, torch.jit.ScriptModule):
        return (
            ("TorchScript converter", route(routes.convert_torchscript, module)),
            ("TorchScript retraced", route(routes.retrace_torchscript, module)),
        )
    if isinstance(module, fx.GraphModule):
        graph, again = module, route(routes.reexport, module)
        return (("torch.export graph", lambda x: again(_like(graph, x))),)
    return (("torch.export", route(routes.export_eager, module)),)


def _disagreement(
    graph: fx.GraphModule, original: nn.Module, batch: torch.Tensor, every_output: bool
) -> float:
    """Largest difference over the output range; 0.0 means equal bits.

    A model of one fixed batch size is compared piece by piece, and the graph's whole batch
    with its own pieces: convolutions may round differently from one batch size to the next.
    """
    fixed = _fixed_batch(original)
    with torch.no_grad():
        expected = _in_pieces(original, batch, fixed, every_output)
        actual = _in_pieces(graph, batch, fixed, every_output)
        if fixed is not None:
            whole = _in_pieces(graph, batch, None, every_output)
            if max(map(_error, whole, actual)) > _TOLERANCE:
                raise ValueError("the graph depends on the batch size")
    return max(_error(*pair) for pair in zip(actual, expected, strict=True))


def _error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        raise ValueError(f"the graph returns {tuple(actual.shape)}, not {tuple(expected.shape)}")
    return relative_error(actual, expected)


def _in_pieces(
    module: nn.Module, batch: torch.Tensor, fixed: int | None, every_output: bool
) -> list[torch.Tensor]:
    """The outputs that count of `batch`, in pieces of `fixed` filled up by repetition."""
    pieces = []
    for piece in torch.split(batch, fixed or len(batch)):
        returned = module(piece[torch.arange(fixed or len(piece)) % len(piece)])
        outputs = [main_output(returned)]
        if every_output:
            outputs = [tensor for _, tensor in named_tensors(returned)]
        whole = every_output and fixed is None  # an output need not have a row per image
        pieces.append(outputs if whole else [y[: len(piece)] for y in outputs])
    return [torch.cat(parts) for parts in zip(*pieces, strict=True)] if fixed else pieces[0]


def _fixed_batch(module: nn.Module) -> int | None:
    if not isinstance(module, fx.GraphModule):
        return None
    image = next((node for node in module.graph.nodes if node.op == "placeholder"), None)
    value = image.meta.get("val") if image is not None else None
    leading = value.shape[0] if isinstance(value, torch.Tensor) else None
    return leading if isinstance(leading, int) else None


def _like(graph: fx.GraphModule, sample: torch.Tensor) -> torch.Tensor:
    """The sample with the batch that the graph was made for, so that its constants match."""
    fixed = _fixed_batch(graph)
    return sample if fixed is None else sample[torch.arange(max(fixed, 2)) % len(sample)]


def _on_cpu(module: nn.Module) -> nn.Module:
    """`module`, or a copy of it on the CPU where it is elsewhere."""
    tensors = (*module.parameters(), *module.buffers())
    if all(tensor.device.type == "cpu" for tensor in tensors):
        return module
    if not isinstance(module, torch.jit.ScriptModule):
        return copy.deepcopy(module).cpu()
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    buffer.seek(0)
    with quiet():
        moved: nn.Module = torch.jit.load(buffer, map_location="cpu")  # type: ignore[no-untyped-call]
    return moved


class _evaluating:
    """Eval mode inside, every sub-module's own mode afterwards."""

    def __init__(self, module: nn.Module) -> None:
        # An exported graph has its mode built in, and refuses `eval()`; a frozen script has none.
        built_in = isinstance(module, fx.GraphModule) or not hasattr(module, "training")
        self._every = [] if built_in else list(module.modules())

    def __enter__(self) -> None:
        self._modes = [module.training for module in self._every]
        for module in self._every[:1]:
            module.eval()

    def __exit__(self, *_: object) -> None:
        for module, mode in zip(self._every, self._modes, strict=True):
            module.training = mode


def _notes(error: float, original: nn.Module, batch: torch.Tensor, output: str) -> tuple[str, ...]:
    name: str | None = output
    if not output:
        with torch.no_grad():
            name = main_output_name(original(batch)) if _fixed_batch(original) is None else None
    taken = (f"output {name!r} is the one converted",) if name is not None else ()
    inexact = (f"the graph differs from the model by {error:.1e} of its range",) if error else ()
    return (*taken, *inexact)


class _One(nn.Module):
    """`net`, of whose outputs the one at `path` is returned."""

    def __init__(self, net: nn.Module, path: str) -> None:
        super().__init__()
        self.net, self._path = net, path

    def forward(self, x: torch.Tensor) -> Any:
        """That output."""
        return _at(self.net(x), self._path)


def _returning(module: nn.Module, path: str, batch: torch.Tensor) -> nn.Module:
    """`module` where its main output is the one at `path`, else one that returns only that.

    `path` is dotted, as in "aux" or "heads.0"; `batch` is a batch that `module` takes.
    NothingToDo where there is no such output, or `module` is an exported graph.
    """
    with torch.no_grad():
        returned = module(batch)
        try:
            wanted = _at(returned, path)
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise NothingToDo(f"The model has no output {path!r} to convert.") from error
        if wanted is main_output(returned):
            return module
        if isinstance(module, fx.GraphModule):
            raise NothingToDo(
                f"An exported graph is converted for its main output, and {path!r} is another.",
                tip="Export the model so that it returns that output first.",
            )
        chosen = _One(module, path).eval()
        if isinstance(module, torch.jit.ScriptModule):
            traced: nn.Module = torch.jit.trace(chosen, batch, check_trace=False)  # type: ignore[no-untyped-call]
            return traced
        return chosen


def _at(returned: Any, path: str) -> Any:
    for key in path.split("."):
        if isinstance(returned, Mapping):
            returned = returned[key]
        elif isinstance(returned, tuple | list) and not hasattr(returned, "_fields"):
            returned = returned[int(key)]
        else:
            returned = getattr(returned, key)
    return returned
