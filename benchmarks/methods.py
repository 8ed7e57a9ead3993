"""Every method on one small net, trained from scratch with one recipe and one budget.

    python benchmarks/methods.py --data ../shared/cases/cifar10/images --seeds 3 --epochs 30
    python benchmarks/methods.py --methods base aps --out runs.jsonl   # in pieces
    python benchmarks/methods.py --table runs.jsonl                    # what is there so far

A ResNet-8 (16, 32, 64 channels) on images of 32 px. A seed is a fold of a five-fold cross
validation and a start of the weights; every method sees the same folds. Consistency: how often
the label is the same under two different circular shifts, four pairs per image; exact: how
many of these pairs agree in every bit of the logits. Intervals are 95%, Student's t over seeds.
s is the time of a training, of the processor where it trains on one. Without --data the images are
drawn (eight classes of metal surfaces).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from demo_surfaces import CLASSES, surface
from PIL import Image
from scipy import stats
from torch import Tensor, nn

from equiaudit.sampling import (
    DDAC,
    APSSelector,
    BlurPool,
    CAPSSelector,
    CircularPad2d,
    LPSSelector,
    OrderFreeMean,
    OriginSelector,
    Selector,
    TauSchedule,
    roll_by,
)
from equiaudit.sampling.polyphase import Choice, sample

_CHOICES = ("mass", "aps", "lps", "caps")
METHODS = (
    *("base", "base-circular", "lpf-3", "ddac-3"),
    *(f"{choose}{smooth}" for choose in _CHOICES for smooth in ("", "+lpf-3", "+ddac-3")),
)
PAIRS = 4
FOLDS = 5
TAU = TauSchedule(((0, 1.0), (0.69, 0.5), (0.91, 0.05), (1, 0.01)))
"""By the share of the training that is done: the published ImageNet schedule of LPS, squeezed."""


@dataclass(frozen=True)
class Run:
    """One training: its settings, and shares in 0..1 on the fold that was held out."""

    method: str
    seed: int
    epochs: int
    images: int
    accuracy: float
    accuracy_shifted: float
    consistency: float
    exact: float
    seconds: float
    parameters: int


class Conv(nn.Module):
    """A 3x3 convolution padded by zeros, or by the map itself."""

    def __init__(self, inputs: int, outputs: int, stride: int, circular: bool) -> None:
        super().__init__()
        self.pad = CircularPad2d(1) if circular else nn.ZeroPad2d(1)
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(self.pad(x)))


class Block(nn.Module):
    """Two convolutions and a 1x1 shortcut; the map is sampled behind the first activation."""

    def __init__(self, inputs: int, outputs: int, stride: int, method: str) -> None:
        super().__init__()
        self.choose, _, smooth = method.partition("+")
        if self.choose.partition("-")[0] in ("lpf", "ddac"):
            self.choose, smooth = "fixed", self.choose
        self.circular = self.choose in ("mass", "aps", "lps", "caps", "base-circular")
        self.stride = stride
        dense = stride > 1 and (bool(smooth) or self.choose in ("aps", "lps", "caps"))
        self.dense = dense
        self.first = Conv(inputs, outputs, 1 if dense else stride, self.circular)
        self.second = Conv(outputs, outputs, 1, self.circular)
        self.shortcut = nn.Identity()
        if stride > 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, 1 if dense else stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))
        self.smooth_main = self._filter(smooth, outputs)
        self.smooth_shortcut = self._filter(smooth, inputs)
        self.select = self._selector(outputs)

    def _filter(self, smooth: str, channels: int) -> nn.Module:
        if not smooth or self.stride == 1:
            return nn.Identity()
        kind, _, kernel = smooth.partition("-")
        padding = "circular" if self.circular else "reflect"
        if kind == "lpf":
            return BlurPool(int(kernel), 1, padding)
        return DDAC(channels, int(kernel), 1, padding=padding)

    def _selector(self, channels: int) -> Selector | OriginSelector | None:
        if self.stride == 1 or self.choose in ("base", "base-circular", "fixed"):
            return None
        if self.choose == "mass":
            return OriginSelector(self.stride)
        if self.choose == "aps":
            return APSSelector(self.stride)
        kind = LPSSelector if self.choose == "lps" else CAPSSelector
        return kind(channels, self.stride)

    def forward(self, x: Tensor) -> Tensor:
        if self.choose == "mass" and self.select is not None:
            x = roll_by(x, -self.select(x))
        inner = F.relu(self.first(x))
        if self.dense:
            inner, x = self._sampled(inner, x)
        return F.relu(self.second(inner) + self.shortcut(x))

    def _sampled(self, inner: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        inner, x = self.smooth_main(inner), self.smooth_shortcut(x)
        if isinstance(self.select, Selector):
            choice = self.select(inner)
        else:  # the grid is fixed, or the map was aligned before
            choice = Choice(torch.zeros(len(x), 2, dtype=torch.int64, device=x.device), None)
        return sample(inner, choice, self.stride), sample(x, choice, self.stride)


class ResNet8(nn.Module):
    """A stem, three blocks, a global mean, a linear layer (He et al. 2016, section 4.2, n = 1)."""

    def __init__(self, method: str, classes: int) -> None:
        super().__init__()
        exact = method.partition("+")[0] in ("mass", "aps", "lps", "caps", "base-circular")
        self.stem = Conv(3, 16, 1, exact)
        self.blocks = nn.Sequential(
            Block(16, 16, 1, method), Block(16, 32, 2, method), Block(32, 64, 2, method)
        )
        self.mean = OrderFreeMean(keepdim=False)
        self.head = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.stem(x)))
        return self.head(x.mean((2, 3)) if self.training else self.mean(x))


def folder(path: Path) -> tuple[Tensor, Tensor]:
    """Images (N, 3, 32, 32) in 0..1 and labels of a folder with one sub-folder per class."""
    classes = sorted(p for p in path.iterdir() if p.is_dir())
    files = [(f, k) for k, c in enumerate(classes) for f in sorted(c.iterdir())]
    images = [np.asarray(Image.open(f).convert("RGB").resize((32, 32))) for f, _ in files]
    return _tensor(images), torch.tensor([k for _, k in files])


def drawn(per_class: int = 125) -> tuple[Tensor, Tensor]:
    """Pictures of metal surfaces, halved to 32 px."""
    pairs = [(c, k, seed) for k, c in enumerate(CLASSES) for seed in range(per_class)]
    images = _tensor([surface(name, seed) for name, _, seed in pairs])
    return F.avg_pool2d(images, 2), torch.tensor([k for _, k, _ in pairs])


def _tensor(images: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def split(labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Indices to train on and to test on: fold seed mod 5 of shuffle seed // 5, by class."""
    generator = torch.Generator().manual_seed(1000 + seed // FOLDS)
    train, test = [], []
    for k in labels.unique():
        mine = (labels == k).nonzero().flatten()
        mine = mine[torch.randperm(len(mine), generator=generator)]
        held = torch.arange(len(mine)) % FOLDS == seed % FOLDS
        train.append(mine[~held])
        test.append(mine[held])
    return torch.cat(train), torch.cat(test)


def fit(net: nn.Module, x: Tensor, y: Tensor, args: argparse.Namespace, seed: int) -> None:
    """SGD with momentum, cosine schedule, horizontal flips; selectors without weight decay."""
    chosen = {p for n, p in net.named_parameters() if ".select." in n}
    groups = [
        {"params": [p for p in net.parameters() if p not in chosen], "weight_decay": 5e-4},
        {"params": list(chosen), "weight_decay": 0.0},
    ]
    steps = args.epochs * -(-len(x) // args.batch)
    optimizer = torch.optim.SGD(groups, args.rate, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.rate, steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(seed)
    net.train()
    for epoch in range(args.epochs):
        anneal(net, TAU, epoch / args.epochs)
        for index in torch.randperm(len(x), generator=generator).split(args.batch):
            flip = torch.rand(len(index), generator=generator) < 0.5
            batch = x[index]
            batch = torch.where(flip[:, None, None, None].to(x.device), batch.flip(3), batch)
            loss = F.cross_entropy(net(batch), y[index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()


def anneal(net: nn.Module, schedule: TauSchedule, share: float) -> None:
    """Set all temperatures; CAPS, which names no schedule, follows that of LPS."""
    tau = schedule.apply(net, share)
    for module in net.modules():
        if isinstance(module, CAPSSelector):
            module.temperature = tau


@torch.no_grad()
def measure(net: nn.Module, x: Tensor, y: Tensor, seed: int) -> dict[str, float]:
    """Accuracy as it is and shifted; agreement of labels, and of bits, in pairs of shifts."""
    net.eval()
    generator = torch.Generator().manual_seed(seed)
    right, same, equal = [], [], []
    for _ in range(PAIRS):
        shifts = torch.randint(0, x.shape[-1], (len(x), 2, 2), generator=generator)
        shifts[:, 1] += (shifts[:, 0] == shifts[:, 1]).all(1, keepdim=True)
        one, two = (net(roll_by(x, shifts[:, k].to(x.device))) for k in (0, 1))
        right.append(one.argmax(1) == y)
        same.append(one.argmax(1) == two.argmax(1))
        equal.append((one == two).all(1))
    return {
        "accuracy": _share([net(x).argmax(1) == y]),
        "accuracy_shifted": _share(right),
        "consistency": _share(same),
        "exact": _share(equal),
    }


def _share(hits: Sequence[Tensor]) -> float:
    return torch.cat(list(hits)).double().mean().item()


def train_one(method: str, seed: int, data: tuple[Tensor, Tensor], args: argparse.Namespace) -> Run:
    images, labels = (t.to(args.device) for t in data)
    train, test = split(data[1], seed)
    mean, std = images[train].mean((0, 2, 3)), images[train].std((0, 2, 3))
    x = (images - mean[:, None, None]) / std[:, None, None]
    torch.manual_seed(seed)
    net = ResNet8(method, int(labels.max()) + 1).to(args.device)
    clock = time.process_time if args.device == "cpu" else time.perf_counter
    start = clock()
    fit(net, x[train], labels[train], args, seed)
    taken = clock() - start
    found = measure(net, x[test], labels[test], seed)
    parameters = sum(p.numel() for p in net.parameters())
    return Run(
        method=method,
        seed=seed,
        epochs=args.epochs,
        images=len(train),
        seconds=taken,
        parameters=parameters,
        **found,
    )


def read(path: Path) -> list[Run]:
    if not path.exists():
        return []
    return [Run(**json.loads(line)) for line in path.read_text().splitlines() if line]


def table(runs: Sequence[Run]) -> Iterator[str]:
    """One row per method, over the seeds that are there."""
    yield "| method | seeds | accuracy, % | shifted, % | consistency, % | bit-equal, % | s |"
    yield "|---|---|---|---|---|---|---|"
    for method in dict.fromkeys(m for m in METHODS if any(r.method == m for r in runs)):
        mine = [r for r in runs if r.method == method]
        shares = (
            interval([100 * getattr(r, key) for r in mine])
            for key in ("accuracy", "accuracy_shifted", "consistency", "exact")
        )
        seconds = sum(r.seconds for r in mine) / len(mine)
        yield f"| {method} | {len(mine)} | {' | '.join(shares)} | {seconds:.0f} |"


def interval(values: Sequence[float]) -> str:
    mean, n = sum(values) / len(values), len(values)
    if n < 2:
        return f"{mean:.1f}"
    half = stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / n**0.5
    return f"{mean:.1f} ± {half:.1f}"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a folder with one sub-folder per class")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=METHODS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a line per run; runs that are there are kept")
    parser.add_argument("--table", type=Path, help="print the table of such a file, and stop")
    return parser.parse_args()


def main() -> None:
    args = parsed()
    torch.set_num_threads(args.threads)
    runs = read(args.table or args.out) if args.table or args.out else []
    if not args.table:
        data = drawn() if args.data is None else folder(args.data)
        done = {(r.method, r.seed, r.epochs) for r in runs}
        for seed in range(args.seeds):
            for method in args.methods:
                if (method, seed, args.epochs) not in done:
                    runs.append(train_one(method, seed, data, args))
                    print(json.dumps(asdict(runs[-1])), flush=True)
                    if args.out:
                        with args.out.open("a") as file:
                            file.write(json.dumps(asdict(runs[-1])) + "\n")
    print("\n".join(table(runs)))


if __name__ == "__main__":
    main()
