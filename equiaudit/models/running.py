"""From an artefact to a function on batches: device, backend, pieces, layout, errors."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from equiaudit.errors import EquiauditError, InputError, RunError, first_line
from equiaudit.models.artefact import Forward
from equiaudit.models.types import Preprocess


def resolve_device(name: str) -> torch.device:
    """The device that `name` (auto, cpu, cuda or cuda:N) means here; InputError if absent."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(
            f"{name!r} is not a device.", tip="Use auto, cpu, cuda or cuda:N."
        ) from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"The device {name!r} is not supported.", tip="Use cpu or cuda.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise InputError(f"There is no device {name!r} here: {found} CUDA devices were found.")
    return device


def device_of_runtime(engine: str, device: torch.device) -> torch.device:
    """`device`, or the CPU where the runtime has no CUDA here."""
    if engine != "onnxruntime":
        return torch.device("cpu")
    import onnxruntime

    has_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    return device if has_cuda else torch.device("cpu")


def probe_batch(preprocess: Preprocess, count: int, device: torch.device) -> Tensor:
    """`count` images of fixed noise, prepared as `preprocess` says; (count, C, H, W)."""
    channels = len(preprocess.mean)
    shape = (count, channels, *preprocess.size)
    pixels = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    if preprocess.dtype == "uint8":
        return (pixels * 255).to(torch.uint8).to(device)
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (preprocess.mean, preprocess.std))
    normal = (pixels - mean) / std
    ordered = normal.flip(1) if preprocess.channels == "bgr" else normal
    return ordered.to(preprocess.tensor_dtype).to(device)


def torch_forward(module: nn.Module, *, compiled: bool) -> Forward:
    """The module's call without gradients, through `torch.compile` where asked."""
    call: Callable[..., Any] = torch.compile(module) if compiled else module

    def forward(batch: Tensor) -> Any:
        with torch.inference_mode():
            return call(batch)

    return forward


def guarded(forward: Forward, *, layout: str, what: str) -> Forward:
    """`forward` on NCHW batches; what it raises becomes a RunError with the first line."""

    def run(batch: Tensor) -> Any:
        laid_out = batch.permute(0, 2, 3, 1) if layout == "NHWC" else batch
        try:
            return forward(laid_out)
        except EquiauditError:
            raise
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            cause = f"{type(error).__name__}: {_plainest(lines)}".rstrip(": .")
            shape = "x".join(map(str, batch.shape))
            raise RunError(f"{what} failed on a batch of {shape}: {cause}.") from error

    return run


def _plainest(lines: list[str]) -> str:
    """The first line, or, where the TorchScript interpreter raised, the error it wraps."""
    if lines[0].startswith("The following operation failed in the TorchScript interpreter"):
        return lines[-1]
    return lines[0]


def in_pieces(
    forward: Forward, take: Callable[[Any, int], Tensor], fixed_batch: int | None
) -> Callable[[Tensor], Tensor]:
    """The task's output for any number of images; a fixed batch is padded by repetition."""

    def run(batch: Tensor) -> Tensor:
        if fixed_batch is None or not len(batch):
            return take(forward(batch), len(batch))
        parts = torch.split(batch, fixed_batch)
        return _joined([one_piece(part) for part in parts])

    def one_piece(part: Tensor) -> Tensor:
        lacking = (fixed_batch or len(part)) - len(part)
        padded = torch.cat([part, part[-1:].expand(lacking, *part.shape[1:])]) if lacking else part
        return take(forward(padded), len(padded))[: len(part)]

    return run


def _joined(parts: list[Tensor]) -> Tensor:
    """One batch; lists of boxes (n, K, 6) of several lengths are filled up by rows of -1."""
    if len({part.shape[1:] for part in parts}) == 1:
        return torch.cat(parts)
    rows = [row for part in parts for row in part]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1.0)


def export_to_onnx(module: nn.Module, example: Tensor, *, what: str, dynamic: bool) -> bytes:
    """The module as an ONNX file, its batch axis dynamic or fixed to that of `example`.

    Raises InputError where torch cannot export it.
    """
    shapes = ({0: "batch"},) if dynamic else None
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = Path(folder) / "model.onnx"
            program: Any = torch.onnx.export(
                module, (example,), dynamo=True, dynamic_shapes=shapes, verbose=False
            )
            program.save(path, external_data=False)
            return path.read_bytes()
    except Exception as error:  # the exporter raises nearly anything
        reason = first_line(error)
        raise InputError(
            f"{what} cannot be exported for onnxruntime: {reason}.", tip="Use --backend torch."
        ) from error


def sample_of(how: Preprocess, count: int, seed: int = 0) -> Tensor:
    """Noise as a batch (count, C, H, W) of the model's dtype."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((count, how.planes, *how.size), generator=generator)
    return noise.to(how.tensor_dtype)
