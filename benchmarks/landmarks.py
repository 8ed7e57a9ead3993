"""Which landmark a camera leaves alone: moves, noise, compression and exposure.

    python benchmarks/landmarks.py --cases DIR

Views of 240 px of the photos, before and after a real move by (0, 0), (0, 1), (2, 0) and (4, 4) px,
each view changed by itself, as a camera changes it. A rule finds a place in each; the share of
pairs in which the place moved as the scene did, modulo the pitch of 4 votes (8 px). No net runs.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from real_cases import Case, photos
from torch import Tensor

from equiaudit.metrics.intervals import mean_interval
from equiaudit.sampling.crop_select import landmark_peaks, landmark_response

VIEW, PITCH, BATCH = 240, 8, 20
MOVES = ((0, 0), (0, 1), (2, 0), (4, 4))

Rule = Callable[[Tensor], Tensor]
Change = Callable[[Tensor, bool], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=None, help="images")
    arguments = parser.parse_args()
    case = photos(arguments.cases, arguments.limit)
    rules: dict[str, Rule] = {
        f"corner, {cell} px": partial(_corner, cell) for cell in (2, 4, 6, 8, 12, 16)
    }
    rules["any place, 8 px"] = lambda x: _place(landmark_response(x, (VIEW, VIEW), 8))
    rules["folded, 8 px"] = partial(_folded, 8)
    rules["hash (RICS)"] = lambda x: hash_rule(x, VIEW - 16, 16)
    found = {name: _kept(case, rules, change) for name, change in _changes().items()}
    print("| landmark | " + " | ".join(found) + " |")
    print("|---" * (len(found) + 1) + "|")
    for rule in rules:
        print(f"| {rule} | " + " | ".join(_percent(kept[rule]) for kept in found.values()) + " |")


def _changes() -> dict[str, Change]:
    generator = torch.Generator().manual_seed(0)

    def noise(x: Tensor) -> Tensor:
        return _levels(x + torch.randn(x.shape, generator=generator))

    return {
        "nothing": lambda x, later: x,
        "noise, 1 level": lambda x, later: noise(x),
        "exposure, 2%": lambda x, later: _levels(x * 1.02) if later else x,
        "JPEG 95": lambda x, later: _jpeg(x, 95),
        "JPEG 75": lambda x, later: _jpeg(x, 75),
        "1 level, 1%, JPEG 90": lambda x, later: _jpeg(noise(x * 1.01 if later else x), 90),
    }


def _kept(case: Case, rules: dict[str, Rule], change: Change) -> dict[str, Tensor]:
    """Of each photo, over the moves, the share in which a rule's place went along."""
    found: dict[str, list[Tensor]] = {name: [] for name in rules}
    for images in case.images.split(BATCH):
        still = case.prepared(change(_view(images, (0, 0)), False))
        moved = [case.prepared(change(_view(images, move), True)) for move in MOVES]
        for name, rule in rules.items():
            at = rule(still)
            same = [
                ((rule(view) + torch.tensor(move) - at) % PITCH == 0).all(1)
                for move, view in zip(MOVES, moved, strict=True)
            ]
            found[name].append(torch.stack(same).double().mean(0))
    return {name: torch.cat(parts) for name, parts in found.items()}


def _view(images: Tensor, move: tuple[int, int]) -> Tensor:
    top, left = ((n - VIEW) // 2 + d for n, d in zip(images.shape[2:], move, strict=True))
    return images[:, :, top : top + VIEW, left : left + VIEW]


def _corner(cell: int, x: Tensor) -> Tensor:
    """Where `CropPosition` looks: the strongest peak of the checkerboard of cells of `cell` px."""
    response = landmark_response(x, (VIEW, VIEW), cell)
    return _place(landmark_peaks(response, (VIEW - 2 * cell - 1,) * 2))


def _folded(cell: int, x: Tensor) -> Tensor:
    """The phase, modulo the pitch, whose responses have the largest sum of 16th powers."""
    response = landmark_response(x, (VIEW, VIEW), cell).double()
    response = (response / response.flatten(1).amax(1)[:, None, None]) ** 16
    short = [-n % PITCH for n in response.shape[1:]]
    response = torch.nn.functional.pad(response, (0, short[1], 0, short[0]))
    return _place(response.unflatten(2, (-1, PITCH)).unflatten(1, (-1, PITCH)).sum((1, 3)))


def _place(response: Tensor) -> Tensor:
    flat = response.flatten(1).argmax(1)
    return torch.stack([flat // response.shape[2], flat % response.shape[2]], 1)


def hash_rule(x: Tensor, window: int, margin: int, patch: int = 16) -> Tensor:
    """The crop whose middle `patch` x `patch` pixels have the largest hash: RICS, exchangeable."""
    first = (window - patch) // 2
    last = first + patch + margin
    h = (x[:, :, first:last, first:last] * 4096).round().long()
    h = _mixed((h * torch.tensor([1, 7919, 104729]).reshape(1, 3, 1, 1)).sum(1))
    for dim in (1, 2):
        for k in range(patch.bit_length() - 1):
            left = h.shape[dim] - (1 << k)
            h = _mixed(h.narrow(dim, 0, left) * 3 + h.narrow(dim, 1 << k, left) * 7)
    return _place(h[:, : margin + 1, : margin + 1])


def _mixed(h: Tensor) -> Tensor:
    prime = 2**31 - 1
    h = h % prime
    return (h * h + h * 1103515245) % prime


def _levels(x: Tensor) -> Tensor:
    return x.round().clamp(0, 255).to(torch.uint8)


def _jpeg(pixels: Tensor, quality: int) -> Tensor:
    decoded = []
    for picture in pixels.permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality)
        decoded.append(np.asarray(Image.open(file)))
    return torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2)


def _percent(shares: Tensor) -> str:
    found = mean_interval(shares.numpy())
    return f"{100 * found.value:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


if __name__ == "__main__":
    main()
