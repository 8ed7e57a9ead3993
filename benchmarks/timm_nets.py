"""Bits of timm's convolutional and hybrid nets under circular shifts, after `--method mass`.

    python benchmarks/timm_nets.py --journal timm.jsonl --markdown docs/exactness.md

A hundred nets, drawn with a seed from the families below. A net is in the draw where it has at
most `MOST_WEIGHTS` weights and runs at 128x128 px; nothing else about it is asked before. Each
runs in a process of its own, within `--seconds`, and what is found goes to the journal, so that a
run that is stopped goes on where it was.

Weights are random, batch norms are fitted to images with the spectrum of photographs, and every
parameter that timm starts as a constant (layer scales of 1e-6, zeros) is drawn anew: else a net
hardly answers to its input, and anything would be exact. The control is the unmodified net under
the same shifts, which has to fail.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "repair"))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "repair" / "rewrite"))

from exact_nets import photos, random_shifts, shifted

from equiaudit.errors import EquiauditError
from equiaudit.graphs.capture import capture
from equiaudit.repair.rewrite.analyse import Analysis, analyse
from equiaudit.repair.rewrite.rewrite import rewrite

FAMILIES = (
    "byoanet",
    "byobnet",
    "coat",
    "convmixer",
    "convnext",
    "cpubone",
    "csatv2",
    "cspnet",
    "cspnext",
    "davit",
    "densenet",
    "dla",
    "dpn",
    "edgenext",
    "efficientformer",
    "efficientformer_v2",
    "efficientnet",
    "efficientvim",
    "efficientvit_mit",
    "efficientvit_msra",
    "fasternet",
    "fastvit",
    "focalnet",
    "gcvit",
    "ghostnet",
    "hardcorenas",
    "hgnet",
    "hrnet",
    "iformer",
    "inception_next",
    "inception_resnet_v2",
    "inception_v3",
    "inception_v4",
    "lcnetv2",
    "levit",
    "lowformer",
    "mambaout",
    "maxxvit",
    "metaformer",
    "mobilenetv3",
    "mobilenetv5",
    "mobilevit",
    "nasnet",
    "nextvit",
    "nfnet",
    "pnasnet",
    "pvt_v2",
    "rdnet",
    "regnet",
    "repghost",
    "repvit",
    "res2net",
    "resnest",
    "resnet",
    "resnetv2",
    "rexnet",
    "selecsls",
    "senet",
    "shvit",
    "sknet",
    "starnet",
    "swiftformer",
    "tiny_vit",
    "tresnet",
    "vgg",
    "visformer",
    "vitamin",
    "vovnet",
    "xception",
    "xception_aligned",
    "xcit",
)
"""timm's modules of nets with convolutions over positions in their blocks: convolutional ones, and
hybrids with attention. Nets of tokens alone (ViT, Swin, mixers) are not among them."""
MOST_WEIGHTS = 30_000_000
SIDE = 128
SEED = 0
IMAGES, ROUNDS = 2, 3
SENSITIVE = 1e-3
"""A control that changes by less of its range proves nothing."""

THEOREMS = {
    "values that belong to absolute positions": "absolute position embedding",
    "a weight per position": "weights per position",
    "weights per position": "weights per position",
    "a bias per pair of positions": "position bias between tokens",
    "flattens the map": "flattened into a linear layer",
}
"""Parts of refusals that say why no rewriting could be equivariant, in short words."""
BEGIN, END = "<!-- timm -->", "<!-- /timm -->"


def drawn(count: int) -> Iterator[str]:
    """The first `count` names of the shuffled families that fit the rule."""
    names = [n for family in FAMILIES for n in timm.list_models(module=family)]
    random.Random(SEED).shuffle(names)
    for name in names:
        if count and _fits(name):
            count -= 1
            yield name


def _fits(name: str) -> bool:
    try:
        with torch.device("meta"):
            model = made(name)
            if sum(p.numel() for p in model.parameters()) > MOST_WEIGHTS:
                return False
            model.eval()(torch.empty(2, 3, SIDE, SIDE))
    except Exception:  # it does not take images of this size
        return False
    return True


def made(name: str) -> nn.Module:
    """The net for 128 px, where it asks for a size at all; fewer classes, to be quick."""
    try:
        return timm.create_model(name, num_classes=50, img_size=SIDE)
    except TypeError:
        return timm.create_model(name, num_classes=50)


@torch.no_grad()
def awake(model: nn.Module) -> nn.Module:
    """Constant parameters drawn anew, batch norms fitted."""
    generator = torch.Generator().manual_seed(0)
    for name, p in model.eval().named_parameters():
        if bool((p == p.flatten()[0]).all()) and (p.numel() > 1 or not p.any()):
            noise = torch.randn(p.shape, generator=generator)
            small = name.endswith("bias") or (p.dim() > 2 and not p.any())
            p.copy_(noise * 0.1 if small else 1 + noise * 0.2)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)]
    hooks = [norm.register_forward_pre_hook(_fit) for norm in norms]
    model(photos(4, (SIDE, SIDE)))
    for hook in hooks:
        hook.remove()
    return model


def _fit(norm: Any, inputs: tuple[torch.Tensor, ...]) -> None:
    dims = [d for d in range(inputs[0].dim()) if d != 1]
    if inputs[0].numel() > 4 * inputs[0].shape[1]:
        norm.running_mean.copy_(inputs[0].mean(dims))
        norm.running_var.copy_(inputs[0].var(dims) + 1e-5)


@torch.no_grad()
def compared(net: nn.Module, x: torch.Tensor) -> tuple[bool, float]:
    """Whether all logits are bit-equal under random shifts, and the worst error over the range."""
    y, equal, worst = net(x), True, 0.0
    for seed in range(ROUNDS):
        moved = net(shifted(x, random_shifts(len(x), (SIDE, SIDE), seed)))
        equal = equal and torch.equal(moved, y)
        worst = max(worst, (moved - y).abs().max().item())
    return equal, worst / (y.max() - y.min()).item()


def measured(name: str) -> dict[str, Any]:
    """One net: bit-equal, refused or failed, and why."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, x = awake(made(name)), photos(IMAGES, (SIDE, SIDE), seed=1)
    _, control = compared(model, x)
    row: dict[str, Any] = {"net": name, "control": control}
    try:
        graph = capture(model, size=(SIDE, SIDE)).graph_module
    except EquiauditError as error:
        return {**row, "outcome": "refused", "why": f"{error}"}
    analysis = analyse(graph)
    if analysis.refusals:
        return {**row, "outcome": "refused", "why": _why(analysis)}
    equal, error = compared(rewrite(graph, analysis), x)
    if not control > SENSITIVE:
        return {**row, "outcome": "failed", "error": error, "why": "its control does not fail"}
    outcome = "bit-equal" if equal else "failed"
    return {**row, "outcome": outcome, "error": error, "why": "" if equal else "bits differ"}


