"""This build against an older one: processor time and memory of the same work, in turns.

    python benchmarks/against.py OLD_CHECKOUT [--rows refused,start,...] [--rounds 3]

OLD_CHECKOUT is a directory with another commit (`git worktree add DIR COMMIT`). Both run with this
Python and its packages, each command in a process of its own, in turns; a figure is the least user
and system time of the rounds, which another load of the machine changes least, and a ratio is of
those. Files that the two builds write are timed side by side in this process. Weights are random
and images drawn: neither changes what the work costs. `speed.py` has the scan over bare passes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import against_nets
import numpy as np
import onnxruntime as ort
import torch
from PIL import Image
from torch import nn
from torchvision import models

HERE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

SEEN = "--mean .5,.5,.5 --std .25,.25,.25"
FACTORY = "against_nets:{}"
NETS = {
    "demo": (32, 1),
    "resnet20": (32, 1),
    "mobilenet_v3_small": (224, 1),
    "mobilenet_v2": (224, 8),
}
"""Of the rows `fixed`: the window, and images a batch."""


@dataclass(frozen=True)
class Spent:
    """What a process took: user and system time, s, and the most memory it held, MB."""

    seconds: float
    peak: float


@dataclass(frozen=True)
class Row:
    """One piece of work as a command line, and the ratio that is wanted."""

    work: str
    command: str
    wanted: float
    memory: bool = False


ROWS = {
    "refused": Row("a command refused for missing flags", "scan net.pt images", 1.5),
    "start": Row(
        "scan of a trivial ONNX classifier, 60 images of 224 px, 8 offsets, 3 kinds",
        f"scan trivial.onnx photos --size 224 {SEEN} --offsets 8 --max-shift 8 -o out",
        0.5,
    ),
    "fix": Row(
        "fix ResNet-20, no data",
        f"fix resnet20.pth --arch {FACTORY.format('resnet20')} --size 32 {SEEN} -o out.pt",
        0.4,
    ),
    "fix-data": Row(
        "fix ResNet-20, 500 images",
        f"fix resnet20.pth --arch {FACTORY.format('resnet20')} --size 32 {SEEN} -o out.pt"
        " --data small",
        0.35,
    ),
    "canonical": Row(
        "fix --method canonical, SqueezeNet, no data",
        "fix squeezenet.pth --arch torchvision:squeezenet1_1 --method canonical --size 224"
        f" {SEEN} -o out.pt",
        0.35,
    ),
    "unet": Row(
        "fix of a U-Net with a ResNet-34 encoder, 512 px, 30 images with masks",
        f"fix unet.pth --arch {FACTORY.format('unet')} --size 512 {SEEN} -o out.pt --data masked",
        0.4,
    ),
    "memory": Row(
        "scan of a trivial ONNX classifier, 1,000 images of 32 px: MB",
        f"scan small.onnx thousand --size 32 {SEEN} --shifts circular --offsets 8 -o out",
        0.6,
        memory=True,
    ),
}
FIXED = tuple(f"fixed-{name}" for name in NETS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path, help="a checkout of the older build")
    parser.add_argument("--rows", default=",".join((*ROWS, *FIXED)))
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    builds = (arguments.old.resolve(), HERE)
    print("| work | old | new | new / old | wanted |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for name in arguments.rows.split(","):
            if name.startswith("fixed-"):
                _fixed(name.removeprefix("fixed-"), builds, home, arguments.rounds)
            else:
                _row(name, builds, home, arguments.rounds)


def _row(name: str, builds: tuple[Path, Path], home: Path, rounds: int) -> None:
    row = ROWS[name]
    _prepare(name, home)
    spent: tuple[list[Spent], ...] = ([], [])
    for _ in range(rounds):
        for build, own in zip(builds, spent, strict=True):
            own.append(run(build, row.command, home, 2 if name == "refused" else 0))
    figures = [min(s.peak if row.memory else s.seconds for s in own) for own in spent]
    if name == "refused":
        helped = [min(run(b, "--help", home).seconds for _ in range(rounds)) for b in builds]
        figures = [figure / own for figure, own in zip(figures, helped, strict=True)]
        _print(f"{row.work}, times `--help`", figures, figures[1], row.wanted)
    else:
        _print(row.work, figures, figures[1] / figures[0], row.wanted)


def _print(work: str, figures: list[float], ratio: float, wanted: float) -> None:
    old, new = (f"{figure:.0f}" if figure >= 100 else f"{figure:.2f}" for figure in figures)
    print(f"| {work} | {old} | {new} | {ratio:.2f} | {wanted} |", flush=True)


# A process counts the memory of the one it was started by as its own: a small one is between.
_MEASURED = """
import json, resource, subprocess, sys
code = subprocess.run([sys.executable, *sys.argv[1:]], stdout=sys.stderr).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([code, used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""


def run(build: Path, command: str, home: Path, expected: int = 0) -> Spent:
    """`equiaudit COMMAND` of a checkout, in a process of its own."""
    paths = (build, HERE / "benchmarks", HERE / "tests")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    argv = [sys.executable, "-c", _MEASURED, "-m", "equiaudit", *command.split()]
    done = subprocess.run(
        argv, cwd=home, env=environment, capture_output=True, text=True, check=False
    )
    *_, last = done.stdout.splitlines() or [""]
    try:
        code, seconds, peak = json.loads(last)
    except (ValueError, TypeError):
        raise SystemExit(f"{command} came to nothing:\n{done.stderr[-2000:]}") from None
    if code != expected:
        raise SystemExit(f"{command} ended with {code}:\n{done.stderr[-2000:]}")
    return Spent(seconds, peak * _unit() / 1e6)


def _unit() -> int:
    """Bytes that ru_maxrss counts in."""
    return 1 if sys.platform == "darwin" else 1024


def _prepare(name: str, home: Path) -> None:
    """What a row reads, in `home`."""
    torch.manual_seed(0)
    (home / "images").mkdir(exist_ok=True)
    _pictures(home / "images", 1, 64)
    if name == "refused":
        torch.jit.save(torch.jit.trace(_trivial(), torch.rand(1, 3, 32, 32)), home / "net.pt")
    elif name == "start":
        _pictures(home / "photos", 60, 256)
        to_onnx(_trivial(), home / "trivial.onnx", 224)
    elif name == "memory":
        _pictures(home / "thousand", 1000, 32)
        to_onnx(_trivial(), home / "small.onnx", 32)
    elif name in ("fix", "fix-data"):
        _pictures(home / "small", 500, 32)
        torch.save(against_nets.resnet20().state_dict(), home / "resnet20.pth")
    elif name == "canonical":
        torch.save(models.squeezenet1_1().state_dict(), home / "squeezenet.pth")
    elif name == "unet":
        torch.save(against_nets.unet().state_dict(), home / "unet.pth")
        _pictures(home / "masked" / "images", 30, 512)
        (home / "masked" / "masks").mkdir()
        for i in range(30):
            mask = np.zeros((512, 512), np.uint8)
            mask[100:200, 10 * i : 10 * i + 120] = 1
            Image.fromarray(mask).save(home / "masked" / "masks" / f"{i:04}.png")


def _trivial() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 10, 8, stride=8), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).eval()


