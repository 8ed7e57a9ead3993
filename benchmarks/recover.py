"""ResNet-20 on CIFAR-10: what MASS costs in accuracy, and what each stage brings back.

    PYTHONPATH=.:tests python benchmarks/recover.py CASES --epochs 10

Trains on the unlabelled images of the case, reports on its labelled ones: accuracy with its
interval, circular consistency over 8 shifts, exactness of graph and saved file, and the time of
every stage, by the clock and of the processor.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from real_cases import Case, cifar10, share
from torch import Tensor, fx

from equiaudit.data import Geometry, open_dataset
from equiaudit.repair.inspection import captured_graph
from equiaudit.repair.rewrite.analyse import analyse
from equiaudit.repair.rewrite.rewrite import rewrite
from equiaudit.repair.save.write import save
from equiaudit.repair.verify.circular import verify
from equiaudit.training import TrainingOptions, load_examples, recover

_SHIFTS = 4
_BATCH = 100


@dataclass
class Report:
    """Prints progress, and the accuracy on the labelled images after every tenth."""

    done: int = 0
    total: int = 0
    started: float = field(default_factory=time.perf_counter)

    def begin(self, total: int, done: int) -> None:
        """A stage."""
        self.total, self.done = total, done

    def advance(self, passes: int) -> None:
        """A line for every twentieth."""
        before, self.done = self.done, self.done + passes
        if 20 * self.done // self.total > 20 * before // self.total:
            took = time.perf_counter() - self.started
            print(f"  {100 * self.done // self.total:3d}%  {took:.0f} s", flush=True)

    def note(self, sentence: str) -> None:
        """A line."""
        print(f"  {sentence}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--limit", type=int, default=None, help="images, for a quick look")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", type=Path, default=None)
    args = parser.parse_args()
    case = cifar10(args.cases, args.limit)
    captured = captured_graph(case.model).graph_module
    fixed = rewrite(captured, analyse(captured))
    folder = args.cases / "cifar10/unlabelled"
    data = open_dataset(folder, limit=args.limit)
    examples = load_examples(data, Geometry((32, 32)), case.model.preprocess)
    row(case, "unmodified", captured, captured, 0.0, 0.0)
    row(case, "mass", fixed, captured, 0.0, 0.0)
    stages = {
        "calibrate": TrainingOptions(calibrate=True, holdout=0.0, seed=args.seed),
        "distil": TrainingOptions(distil=args.epochs, seed=args.seed, checkpoint=args.checkpoint),
    }
    net = fixed
    for name, options in stages.items():
        with timed() as taken:
            net, _record = recover(net, captured, examples, options, Report())
        row(case, name, net, captured, *taken())


@contextmanager
def timed() -> Iterator[Callable[[], tuple[float, float]]]:
    """Seconds by the clock and of the processor."""
    began = time.perf_counter(), time.process_time()
    yield lambda: (time.perf_counter() - began[0], time.process_time() - began[1])


def row(
    case: Case,
    name: str,
    net: fx.GraphModule,
    original: fx.GraphModule,
    seconds: float,
    processor: float,
) -> None:
    """One line of the table."""
    images = case.prepared(case.images)
    plain = labels(net, images)
    agreeing = torch.stack([labels(net, rolled(images, seed)) == plain for seed in range(_SHIFTS)])
    print(
        f"{name:12} accuracy {share(plain == case.labels)} consistency {share(agreeing.all(0))}"
        f" exact {exactness(net, original, images) if name != 'unmodified' else '-':>14}"
        f" {seconds:6.0f} s {processor:6.0f} s of the processor",
        flush=True,
    )


def labels(net: fx.GraphModule, images: Tensor) -> Tensor:
    """Predicted classes (N,)."""
    with torch.inference_mode():
        return torch.cat([net(x).argmax(1) for x in images.split(_BATCH)])


def rolled(images: Tensor, seed: int) -> Tensor:
    """Every image at a circular shift of its own."""
    shifts = np.random.default_rng(seed).integers(0, 32, (len(images), 2))
    pairs = zip(images, shifts.tolist(), strict=True)
    return torch.stack([torch.roll(x, tuple(shift), (1, 2)) for x, shift in pairs])


def exactness(net: fx.GraphModule, original: fx.GraphModule, images: Tensor) -> str:
    """Bit-equal comparisons of the graph as it comes back from a file, over every phase."""
    pictures = {str(i): image for i, image in enumerate(images[:32])}
    with tempfile.TemporaryDirectory() as folder:
        saved = save(net, Path(folder) / "net.pt", example=images[:4])
        run = torch.jit.load(saved.path)
    found = verify(run, original, pictures, total_stride=(4, 4), dense=False, comparisons=512)
    return f"{found.figures.comparisons_exact}/{found.figures.comparisons}"


if __name__ == "__main__":
    main()
