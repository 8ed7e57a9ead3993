"""Capture: any torch model as one aten graph with a dynamic batch, checked against it."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import fx, nn

from equiaudit.errors import NothingToDo, first_line
from equiaudit.graphs import routes
from equiaudit.graphs.chosen import returning
from equiaudit.graphs.outputs import main_output, main_output_name
from equiaudit.graphs.quiet import quiet

__all__ = ["Captured", "capture"]

_SAMPLE_BATCH = 7
"""Of the sample a graph is recorded with: unlikely to be the size of another axis."""
_CHECKED_BATCHES = (3, 5)
_TOLERANCE = 1e-6
"""Largest error against the original, as a share of its output range."""

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
) -> Captured:
    """Capture `module`, which maps (N, channels, *size) of `dtype` to a tensor.

    A module that returns a mapping or a tuple is captured for the `output` of that dotted name,
    else for its entry "out", or its first.
    Routes are tried in order; the first whose graph agrees with the module at two batch
    sizes (to 1e-6 of the output range; bit for bit wherever torch allows) is taken.

    Raises NothingToDo, naming why each route failed, when there is none.
    """
    original = _on_cpu(module)
    generator = torch.Generator().manual_seed(0)
    batches = [
        torch.randn((n, channels, *size), generator=generator).to(dtype)
        for n in (_SAMPLE_BATCH, *_CHECKED_BATCHES)
    ]
    failures: list[str] = []
    with _evaluating(original), quiet():
        main = original
        if output and _fixed_batch(original) is None:
            main = returning(original, output, batches[1])
        for name, route in _routes(main):
            try:
                graph, error = _checked(route, main, batches)
            except Exception as failure:  # torch raises nearly anything here
                failures.append(f"{name}: {first_line(failure)}")
                continue
            notes = _notes(error, original, batches[1], "" if main is original else output)
            return Captured(graph.eval(), name, size, error, (*notes, *failures))
    raise NothingToDo(
        f"The model cannot be captured as one graph ({'; '.join(failures)}).",
        tip="--method canonical needs no graph; or export it with torch.export and a dynamic"
        " batch.",
    )


def _routes(module: nn.Module) -> Sequence[tuple[str, Route]]:
    if isinstance(module, torch.jit.ScriptModule):
        script = module
        return (
            ("TorchScript converter", lambda x: routes.convert_torchscript(script, x)),
            ("TorchScript retraced", lambda x: routes.retrace_torchscript(script, x)),
        )
    if isinstance(module, fx.GraphModule):
        graph = module
        return (("torch.export graph", lambda x: routes.reexport(graph, _like(graph, x))),)
    return (("torch.export", lambda x: routes.export_eager(module, x)),)


def _checked(
    route: Route, original: nn.Module, batches: Sequence[torch.Tensor]
) -> tuple[fx.GraphModule, float]:
    sample, *others = batches
    graph = route(sample)
    error = max(_disagreement(graph, original, batch) for batch in others)
    if error > _TOLERANCE:
        raise ValueError(f"the graph differs from the model by {error:.1e} of its output range")
    return graph, error


def _disagreement(graph: fx.GraphModule, original: nn.Module, batch: torch.Tensor) -> float:
    """Largest difference over the output range; 0.0 means equal bits.

    A model of one fixed batch size is compared piece by piece, and the graph's whole batch
    with its own pieces: convolutions may round differently from one batch size to the next.
    """
    fixed = _fixed_batch(original)
    with torch.no_grad():
        expected = _in_pieces(original, batch, fixed)
        actual = _in_pieces(graph, batch, fixed)
        if fixed is not None and _error(graph(batch), actual) > _TOLERANCE:
            raise ValueError("the graph depends on the batch size")
    return _error(actual, expected)


def _error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        raise ValueError(f"the graph returns {tuple(actual.shape)}, not {tuple(expected.shape)}")
    if torch.equal(actual, expected):
        return 0.0
    expected = expected.double()
    spread = (expected.max() - expected.min()).item()
    return float((actual - expected).abs().max().item() / spread) if spread else float("inf")


def _in_pieces(module: nn.Module, batch: torch.Tensor, fixed: int | None) -> torch.Tensor:
    """The main output of `batch`, in pieces of `fixed` filled up by repetition."""
    outputs = []
    for piece in torch.split(batch, fixed or len(batch)):
        filled = piece[torch.arange(fixed or len(piece)) % len(piece)]
        outputs.append(main_output(module(filled))[: len(piece)])
    return torch.cat(outputs)


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
        self._modules = [] if built_in else list(module.modules())

    def __enter__(self) -> None:
        self._modes = [module.training for module in self._modules]
        for module in self._modules[:1]:
            module.eval()

    def __exit__(self, *_: object) -> None:
        for module, mode in zip(self._modules, self._modes, strict=True):
            module.training = mode


def _notes(error: float, original: nn.Module, batch: torch.Tensor, output: str) -> tuple[str, ...]:
    name: str | None = output
    if not output:
        with torch.no_grad():
            name = main_output_name(original(batch)) if _fixed_batch(original) is None else None
    taken = (f"output {name!r} is the one converted",) if name is not None else ()
    inexact = (f"the graph differs from the model by {error:.1e} of its range",) if error else ()
    return (*taken, *inexact)