def _pictures(folder: Path, count: int, side: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    kind = "png" if side < 100 else "jpg"
    for i in range(count):
        small = Image.fromarray(rng.integers(0, 256, (side // 8, side // 8, 3), np.uint8))
        small.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{i:04}.{kind}")


def to_onnx(net: nn.Module, path: Path, size: int) -> None:
    """With a free batch."""
    axes = {"input": {0: "n"}, "output": {0: "n"}}
    names = {"input_names": ["input"], "output_names": ["output"]}
    x = torch.rand(2, 3, size, size)
    torch.onnx.export(net.eval(), (x,), path, dynamo=False, dynamic_axes=axes, **names)


def _fixed(name: str, builds: tuple[Path, Path], home: Path, rounds: int) -> None:
    """The files that `fix` writes over those of the net as it is, in one process."""
    size, batch = NETS[name]
    torch.manual_seed(0)
    net = (getattr(against_nets, name, None) or models.get_model_builder(name))().eval()
    torch.save(net.state_dict(), home / f"{name}.pth")
    arch = FACTORY.format(name) if hasattr(against_nets, name) else f"torchvision:{name}"
    traced = torch.jit.trace(net, torch.rand(batch, 3, size, size))
    torch.jit.save(traced, home / f"{name}.pt")
    to_onnx(net, home / f"{name}.onnx", size)
    for suffix in (".pt", ".onnx"):
        files = [home / f"{name}{suffix}"]
        for which, build in zip(("old", "new"), builds, strict=True):
            files.append(home / f"{name}-{which}{suffix}")
            command = f"fix {name}.pth --arch {arch} --method mass --size {size} {SEEN}"
            run(build, f"{command} --seconds 2 -o {files[-1].name}", home)
        x = torch.rand(batch, 3, size, size)
        original, *others = _ratios([_runner(file) for file in files], x, 7 * rounds)
        figures = [other / original for other in others]
        work = f"fixed {name} over the original, batch {batch}, {size} px, {suffix[1:]}"
        _print(work, figures, figures[1], {"demo": 1.4, "mobilenet_v2": 1.08}.get(name, 1.15))


def _runner(file: Path) -> Callable[[torch.Tensor], object]:
    if file.suffix == ".pt":
        return torch.jit.load(file).eval()
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x.numpy()})


@torch.inference_mode()
def _ratios(
    runs: list[Callable[[torch.Tensor], object]], x: torch.Tensor, rounds: int
) -> list[float]:
    """Median processor time of each, in turns; the first passes, which compile, do not count."""
    times: list[list[float]] = [[] for _ in runs]
    repeats = max(1, int(2e6 / x.numel()) // 8)
    for turn in range(rounds + 3):
        for each, own in zip(runs, times, strict=True):
            start = time.process_time()
            for _ in range(repeats):
                each(x)
            if turn >= 3:
                own.append(time.process_time() - start)
    return [statistics.median(own) for own in times]


if __name__ == "__main__":
    main()
