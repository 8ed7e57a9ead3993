"""What a forward pass costs: the published way, the bare passes of each backend, the scan.

    python benchmarks/speed.py [--nets ResNet-20,...] [--rounds N] [--scale N] [--compile]

Milliseconds per image through the model, medians of interleaved rounds, and their ratios:

- published: eager, NCHW, batches of up to 256, one pair of shifts per image, a DataLoader with
  two workers that decodes each image, as published evaluation scripts do;
- bare: the passes alone, on one batch in memory, for every backend at its batch size;
- scan: the whole scan on that backend, start-up aside (images decoded, shifted, compared),
  with 16 offsets of each kind;
- fixed: the bare passes of the net with MASS sampling against those of the net as it is.

CPU seconds are taken beside wall seconds: on a machine that others use, they are steadier.
Weights are random and images noise: neither changes what a pass costs.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import nn

import equiaudit
from equiaudit.audit.backend import as_it_is
from equiaudit.audit.engine import run_scan
from equiaudit.audit.options import ScanOptions
from equiaudit.data import Dataset, open_dataset
from equiaudit.graphs.capture import capture
from equiaudit.models.backends import Choice, rebuild
from equiaudit.repair.rewrite.analyse import analyse
from equiaudit.repair.rewrite.rewrite import rewrite

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

SHIFTS = ("circular", "zero-pad")


@dataclass(frozen=True)
class Net:
    """A net and its window, px; images of a scan and of the published loop in one round."""

    name: str
    make: Callable[[], nn.Module]
    size: int
    scanned: int
    paired: int
    reach: int


def nets() -> list[Net]:
    from nets import resnet20

    models = torchvision.models
    return [
        Net("ResNet-20, 32 px", resnet20, 32, scanned=256, paired=256, reach=4),
        Net("SqueezeNet 1.1, 224 px", models.squeezenet1_1, 224, scanned=8, paired=256, reach=16),
        Net("ResNet-50, 224 px", models.resnet50, 224, scanned=8, paired=16, reach=16),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nets", default="", help="beginnings of the names of those to run")
    parser.add_argument("--compile", action="store_true", help="torch.compile too")
    parser.add_argument("--scale", type=int, default=1, help="so many times the images")
    arguments = parser.parse_args()
    threads = torch.get_num_threads()
    print(f"{_processor()}, {os.cpu_count()} CPUs, {threads} threads, torch {torch.__version__}")
    for net in nets():
        if net.name.startswith(tuple(arguments.nets.split(","))):
            paired = min(256, net.paired * arguments.scale)
            scaled = replace(net, scanned=net.scanned * arguments.scale, paired=paired)
            with tempfile.TemporaryDirectory() as folder:
                measure(scaled, Path(folder), arguments.rounds, arguments.compile)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def measure(net: Net, folder: Path, rounds: int, compiled: bool) -> None:
    """One net: all ways in turn, `rounds` times over."""
    jobs = _jobs(net, folder, compiled)
    for job in jobs.values():  # start-up is not what is measured
        job()
    wall: dict[str, list[float]] = {name: [] for name in jobs}
    cpu: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            started, used = time.perf_counter(), _cpu_seconds()
            passes = job()
            wall[name].append((time.perf_counter() - started) / passes * 1000)
            cpu[name].append((_cpu_seconds() - used) / passes * 1000)
    _print(net, wall, cpu)


def _jobs(net: Net, folder: Path, compiled: bool) -> dict[str, Callable[[], int]]:
    torch.manual_seed(0)
    module = net.make().eval()
    settings = {"size": (net.size, net.size), "mean": (0.5,) * 3, "std": (0.25,) * 3}
    model = equiaudit.load_model(module, device="cpu", **settings)
    graph = capture(module, size=(net.size, net.size)).graph_module
    _write(folder, net)
    data = open_dataset(folder, limit=net.scanned)
    size = as_it_is(model, ScanOptions()).batch_size
    jobs: dict[str, Callable[[], int]] = {
        "published": partial(_published, module, folder, net),
        "bare torch, batch 256": partial(_bare, model.run, net, min(256, net.paired)),
    }
    for name in ("torch", "torch-folded", "onnxruntime", *(("compile",) if compiled else ())):
        made = rebuild(model, name)
        jobs[f"bare {name}"] = partial(_bare, made.run, net, size)
        jobs[f"scan {name}"] = partial(_scan, Choice(made, size, ""), data, net)
    jobs["bare graph"] = partial(_bare, graph, net, size)
    jobs["bare graph, fixed"] = partial(_bare, rewrite(graph, analyse(graph)), net, size)
    return jobs


def _write(folder: Path, net: Net) -> None:
    """Photos are JPEGs larger than the window, CIFAR images are PNGs of its size."""
    rng = np.random.default_rng(0)
    side, kind = (net.size, "png") if net.size < 100 else (net.size + 32, "jpg")
    for i in range(max(net.scanned, net.paired)):
        small = Image.fromarray(rng.integers(0, 256, (side // 8, side // 8, 3), np.uint8))
        small.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{i:04}.{kind}")


def _bare(run: Callable[[torch.Tensor], torch.Tensor], net: Net, size: int) -> int:
    batch = torch.rand(size, 3, net.size, net.size)
    calls = max(1, 37 * net.scanned // size)
    with torch.inference_mode():
        for _ in range(calls):
            run(batch)
    return calls * size


def _scan(choice: Choice, data: Dataset, net: Net) -> int:
    options = ScanOptions(shifts=SHIFTS, max_shift=net.reach, images=False)
    done, _ = run_scan(choice.model, data, options, choice=choice)
    return done.result.timings.passes


class _Pairs(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Two circular shifts of each image, as a published evaluation loads them."""

    def __init__(self, folder: Path, net: Net) -> None:
        self._files = sorted(folder.iterdir())[: net.paired]
        self._prepare = torchvision.transforms.Compose(
            [
                torchvision.transforms.CenterCrop(net.size),
                torchvision.transforms.ToTensor(),
                torchvision.transforms.Normalize((0.5,) * 3, (0.25,) * 3),
            ]
        )
        self._reach = net.reach

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = self._prepare(Image.open(self._files[i]).convert("RGB"))
        by = np.random.default_rng(i).integers(-self._reach, self._reach + 1, (2, 2)).tolist()
        first, second = (torch.roll(image, offset, (1, 2)) for offset in by)
        return first, second


