"""What rolling the input to a canonical position costs, and whether it is exact.

    python benchmarks/canonical.py --cases DIR

Accuracy of the unmodified model on unshifted images, against the same model behind `Canonical`;
both under random circular shifts; the share of images whose original border is found; and the
time of one image, measured side by side. The rule was fitted on other images (see
`equiaudit/sampling/seam_evidence.py`).
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
from real_cases import Case, centre, cifar10, photos, share
from torch import Tensor

from equiaudit.sampling.canonical import Canonical, CanonicalPosition

BATCH = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=None, help="images per case")
    parser.add_argument("--shifts", type=int, default=2, help="random shifts per image")
    parser.add_argument("--only", choices=("cifar10", "photos"), default=None)
    arguments = parser.parse_args()
    openers = {"cifar10": cifar10, "photos": photos}
    with torch.inference_mode():
        for name, opener in openers.items():
            if arguments.only in (None, name):
                _measure(opener(arguments.cases, arguments.limit), arguments.shifts)


def _measure(case: Case, shifts: int) -> None:
    plain = case.model.module
    fixed = Canonical(plain)
    pixels = centre(case.images, case.model.preprocess.size[0])
    print(f"{case.name}: {len(pixels)} images of {tuple(pixels.shape[2:])}")
    _seams(CanonicalPosition()(case.prepared(pixels)), pixels.shape[2:])
    before, after = _outputs(plain, case, pixels), _outputs(fixed, case, pixels)
    print(f"  accuracy, unshifted: unmodified {share(before.argmax(1) == case.labels)},", end=" ")
    print(f"canonical {share(after.argmax(1) == case.labels)}")
    print(f"  same label as the unmodified model: {share(before.argmax(1) == after.argmax(1))}")
    for seed in range(shifts):
        moved = _shifted(pixels, seed)
        for name, model, still in (("unmodified", plain, before), ("canonical", fixed, after)):
            _report_shift(f"{name:10}, shift {seed}", case, _outputs(model, case, moved), still)
    _report_time(plain, fixed, case.prepared(pixels[:1]))


def _seams(origins: Tensor, size: torch.Size) -> None:
    exact = (origins == 0).all(1)
    away = torch.minimum(origins, torch.tensor(size) - origins).amax(1)
    print(f"  border found: {share(exact)}, within 1 px {share(away <= 1)}")


def _outputs(model, case: Case, pixels: Tensor) -> Tensor:
    return torch.cat([model(case.prepared(block)) for block in pixels.split(BATCH)])


def _shifted(pixels: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    by = torch.randint(1, min(pixels.shape[2:]), (len(pixels), 2), generator=generator).tolist()
    return torch.stack([torch.roll(x, d, (1, 2)) for x, d in zip(pixels, by, strict=True)])


def _report_shift(name: str, case: Case, moved: Tensor, still: Tensor) -> None:
    labels = moved.argmax(1)
    print(
        f"  {name}: accuracy {share(labels == case.labels)},"
        f" consistency {share(labels == still.argmax(1))},"
        f" bit-equal {share((moved == still).all(1))}"
    )


def _report_time(plain, fixed, x: Tensor, rounds: int = 40) -> None:
    pairs = [(_seconds(plain, x), _seconds(fixed, x)) for _ in range(rounds)]
    ratio = statistics.median(b for _, b in pairs) / statistics.median(a for a, _ in pairs)
    print(f"  one image, {torch.get_num_threads()} threads: {ratio:.3f} of the unmodified time")


def _seconds(model, x: Tensor) -> float:
    start = time.perf_counter()
    model(x)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
