"""What rolling the input to a canonical position costs, and whether it is exact.

    python benchmarks/canonical.py --cases DIR
    python benchmarks/canonical.py --cases DIR --files
    python benchmarks/canonical.py --cases DIR --exact

Accuracy of the unmodified model on unshifted images, against the same model behind `Canonical`;
both under random circular shifts; the share of images whose original border is found; and what
one image costs in torch and in onnxruntime, before and after in turns: wall-clock time, and the
processor's time of this process, which other processes disturb less. The rule was fitted on
other images (see `equiaudit/sampling/seam_evidence.py`).

With --files instead what the files cost that `fix` writes, over the same kind of file without
the roll; with --exact whether they give the same bits for every shift tried (`canonical_files`).
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from pathlib import Path

import torch
from canonical_files import FLOAT16, THREADS, report_exact, report_files, report_time, session
from real_cases import Case, centre, cifar10, photos, share
from torch import Tensor

from equiaudit.repair.canonical.onnx_file import canonical_onnx
from equiaudit.sampling.canonical import Canonical, CanonicalPosition

BATCH = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=None, help="images per case")
    parser.add_argument("--shifts", type=int, default=2, help="random shifts per image")
    parser.add_argument("--only", choices=("cifar10", "photos"), default=None)
    parser.add_argument("--time-only", action="store_true", help="measure no accuracy")
    parser.add_argument("--files", action="store_true", help="time the files that fix writes")
    parser.add_argument("--exact", action="store_true", help="compare bits in onnxruntime")
    parser.add_argument("--rounds", type=int, default=40, help="turns of --files")
    arguments = parser.parse_args()
    if arguments.files:
        torch.set_grad_enabled(False)
        report_files(photos(arguments.cases, 8), arguments.cases / FLOAT16, arguments.rounds)
    if arguments.exact:
        report_exact()
    if arguments.files or arguments.exact:
        return
    openers = {"cifar10": cifar10, "photos": photos}
    with torch.inference_mode():
        for name, opener in openers.items():
            if arguments.only in (None, name):
                case = opener(arguments.cases, arguments.limit)
                if not arguments.time_only:
                    _measure(case, arguments.shifts)
                _report_times(case, arguments.cases)


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


def _report_times(case: Case, cases: Path) -> None:
    """One image behind and without `Canonical`, in torch and as ONNX files."""
    plain = case.model.module
    x = case.prepared(centre(case.images[:1], case.model.preprocess.size[0])).contiguous()
    with tempfile.TemporaryDirectory() as folder:
        for threads in THREADS:
            torch.set_num_threads(threads)
            report_time("torch", threads, plain, Canonical(plain), x)
            path = Path(folder) / "plain.onnx"
            if not path.exists():
                _exported(plain, x, path)
            _report_files("onnxruntime", threads, path, x)
            if x.shape[2] == 224:
                bgr = (x.flip(1)).half()
                _report_files("onnxruntime, the float16 file", threads, cases / FLOAT16, bgr)


def _exported(model, x: Tensor, path: Path) -> None:
    with torch.inference_mode(False), torch.no_grad():
        net, sample = copy.deepcopy(model), x.clone()
        torch.onnx.export(net, (sample,), path, dynamo=True, verbose=False, external_data=False)


def _report_files(name: str, threads: int, path: Path, x: Tensor) -> None:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "canonical.onnx"
        canonical_onnx(path, target)
        report_time(name, threads, session(path, threads), session(target, threads), x)


if __name__ == "__main__":
    main()
