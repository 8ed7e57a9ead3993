"""Time of the converted net over the original, side by side in one process.

    python benchmarks/overhead.py --threads 1

Each round runs every variant once, in turn, so that what else the machine does falls on all of
them alike; the ratio is of medians over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "repair" / "rewrite"))

from exact_nets import captured, photos

from equiaudit.repair.rewrite.analyse import analyse
from equiaudit.repair.rewrite.rewrite import rewrite

NETS = ("resnet18", "convnext_tiny", "densenet121", "mobilenet_v2")


def seconds(run: Callable[[], object], device: str) -> float:
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


@torch.inference_mode()
def compare(name: str, args: argparse.Namespace) -> str:
    size = (args.size, args.size)
    model = torchvision.models.get_model(name, weights=None).eval()
    graph = captured(model, size)
    analysis = analyse(graph)
    nets = {"original": model}
    nets |= {s: rewrite(graph, analysis, select=s) for s in ("features", "input")}
    nets = {kind: net.to(args.device) for kind, net in nets.items()}
    if args.compile:
        nets = {kind: torch.compile(net) for kind, net in nets.items()}
    x = photos(args.batch, size).to(args.device)
    times: dict[str, list[float]] = {kind: [] for kind in nets}
    for _ in range(args.rounds + 2):
        for kind, net in nets.items():
            times[kind].append(seconds(lambda net=net: net(x), args.device))
    median = {kind: statistics.median(t[2:]) for kind, t in times.items()}
    base = median["original"]
    ratios = (f"{median[kind] / base:.2f}" for kind in ("features", "input"))
    return f"| {name} | {base * 1e3:.1f} | {' | '.join(ratios)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", nargs="*", default=NETS)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print("| net | original, ms | features | input |\n|---|---|---|---|")
    for name in args.nets:
        print(compare(name, args), flush=True)


if __name__ == "__main__":
    main()
