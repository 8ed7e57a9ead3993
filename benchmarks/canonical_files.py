"""The files that `fix --method canonical` writes: what they cost, and whether they are exact."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import torch
from real_cases import Case, centre
from torch import Tensor, fx, nn
from torchvision import models

from equiaudit.graphs.capture import capture
from equiaudit.repair.canonical.onnx_file import canonical_onnx
from equiaudit.repair.canonical.operators import with_operators
from equiaudit.repair.save.formats import file_format
from equiaudit.sampling.canonical import Canonical

THREADS = (1, 2)
FLOAT16 = "imagenet/weights/SqueezeNet_fp16.onnx"
BATCHES = (8, 1)
SHIFTS = 4

Run = Callable[[Tensor], object]

NETS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "vit_b_16": (lambda: models.vit_b_16(image_size=64), 64),
    "swin_t": (models.swin_t, 64),
    "vgg11_bn": (models.vgg11_bn, 64),
    "resnet20": (lambda: _resnet20(), 32),
}
"""A net, of random weights, and the side of its images."""


def report_files(case: Case, float16: Path, rounds: int) -> None:
    """Each kind of file over the same kind without the roll, in turns, on photographs."""
    x = case.prepared(centre(case.images, case.model.preprocess.size[0])).contiguous()
    size = (x.shape[2], x.shape[3])
    plain = _graph(case.model.module, size)
    fixed = _graph(with_operators(Canonical(plain)), size)
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".pt", ".pt2", ".onnx"):
            pair = [
                _written(net, Path(folder) / f"{k}{suffix}", x)
                for k, net in enumerate((plain, fixed))
            ]
            _report_pair(f"{suffix} from torch", pair, x, rounds)
        target = Path(folder) / "from_onnx.onnx"
        canonical_onnx(pair[0], target)
        _report_pair(".onnx from .onnx", [pair[0], target], x, rounds)
        canonical_onnx(float16, target)
        _report_pair(".onnx from .onnx, float16", [float16, target], x.flip(1).half(), rounds)


def _graph(module: nn.Module, size: tuple[int, int]) -> fx.GraphModule:
    return capture(module.eval(), size=size).graph_module


def _written(net: fx.GraphModule, path: Path, x: Tensor) -> Path:
    with torch.inference_mode(False), torch.no_grad():
        file_format(path).write(net, path, x.clone(), "")
    return path


def _report_pair(name: str, files: list[Path], x: Tensor, rounds: int) -> None:
    for threads in THREADS:
        torch.set_num_threads(threads)
        runs = [_opened(path, threads) for path in files]
        for batch in BATCHES:
            if batch == 1 or _takes(runs[0], x[:batch]):
                report_time(f"{name}, batch {batch}", threads, *runs, x[:batch], rounds)


def _opened(path: Path, threads: int) -> Run:
    if path.suffix == ".onnx":
        return session(path, threads)
    return file_format(path).load(path)


def _takes(run: Run, x: Tensor) -> bool:
    """Whether a file takes this batch; one of a fixed size does not."""
    try:
        run(x)
    except onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument:
        return False
    return True


def report_exact() -> None:
    """Bits of 8 images in onnxruntime from each of their shifts, by what torch exported."""
    for name, (make, side) in NETS.items():
        torch.manual_seed(0)
        net = make().eval()
        for weight in net.parameters():
            if weight.dim() > 1 and not weight.any():  # a head of zeros would hide everything
                nn.init.normal_(weight, std=0.02)
        x = torch.randn(8, 3, side, side)
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            path = Path(folder) / "canonical.onnx"
            wrapped = with_operators(Canonical(net))
            file_format(path).write(_graph(wrapped, (side, side)), path, x, "")
            same, control = _shares(session(path, 1), x), _shares(net, x)
        print(
            f"  {name}: bit-equal {same:.0%} of shifts, the unmodified net {control:.0%}",
            flush=True,
        )


def _shares(run: Callable[[Tensor], object], x: Tensor) -> float:
    """Over images and shifts, the share whose output keeps every bit."""
    generator = torch.Generator().manual_seed(1)
    still, equal = torch.as_tensor(_first(run(x))), []
    for _ in range(SHIFTS):
        by = torch.randint(1, x.shape[2], (len(x), 2), generator=generator).tolist()
        moved = torch.stack([torch.roll(y, d, (1, 2)) for y, d in zip(x, by, strict=True)])
        equal.append((torch.as_tensor(_first(run(moved))) == still).all(1))
    return float(torch.stack(equal).float().mean())


def _first(outputs):
    return outputs[0] if isinstance(outputs, list) else outputs


def session(path: Path, threads: int) -> Run:
    """A file in onnxruntime; threads that have nothing to do do not spin."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    opened = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = opened.get_inputs()[0].name
    return lambda x: opened.run(None, {name: x.numpy()})


def report_time(
    name: str, threads: int, plain: Run, fixed: Run, x: Tensor, rounds: int = 150
) -> None:
    """Medians of both, and of the ratio within each turn."""
    pairs = [_turn(plain, fixed, x, turn) for turn in range(rounds + 5)][5:]
    text = [f"  {name}, {threads} threads:"]
    for clock, unit in enumerate(("wall", "processor")):
        before = statistics.median(first[clock] for first, _ in pairs)
        ratios = [second[clock] / first[clock] for first, second in pairs]
        text.append(f"{unit} {1e3 * before:.2f} ms, canonical {statistics.median(ratios):.3f}")
    print(" ".join(text), flush=True)


def _turn(plain: Run, fixed: Run, x: Tensor, turn: int) -> list[tuple[float, float]]:
    """Both once; which comes first changes from turn to turn."""
    if turn % 2:
        return [_seconds(fixed, x), _seconds(plain, x)][::-1]
    return [_seconds(plain, x), _seconds(fixed, x)]


def _seconds(run: Run, x: Tensor) -> tuple[float, float]:
    wall, busy = time.perf_counter(), time.process_time()
    run(x)
    return time.perf_counter() - wall, time.process_time() - busy


class _Block(nn.Module):
    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        same = channels == width and stride == 1
        self.short = nn.Identity() if same else nn.Conv2d(channels, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.short(x))


def _resnet20() -> nn.Module:
    widths, layers, channels = (16, 32, 64), [nn.Conv2d(3, 16, 3, 1, 1), nn.ReLU()], 16
    for width in widths:
        for k in range(3):
            layers.append(_Block(channels, width, 2 if k == 0 and width > 16 else 1))
            channels = width
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    return nn.Sequential(*layers, *pool)
