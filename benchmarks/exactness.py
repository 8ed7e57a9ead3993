"""Bits of the converted nets under circular shifts, beside the unmodified nets.

    python benchmarks/exactness.py --markdown docs/exactness.md

Random weights with fitted batch-norm statistics, images with the spectrum of photographs, each
image of a batch shifted differently. The control is the same figure for the unmodified net: a
net that ignores its input would be exact by itself. Nets that return maps are compared with
their own map rolled as the image was, on images of two kinds: with the spectrum of photographs,
as their batch norms were fitted to, and drawings, binary noise and images out of range.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "repair" / "rewrite"))

from dense_nets import SEGMENTERS, SMALL, dense_net
from exact_nets import captured, photos, random_shifts, shifted, torchvision_net

from equiaudit.repair.rewrite.analyse import analyse
from equiaudit.repair.rewrite.rewrite import rewrite
from equiaudit.repair.verify.synthetic import synthetic_images

NETS = (
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "densenet121",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "convnext_tiny",
    "regnet_y_400mf",
    "shufflenet_v2_x1_0",
    "squeezenet1_1",
    "mnasnet1_0",
    "googlenet",
    "inception_v3",
    "vgg11_bn",
    "alexnet",
)
DENSE_NETS = (*SMALL, *SEGMENTERS)
DRAWN = ("text", "noise", "gradient-both", "disk")
HEADER = (
    "| net | origins from | logits bit-equal | worst error / range | unmodified net | seconds |",
    "|---|---|---|---|---|---|",
)
DENSE_HEADER = (
    "| net | origins from | values bit-equal | worst error / range | worst NMSE | on unlike images "
    "| unmodified net: error, NMSE | seconds |",
    "|---|---|---|---|---|---|---|---|",
)

NOTES = """
Written by `python benchmarks/exactness.py --threads 1 --markdown
docs/exactness.md`. "Unmodified net" is the worst error of the original under the same shifts.

Maps are compared with the map of the unshifted image, rolled as the image was. NMSE is
|S f(x) - f(S x)|^2 / |S f(x)|^2, of the worst image at its worst shift; "unlike images" are
drawings, binary noise and values far out of the range that the batch norms were fitted to.
Images that equal a shift of themselves, where the stride does not divide the shift, are not among
them: no grid can respect that symmetry. `fix` and `verify` report those apart.

What had to be computed differently to keep every bit:

- Means over the image: a float32 sum depends on its order. They are sums of whole steps of 2^-23
  of the largest value, in float64, which are exact in any order. Variances and norms over the
  image (global response norm) are such sums too.
- Attention, between channels or between positions that carry no place, and matrix products over
  positions: both factors become whole numbers of 20 to 24 bits, whose products float64 adds up
  exactly. A softmax over positions divides by a sum of whole steps.
- Windows of a map: where they begin is an origin like any other, chosen from the content.
- SiLU, sigmoid, GELU, tanh, exp where a map is not a whole number of vectors (64 elements), and
  softmax over channels: the scalar code for the left-over elements rounds differently. They run
  in float64 and are rounded once.
- Convolutions to maps of fewer than 16 elements run on a circle extended to 4 a side: as a matrix
  product with 5 to 11 columns, the last columns would be rounded differently.