def _why(analysis: Analysis) -> str:
    """A theorem where one of the refusals is one, else the first."""
    reasons = [refusal.reason for refusal in analysis.refusals]
    return next((why for why in reasons if theorem(why)), reasons[0])


def theorem(why: str) -> str:
    """What no rewriting can get around, in short; empty where this is none."""
    return next((short for part, short in THEOREMS.items() if part in why), "")


def run(name: str, seconds: float) -> dict[str, Any]:
    """`measured` in a process of its own."""
    start = time.perf_counter()
    command = [sys.executable, __file__, "--one", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"net": name, "outcome": "failed", "why": f"over {seconds:g} s", "seconds": seconds}
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        row = {"net": name, "outcome": "failed", "why": last[:200]}
    else:
        row = json.loads(lines[-1])
    return {**row, "seconds": round(time.perf_counter() - start, 1)}


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The summary, then a row per net."""
    counts = Counter(_kind(row) for row in rows)
    lines = ["| outcome | nets |", "|---|---|"]
    lines += [f"| {kind} | {count} |" for kind, count in sorted(counts.items())]
    lines += ["", "| net | outcome | error / range | unmodified net | seconds |"]
    lines += ["|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: row["net"]):
        what = row["outcome"] + (f": {row['why']}" if row["why"] else "")
        numbers = [f"{row[key]:.1e}" if key in row else "-" for key in ("error", "control")]
        lines.append(f"| {row['net']} | {what} | {' | '.join(numbers)} | {row['seconds']} |")
    return lines


def _kind(row: dict[str, Any]) -> str:
    if row["outcome"] != "refused":
        return str(row["outcome"])
    short = theorem(row["why"])
    return f"refused, as no rewriting could help: {short}" if short else "refused, no rule yet"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument(
        "--so-far", action="store_true", help="measure none; print what the journal has of the list"
    )
    parser.add_argument("--nets", nargs="*", help="these instead of the list")
    parser.add_argument("--journal", type=Path, default=Path("timm.jsonl"))
    parser.add_argument("--seconds", type=float, default=400)
    parser.add_argument("--again", nargs="*", default=(), help="outcomes to measure again")
    parser.add_argument("--markdown", type=Path, help="put the table between the marks here")
    parser.add_argument("--list", action="store_true", help="print the names alone")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measured(args.one)))
        return
    names = args.nets or list(drawn(args.count))
    if args.list:
        print("\n".join(names))
        return
    rows = _journalled(args, names)
    lines = [f"{len(rows)} of {len(names)} nets.", "", *table(rows)]
    print("\n".join(lines))
    if args.markdown:
        _put(args.markdown, lines)


def _journalled(args: argparse.Namespace, names: list[str]) -> list[dict[str, Any]]:
    known: dict[str, dict[str, Any]] = {}
    if args.journal.is_file():
        read = map(json.loads, args.journal.read_text().splitlines())
        known = {row["net"]: row for row in read}
    for name in () if args.so_far else names:
        if name in known and known[name]["outcome"] not in args.again:
            continue
        known[name] = run(name, args.seconds)
        print(name, known[name]["outcome"], known[name]["why"], flush=True, file=sys.stderr)
        with args.journal.open("a") as journal:
            journal.write(json.dumps(known[name]) + "\n")
    return [known[name] for name in names if name in known]


def _put(path: Path, lines: list[str]) -> None:
    before, _, rest = path.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text("\n".join([before + BEGIN, "", *lines, "", END]) + after)


if __name__ == "__main__":
    main()
