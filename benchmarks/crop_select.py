"""What a real camera shift does to labels, with and without `CropSelect`, next to its bounds.

    python benchmarks/crop_select.py --cases DIR

SqueezeNet on 256 px photos: a 240 px input slides over the photo, and the model sees 224 px of it,
the middle one (unmodified) or the selected one (margin 16). The hash rule is RICS with the whitest
response there is, a hash of the exact pixels in the middle of each crop; it reaches the bound,
and loses everything as soon as pixels change a little. The last table shows that.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from real_cases import Case, photos, share
from torch import Tensor

from equiaudit.metrics.intervals import mean_interval
from equiaudit.sampling.crop_select import CropPosition, agreement_bound, agreement_expected

MARGIN, WINDOW, INPUT = 16, 224, 240
BATCH = 50
CROPS = 8
AXES = ((0, 1), (1, 0), (0, -1), (-1, 0))
DIAGONALS = ((1, 1), (-1, -1), (1, -1), (-1, 1))

Rule = Callable[[Tensor], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=None, help="images")
    parser.add_argument("--shifts", type=int, nargs="+", default=[1, 2, 4], help="px")
    arguments = parser.parse_args()
    case = photos(arguments.cases, arguments.limit)
    rules = {"unmodified": _middle, "hash (RICS)": _hash_rule, "landmark": CropPosition(MARGIN)}
    labels = {name: _Labels(case, rule) for name, rule in rules.items()}
    with torch.inference_mode():
        for name, seen in labels.items():
            print(f"{name:12}: accuracy {share(seen.at((0, 0))[1] == case.labels)}")
        print(f"any crop    : accuracy {_any_crop(case)} (unmodified, {CROPS} crops at random)")
        for px in arguments.shifts:
            for kind, directions in (("along an axis", AXES), ("diagonal", DIAGONALS)):
                _report(f"{px} px {kind}", [(a * px, b * px) for a, b in directions], labels)
        _report_noise(case, {name: rules[name] for name in ("hash (RICS)", "landmark")})


class _Labels:
    """Labels behind one rule, each crop of each photo run once."""

    def __init__(self, case: Case, rule: Rule) -> None:
        self.case, self.rule = case, rule
        self.known: dict[tuple[int, int, int], int] = {}

    def at(self, shift: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Where in the photos (N, 2) the crops lie, and the labels (N,) of the model on them."""
        pixels = _input(self.case.images, shift)
        crops = self.rule(self.case.prepared(pixels)) + _corner(self.case.images, shift)
        keys = [(i, *place) for i, place in enumerate(crops.tolist())]
        new = [key for key in keys if key not in self.known]
        for start in range(0, len(new), BATCH):
            self._run(new[start : start + BATCH])
        return crops, torch.tensor([self.known[key] for key in keys])

    def _run(self, keys: list[tuple[int, int, int]]) -> None:
        pixels = [self.case.images[i, :, y : y + WINDOW, x : x + WINDOW] for i, y, x in keys]
        found = self.case.model.run(self.case.prepared(torch.stack(pixels))).argmax(1)
        self.known.update(zip(keys, found.tolist(), strict=True))


def _any_crop(case: Case) -> str:
    """The accuracy to expect of a rule that pays no regard to how far off the middle it goes."""
    generator = torch.Generator().manual_seed(0)

    def at_random(x: Tensor) -> Tensor:
        return torch.randint(0, MARGIN + 1, (len(x), 2), generator=generator)

    seen = _Labels(case, at_random)
    right = [seen.at((0, 0))[1] == case.labels for _ in range(CROPS)]
    return _percent(torch.stack(right).double().mean(0))


def _report(name: str, shifts: list[tuple[int, int]], labels: dict[str, _Labels]) -> None:
    bound = agreement_bound(MARGIN, shifts[0])
    expected = agreement_expected(MARGIN, shifts[0], (INPUT, INPUT))
    print(f"{name}: same crop by the bound {100 * bound:.1f}, landmark {100 * expected:.1f}")
    for rule, seen in labels.items():
        crops, still = seen.at((0, 0))
        moved = [seen.at(shift) for shift in shifts]
        same = torch.stack([(c == crops).all(1) for c, _ in moved]).double().mean(0)
        changed = torch.stack([found != still for _, found in moved]).double().mean(0)
        accuracy = torch.stack([found == seen.case.labels for _, found in moved]).double().mean(0)
        print(
            f"  {rule:12} same crop {_percent(same)}, label changes {_percent(changed)},"
            f" accuracy {_percent(accuracy)}"
        )


def _report_noise(case: Case, rules: dict[str, Rule]) -> None:
    """Same crop at 1 px where the two pictures also differ in noise or compression."""
    generator = torch.Generator().manual_seed(0)
    changes: dict[str, Callable[[Tensor], Tensor]] = {
        "nothing": lambda x: x,
        "noise of 1 level": lambda x: _noisy(x, generator),
        "JPEG 95": lambda x: _jpeg(x, 95),
        "JPEG 75": lambda x: _jpeg(x, 75),
    }
    print("same crop at (0, 1) px where each picture is changed by")
    for change, apply in changes.items():
        pictures = [apply(_input(case.images, shift)) for shift in ((0, 0), (0, 1))]
        found = []
        for name, rule in rules.items():
            still, moved = (rule(case.prepared(picture)) for picture in pictures)
            found.append(f"{name} {share((moved + torch.tensor([0, 1]) == still).all(1))}")
        print(f"  {change:16}: {', '.join(found)}")


def _corner(images: Tensor, shift: tuple[int, int]) -> Tensor:
    return torch.tensor(
        [(n - INPUT) // 2 + d for n, d in zip(images.shape[2:], shift, strict=True)]
    )


def _input(images: Tensor, shift: tuple[int, int]) -> Tensor:
    top, left = _corner(images, shift).tolist()
    return images[:, :, top : top + INPUT, left : left + INPUT]


def _middle(x: Tensor) -> Tensor:
    return torch.full((len(x), 2), MARGIN // 2)


def _hash_rule(x: Tensor, patch: int = 16) -> Tensor:
    """The crop whose middle `patch` x `patch` pixels have the largest hash: RICS, exchangeable."""
    first = (WINDOW - patch) // 2
    last = first + patch + MARGIN
    h = (x[:, :, first:last, first:last] * 4096).round().long()
    h = _mixed((h * torch.tensor([1, 7919, 104729]).reshape(1, 3, 1, 1)).sum(1))
    for dim in (1, 2):
        for k in range(patch.bit_length() - 1):
            left = h.shape[dim] - (1 << k)
            h = _mixed(h.narrow(dim, 0, left) * 3 + h.narrow(dim, 1 << k, left) * 7)
    flat = h[:, : MARGIN + 1, : MARGIN + 1].flatten(1).argmax(1)
    return torch.stack([flat // (MARGIN + 1), flat % (MARGIN + 1)], 1)


def _mixed(h: Tensor) -> Tensor:
    prime = 2**31 - 1
    h = h % prime
    return (h * h + h * 1103515245) % prime


def _noisy(pixels: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(pixels.shape, generator=generator)
    return (pixels + noise).round().clamp(0, 255).to(torch.uint8)


def _jpeg(pixels: Tensor, quality: int) -> Tensor:
    decoded = []
    for picture in pixels.permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality)
        decoded.append(np.asarray(Image.open(file)))
    return torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2)


def _percent(shares: Tensor) -> str:
    found = mean_interval(shares.numpy())
    return f"{100 * found.value:5.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


if __name__ == "__main__":
    main()