Not exact: a convolution with few output channels (about 10) on a small map, in a batch of one on
several CPU threads, which the math library splits unevenly: an ulp in about 1% of its elements.
"""


@torch.no_grad()
def measure(net: torch.nn.Module, x: torch.Tensor, rounds: int) -> tuple[float, float]:
    """Share of logits bit-equal under random shifts, and the worst error over their range."""
    y, equal, worst = net(x), 0.0, 0.0
    for seed in range(rounds):
        moved = net(shifted(x, random_shifts(len(x), tuple(x.shape[2:]), seed)))
        equal += (moved == y).float().mean().item() / rounds
        worst = max(worst, (moved - y).abs().max().item())
    return equal, worst / (y.max() - y.min()).item()


def rows(name: str, size: tuple[int, int], batch: int, rounds: int, device: str) -> list[str]:
    model, x = torchvision_net(name, size), photos(batch, size, seed=1).to(device)
    graph = captured(model, size)
    _, control = measure(model.to(device), x, rounds)
    lines = []
    for select in ("features", "input"):
        start = time.perf_counter()
        net = rewrite(graph, analyse(graph), select=select).to(device)
        equal, worst = measure(net, x, rounds)
        seconds = time.perf_counter() - start
        cells = (name, select, f"{equal:.2%}", f"{worst:.1e}", f"{control:.1e}", f"{seconds:.1f}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


@dataclass
class Worst:
    """What happens to the maps of a net under random shifts."""

    equal: float = 1.0
    """Share of values bit-equal, in the worst round."""
    error: float = 0.0
    """Over the range of the unshifted map."""
    nmse: float = 0.0
    """|S f(x) - f(S x)|^2 / |S f(x)|^2 of one image."""


@torch.no_grad()
def measure_maps(net: torch.nn.Module, x: torch.Tensor, rounds: int) -> Worst:
    """Each image of the batch is shifted by itself, in every round."""
    y, worst = net(x), Worst()
    span = y.amax((1, 2, 3)) - y.amin((1, 2, 3))
    for seed in range(rounds):
        moves = random_shifts(len(x), tuple(x.shape[2:]), seed)
        expected, moved = shifted(y, moves), net(shifted(x, moves))
        change = (moved - expected).abs().amax((1, 2, 3)) / span
        square = (moved - expected).double().square().sum((1, 2, 3))
        nmse = square / expected.double().square().sum((1, 2, 3))
        worst.equal = min(worst.equal, (moved == expected).double().mean().item())
        worst.error = max(worst.error, change.max().item())
        worst.nmse = max(worst.nmse, nmse.max().item())
    return worst


def unlike(size: tuple[int, int]) -> torch.Tensor:
    """Images that no batch norm was fitted to: drawings, binary noise, values out of range."""
    drawn = synthetic_images(size)
    noise = torch.randn((2, 3, *size), generator=torch.Generator().manual_seed(2))
    far = torch.stack([noise[0].sign() * 5, noise[1] * 20])
    return torch.cat([torch.stack([drawn[name] for name in DRAWN]) * 4 - 2, far])


def dense_rows(name: str, size: tuple[int, int], batch: int, rounds: int, device: str) -> list[str]:
    model, x = dense_net(name, size), photos(batch, size, seed=1).to(device)
    graph, odd = captured(model, size), unlike(size).to(device)
    control = measure_maps(model.to(device), x, rounds)
    lines = []
    for select in ("features", "input"):
        start = time.perf_counter()
        net = rewrite(graph, analyse(graph), select=select).to(device)
        own, others = measure_maps(net, x, rounds), measure_maps(net, odd, rounds)
        seconds = time.perf_counter() - start
        equal, error = min(own.equal, others.equal), max(own.error, others.error)
        cells = (name, select, f"{equal:.2%}", f"{error:.1e}", f"{own.nmse:.1e}")
        cells += (f"{others.nmse:.1e}", f"{control.error:.1e}, {control.nmse:.1e}")
        lines.append(f"| {' | '.join((*cells, f'{seconds:.1f}'))} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs=2, default=(224, 224))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--nets", nargs="*", default=NETS)
    parser.add_argument("--dense-nets", nargs="*", default=DENSE_NETS)
    parser.add_argument("--dense-size", type=int, nargs=2, default=(96, 128))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--markdown", type=Path, help="also write the table here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    about = (
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, "
        f"{_device(args.device)}, "
        f"float32, {args.size[0]}x{args.size[1]}, {args.batch} images x {args.rounds} shifts each."
    )
    table = [about, "", *HEADER]
    print("\n".join(table))
    for name in args.nets:
        new = rows(name, tuple(args.size), args.batch, args.rounds, args.device)
        print("\n".join(new), flush=True)
        table += new
    table += _dense_table(args)
    if args.markdown:
        kept = args.markdown.read_text() if args.markdown.is_file() else ""
        _, begin, rest = kept.partition("## Nets of timm")  # by timm_nets.py
        text = "\n".join(["# Exactness", "", *table, NOTES, begin + rest])
        args.markdown.write_text(text.rstrip("\n") + "\n")


def _dense_table(args: argparse.Namespace) -> list[str]:
    table = ["", "## Nets that return maps", "", f"{args.dense_size[0]}x{args.dense_size[1]}."]
    table += ["", *DENSE_HEADER]
    print("\n".join(table))
    for name in args.dense_nets:
        new = dense_rows(name, tuple(args.dense_size), args.batch, args.rounds, args.device)
        print("\n".join(new), flush=True)
        table += new
    return table


def _device(device: str) -> str:
    return (
        torch.cuda.get_device_name()
        if device == "cuda"
        else f"CPU, {torch.get_num_threads()} threads"
    )


if __name__ == "__main__":
    main()
