"""The same nets in several runtimes, as they are and after `fix --for`: labels, errors, bits, cost.

    python benchmarks/runtimes.py [--net NAME ...] [--size 64] [--shifts 64] [--cases DIR]

Each net is written as ONNX (opset 18), fixed by `mass` with `--for openvino`, and also by `mass`
with `--pad slices` alone, as a control that has to fail where 64 bits are lacking. Nets of
torchvision and a U-Net have random weights and fitted batch norms; with --cases, ResNet-20 (32 px,
8 of its test images) and SqueezeNet_fp16.onnx (224 px, 4 photos) of the cases instead. Every file
runs in every runtime on those images (else 6 of noise), a blank and one that equals a shift of
itself, at (0, 0) and at `--shifts` others of all phases. A row says: comparisons with the label of
the unshifted image, the largest error over the output range, comparisons with all bits equal,
labels as in onnxruntime on the unshifted images, and the least processor time of a pass over the
original's.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from onnx_nets import NETS, exported
from torch import Tensor

import equiaudit
from equiaudit.data import open_dataset
from equiaudit.models.runtimes import installed
from equiaudit.models.types import Model

RUNTIMES = ("onnxruntime", "openvino")
FILES = ("as it is", "mass, slices", "mass, for openvino")
HEADER = (
    "| net | file | runtime | labels kept | largest error | bit-equal | labels as in onnxruntime"
    " | cost |\n|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Net:
    """An ONNX file, how to load it, and images (N, C, H, W) as it takes them."""

    name: str
    path: Path
    given: dict[str, Any]
    images: Tensor


def with_hard_images(images: Tensor) -> Tensor:
    """The images, a blank, and one that equals a shift of itself."""
    half = images[:1, :, : images.shape[2] // 2, : images.shape[3] // 2]
    return torch.cat([images, torch.zeros_like(images[:1]), half.repeat(1, 1, 2, 2)])


def random_nets(names: list[str], size: int, folder: Path) -> Iterator[Net]:
    noise = torch.randn(6, 3, size, size, generator=torch.Generator().manual_seed(1))
    given = {"size": (size, size), "mean": (0.5,) * 3, "std": (0.25,) * 3}
    for name in names:
        yield Net(f"{name}, {size} px", exported(name, "dynamo", size, folder), given, noise)


def real_nets(cases: Path, folder: Path) -> Iterator[Net]:
    from real_cases import cifar10

    case = cifar10(cases, 8)
    how = case.model.preprocess
    path = folder / "resnet20.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            case.model.module, (torch.rand(2, 3, 32, 32),), dynamo=True,
            dynamic_shapes=({0: "batch"},), verbose=False,
        )  # fmt: skip
    program.save(path, external_data=False)
    given = {"size": how.size, "mean": how.mean, "std": how.std}
    yield Net("ResNet-20, 32 px", path, given, case.prepared(case.images))
    path = cases / "imagenet/weights/SqueezeNet_fp16.onnx"
    given = {"preprocess": Path(__file__).parents[1] / "tests/squeezenet.toml"}
    model = equiaudit.load_model(path, device="cpu", **given)
    yield Net("SqueezeNet_fp16, 224 px", path, given, _photos(model, cases / "imagenet"))


def _photos(model: Model, folder: Path) -> Tensor:
    from equiaudit.api.room import pictures

    data = open_dataset(folder / "images", labels=folder / "labels.csv", num_classes=1000, limit=4)
    return torch.stack(list(pictures(data, model.preprocess, 4).values()))


def places(size: tuple[int, int], stride: tuple[int, int], count: int) -> list[tuple[int, int]]:
    """`count` shifts of distinct phases, some of them with whole strides added."""
    phases = [(y, x) for y in range(stride[0]) for x in range(stride[1])][1:]
    step = max(1, len(phases) // count)
    return [
        (y + stride[0] * (k % 2) % size[0], x + stride[1] * (k % 3) % size[1])
        for k, (y, x) in enumerate(phases[::step][:count])
    ]


def same_labels(y: Tensor, other: Tensor) -> int:
    """Images of two outputs (N, classes, ...) whose labels all agree."""
    return int((y.argmax(1) == other.argmax(1)).reshape(len(y), -1).all(1).sum())


@torch.no_grad()
def measured(model: Model, images: Tensor, shifts: list[tuple[int, int]]) -> tuple[str, ...]:
    """Labels kept, the largest error and bits, of shifts against the image as it is."""
    expected, dense = model.run(images), model.task == "segmentation"
    spread = float(expected.max() - expected.min())
    kept = equal = total = 0
    worst = 0.0
    for dy, dx in shifts:
        found = model.run(images.roll((dy, dx), (2, 3)))
        found = found.roll((-dy, -dx), (2, 3)) if dense else found
        total += len(found)
        equal += int((found == expected).flatten(1).all(1).sum())
        kept += same_labels(found, expected)
        worst = max(worst, float((found - expected).abs().max()) / spread)
    return f"{kept} of {total}", f"{worst:.1e}", f"{equal} of {total}"


def pace(model: Model, image: Tensor) -> Callable[[], float]:
    """What times a pass, in processor time."""

    def once() -> float:
        start = time.process_time()
        model.run(image)
        return time.process_time() - start

    once()
    return once


def rows(net: Net, shifts: int, folder: Path) -> Iterator[str]:
    source = equiaudit.load_model(net.path, device="cpu", **net.given)
    files = {FILES[0]: net.path}
    for title, how in ((FILES[1], {"pad": "slices"}), (FILES[2], {"for_": "openvino"})):
        out = folder / f"{net.path.stem}-{len(files)}.onnx"
        report = equiaudit.fix(
            net.path, out, method="mass", seconds=5, device="cpu", **how, **net.given
        )
        files[title] = Path(str(report.output))
        if report.outcome != "written":
            yield f"| {net.name} | {title} | {report.reason} |"
    images = with_hard_images(net.images)
    moves = places(source.preprocess.size, source.total_stride or (1, 1), shifts)
    for runtime in RUNTIMES:
        base = None
        for title, path in files.items():
            how = dict(net.given)
            model = equiaudit.load_model(path, backend=runtime, device="cpu", **how)
            found = measured(model, images, moves)
            theirs = equiaudit.load_model(path, backend="onnxruntime", device="cpu", **how)
            agreed = same_labels(model.run(images), theirs.run(images))
            timed = pace(model, images[:1])
            base = base or timed
            pairs = [(timed(), base()) for _ in range(5)]
            cost = min(a for a, _ in pairs) / min(b for _, b in pairs)
            cells = (net.name, title, runtime, *found, f"{agreed} of {len(images)}", f"{cost:.2f}")
            yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the versions and a row per file and runtime."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", action="append", choices=NETS)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--shifts", type=int, default=64)
    parser.add_argument("--cases", type=Path)
    args = parser.parse_args()
    print("; ".join(installed(name).said() for name in RUNTIMES), "\n")
    print(HEADER, flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        named = args.net or ([] if args.cases else ["resnet18", "mobilenet_v2", "convnext_tiny"])
        for net in random_nets(named, args.size, folder):
            for row in rows(net, args.shifts, folder):
                print(row, flush=True)
        for net in real_nets(args.cases, folder) if args.cases else ():
            for row in rows(net, args.shifts, folder):
                print(row, flush=True)


if __name__ == "__main__":
    main()
