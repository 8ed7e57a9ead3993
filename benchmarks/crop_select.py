"""What a real camera shift does to labels: unmodified, behind one crop, behind votes.

    python benchmarks/crop_select.py --cases DIR [--margin 32] [--diagonal] [--rics]
    python benchmarks/crop_select.py --cases DIR --time-only [--limit N]

SqueezeNet on 256 px photos: a view of 224 + margin px slides over the photo, and the model sees
224 px of it: the middle (unmodified), the crop that the landmark chooses, or the mean of several
crops. Where the photo has no room for that, it is enlarged once for all rows alike. The hash is
RICS with the whitest response there is, a hash of the exact pixels in the middle of each crop; it
reaches that method's bound.

A share of labels changed is over the directions of each photo, its interval over photos. Accuracy
is that of the view in the middle and of all views, with the paired difference from unmodified.
Times are of the processor, one thread, medians over rounds in which all take turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torchvision
from landmarks import hash_rule
from PIL import Image
from real_cases import Case, photos, share
from torch import Tensor

from equiaudit.metrics.intervals import mean_interval
from equiaudit.sampling.crop_select import (
    CropPosition,
    CropSelect,
    agreement_bound,
    agreement_expected,
    votes_bound,
)

WINDOW = 224
BATCH = 50
REACH = 4
AXES = ((0, 1), (1, 0), (0, -1), (-1, 0))
DIAGONALS = ((1, 1), (-1, -1), (1, -1), (-1, 1))

Rule = Callable[[Tensor], Tensor]
"""Prepared views (N, C, H, W) -> the first corner of each (N, 2)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=None, help="images")
    parser.add_argument("--margin", type=int, default=16, help="px")
    parser.add_argument("--votes", type=int, nargs="+", default=[1, 4], help="crops averaged")
    parser.add_argument("--shifts", type=int, nargs="+", default=[1, 2, 4], help="px")
    parser.add_argument("--diagonal", action="store_true", help="diagonal moves too")
    parser.add_argument("--rics", action="store_true", help="a row for the hash of RICS")
    parser.add_argument("--time-only", action="store_true", help="what it costs")
    arguments = parser.parse_args()
    margin, view = arguments.margin, WINDOW + arguments.margin
    case = _with_room(photos(arguments.cases, arguments.limit), view + 2 * REACH)
    if arguments.time_only:
        _report_times(case, margin, arguments.votes)
        return
    known: dict[tuple[int, int, int], Tensor] = {}
    rows = {"unmodified": _Row(case, margin, lambda x: torch.full((len(x), 2), margin // 2), known)}
    if arguments.rics:
        rows["hash (RICS)"] = _Row(case, margin, lambda x: hash_rule(x, WINDOW, margin), known)
    for votes in arguments.votes:
        name = "one crop" if votes == 1 else f"votes {votes}"
        rule = CropPosition(margin, votes=votes)
        rows[name] = _Row(case, margin, rule, known, rule.side, rule.pitch)
    print(f"{case.name}: {len(case.labels)} of {case.images.shape[2]} px, view {view} px")
    with torch.inference_mode():
        for px in arguments.shifts:
            _report(f"{px} px along an axis", [(a * px, b * px) for a, b in AXES], rows)
            if arguments.diagonal:
                _report(f"{px} px diagonal", [(a * px, b * px) for a, b in DIAGONALS], rows)
    _accuracies(rows, case.labels)


def _with_room(case: Case, side: int) -> Case:
    """The case with photos enlarged to a multiple of 32 px that holds `side`, where need be."""
    if case.images.shape[2] >= side:
        return case
    to = -(-side // 32) * 32
    pixels = [
        np.asarray(Image.fromarray(x).resize((to, to), Image.Resampling.BICUBIC))
        for x in case.images.permute(0, 2, 3, 1).numpy()
    ]
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()
    return Case(f"{case.name}, enlarged", case.model, images, case.labels)


@dataclass
class _Row:
    """One way to look at views; each crop of each photo is run once for all rows."""

    case: Case
    margin: int
    rule: Rule
    known: dict[tuple[int, int, int], Tensor]
    """Logits by photo and corner."""
    side: int = 1
    pitch: int = 0
    labels: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    """(N,) by where the view moved."""

    def at(self, shift: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Where in the photos (N, 2) the first crops lie, and the labels (N,)."""
        view = WINDOW + self.margin
        top, left = (
            (n - view) // 2 + d for n, d in zip(self.case.images.shape[2:], shift, strict=True)
        )
        pixels = self.case.images[:, :, top : top + view, left : left + view]
        pieces = [self.rule(self.case.prepared(x)) for x in pixels.split(BATCH)]
        crops = torch.cat(pieces) + torch.tensor([top, left])
        steps = [self.pitch * i for i in range(self.side)]
        votes = [
            self._logits([(i, y + dy, x + dx) for i, (y, x) in enumerate(crops.tolist())])
            for dy in steps
            for dx in steps
        ]
        self.labels[shift] = torch.stack(votes).mean(0).argmax(1)
        return crops, self.labels[shift]

    def _logits(self, keys: Sequence[tuple[int, int, int]]) -> Tensor:
        new = [key for key in keys if key not in self.known]
        for start in range(0, len(new), BATCH):
            part = new[start : start + BATCH]
            pixels = [self.case.images[i, :, y : y + WINDOW, x : x + WINDOW] for i, y, x in part]
            found = self.case.model.run(self.case.prepared(torch.stack(pixels)))
            self.known.update(zip(part, found, strict=True))
        return torch.stack([self.known[key] for key in keys])


def _report(name: str, shifts: list[tuple[int, int]], rows: dict[str, _Row]) -> None:
    margin = rows["unmodified"].margin
    view = (WINDOW + margin,) * 2
    print(
        f"{name}: same crop by RICS's bound {100 * agreement_bound(margin, shifts[0]):.1f}, of any"
        f" rule {100 * votes_bound(margin, shifts[0]):.1f}"
    )
    for rule, row in rows.items():
        crops, still = row.at((0, 0))
        moved = [row.at(shift) for shift in shifts]
        same = torch.stack([(c == crops).all(1) for c, _ in moved]).double().mean(0)
        changed = torch.stack([found != still for _, found in moved]).double().mean(0)
        votes = row.side**2
        expected = agreement_expected(margin, shifts[0], view, votes=votes)
        chosen = rule == "one crop" or votes > 1
        print(
            f"  {rule:12} all crops kept {_percent(same)}, labels changed {_percent(changed)}"
            + (f", votes expected to be kept {100 * expected:.1f}" if chosen else "")
        )


def _accuracies(rows: dict[str, _Row], true: Tensor) -> None:
    middle = {name: row.labels[0, 0] == true for name, row in rows.items()}
    every = {
        name: torch.stack([seen == true for seen in row.labels.values()]).double().mean(0)
        for name, row in rows.items()
    }
    print("accuracy: of the view in the middle, and of all views; less that of unmodified")
    for name, right in middle.items():
        gains = [
            _points(found[name].double() - found["unmodified"].double())
            for found in (middle, every)
        ]
        print(f"  {name:12} {share(right)} ({gains[0]}), {_percent(every[name])} ({gains[1]})")


@torch.inference_mode()
def _report_times(case: Case, margin: int, votes: Sequence[int], rounds: int = 11) -> None:
    """SqueezeNet and a ResNet-18 (random weights), batches of 1 and 2 at 224 px."""
    torch.set_num_threads(1)
    view = WINDOW + margin
    resnet = torchvision.models.resnet18(weights=None).eval()
    for name, net in (("SqueezeNet 1.1", case.model.module), ("ResNet-18", resnet)):
        for batch in (1, 2):
            whole = case.prepared(case.images[:batch, :, :view, :view])
            window = whole[:, :, :WINDOW, :WINDOW].contiguous()
            runs = {"unmodified": partial(net, window)}
            for k in votes:
                chosen = CropSelect(net, margin, (WINDOW, WINDOW), votes=k)
                runs[f"votes {k}"] = partial(chosen, whole)
            taken: dict[str, list[float]] = {each: [] for each in runs}
            for _ in range(rounds):
                for each, run in runs.items():
                    start = time.process_time()
                    run()
                    taken[each].append(time.process_time() - start)
            base = median(taken["unmodified"])
            ratios = [f"{each} {median(found) / base:.2f}" for each, found in taken.items()]
            print(f"{name}, batch of {batch}: {1e3 * base:.1f} ms; {', '.join(ratios[1:])}")


def _percent(shares: Tensor) -> str:
    found = mean_interval(shares.numpy())
    return f"{100 * found.value:5.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def _points(differences: Tensor) -> str:
    """The mean of paired differences, in points, and two standard errors either side."""
    mean, error = differences.mean().item(), differences.std().item() / len(differences) ** 0.5
    return f"{100 * mean:+.1f} [{100 * (mean - 2 * error):+.1f}, {100 * (mean + 2 * error):+.1f}]"


if __name__ == "__main__":
    main()