def _published(module: nn.Module, folder: Path, net: Net) -> int:
    pairs = _Pairs(folder, net)
    loader = torch.utils.data.DataLoader(pairs, batch_size=256, num_workers=2)
    agree = 0
    with torch.no_grad():
        for first, second in loader:
            agree += int((module(first).argmax(1) == module(second).argmax(1)).sum())
    return 2 * len(pairs)


def _cpu_seconds() -> float:
    """Of this process and of the workers that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _print(net: Net, wall: dict[str, list[float]], cpu: dict[str, list[float]]) -> None:
    ms = {name: statistics.median(times) for name, times in wall.items()}
    print(f"\n{net.name}: ms per image through the model\n")
    print(f"{'':22}    wall     CPU  published / this  this / its bare passes (wall, CPU)")
    for name, median in ms.items():
        row = f"{name:22}  {median:6.2f}  {statistics.median(cpu[name]):6.2f}"
        row += f"  {_ratio(wall, 'published', name):16.2f}"
        of = "bare graph" if name.endswith("fixed") else name.replace("scan", "bare")
        if of != name:
            row += f"  {_ratio(wall, name, of):11.3f} {_ratio(cpu, name, of):7.3f}"
        print(row, flush=True)


def _ratio(times: dict[str, list[float]], above: str, below: str) -> float:
    """The median over the rounds of ratios within a round."""
    pairs = zip(times[above], times[below], strict=True)
    return statistics.median(a / b for a, b in pairs)


if __name__ == "__main__":
    main()
