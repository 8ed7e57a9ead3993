"""Files of integers through `fix --method mass`, run by onnxruntime before and after.

    python benchmarks/int8.py [--cases DIR] [--net NAME ...] [--format NAME] [--size 64]

MobileNetV2, ResNet-18 and a U-Net (random weights, fitted batch norms) quantised by
onnxruntime.quantization, QDQ and QOperator, per channel: all phases of the total stride, the share
that is bit-equal, the same of the original file, the bytes of both, and what one image costs: the
least processor time of `--repeats` runs of each in turns, on one thread. With `--cases`, the
ResNet-20 of DIR/cifar10 too, quantised on 64 of its unlabelled images: accuracy before and after
`mass` and `canonical`, with 95% intervals. Exits with 1 where a file did not verify.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnx_nets import exported
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from PIL import Image
from real_cases import Case, cifar10, share

import equiaudit
from equiaudit.models import PreprocessOverrides, load
from equiaudit.repair import FixOptions, fix
from equiaudit.results.repair import FixReport

NETS = ("mobilenet_v2", "resnet18", "unet-transposed")
FORMATS = {"QDQ": QuantFormat.QDQ, "QOperator": QuantFormat.QOperator}
HEADER = (
    "| net | px | format | phases | comparisons | bit-equal | original file | KB before, after"
    " | ms before, after | times |\n|---|---|---|---|---|---|---|---|---|---|"
)
ACCURACY = "| net | format | method | accuracy, % [95%] | bit-equal |\n|---|---|---|---|---|"


class Feeds(CalibrationDataReader):
    """Batches to calibrate on."""

    def __init__(self, name: str, batches: list[np.ndarray]) -> None:
        self._feeds = [{name: batch} for batch in batches]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self._feeds.pop() if self._feeds else None


def quantised(plain: Path, form: str, batches: list[np.ndarray]) -> Path:
    """`plain` in integers: activations uint8 by tensor, weights int8 by channel."""
    ready, path = plain.with_suffix(".ready.onnx"), plain.with_suffix(f".{form}.onnx")
    quant_pre_process(plain, ready)
    quantize_static(
        ready,
        path,
        Feeds(_input(ready), batches),
        quant_format=FORMATS[form],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return path


def _session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def _input(path: Path) -> str:
    return str(_session(path).get_inputs()[0].name)


def costs(paths: tuple[Path, Path], size: int, repeats: int) -> list[float]:
    """The least processor time of an image in each file, ms."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = [
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for path in paths
    ]
    image = np.random.default_rng(1).normal(size=(1, 3, size, size)).astype("f4")
    spent: list[list[float]] = [[], []]
    for _ in range(repeats):
        for session, times in zip(sessions, spent, strict=True):
            start = time.process_time()
            session.run(None, {session.get_inputs()[0].name: image})
            times.append(1e3 * (time.process_time() - start))
    return [min(times) for times in spent]


def row(name: str, form: str, path: Path, size: int, repeats: int) -> tuple[str, bool]:
    """A line of the first table, and whether the file verified."""
    fixed = path.with_suffix(".fixed.onnx")
    normalised = PreprocessOverrides(size=(size, size), mean=(0.5,) * 3, std=(0.25,) * 3)
    model = load(path, preprocess=normalised, device="cpu")
    report = fix(model, fixed, FixOptions(comparisons=1100, devices=("cpu",)))
    if report.outcome != "written":
        return f"| {name} | {form} | {report.reason} |", False
    found = report.verifications[-1]
    passed = found.passed and found.control is not None and not found.control.passed
    before, after = costs((path, fixed), size, repeats)
    cells = (
        name,
        str(size),
        form,
        f"{found.phases} of {found.phases_total}",
        str(found.figures.comparisons),
        f"{100 * (found.figures.share_exact or 0):.4g}%",
        "-" if found.control is None else f"{100 * (found.control.share_exact or 0):.3g}%",
        ", ".join(f"{p.stat().st_size / 1024:.0f}" for p in (path, fixed)),
        f"{before:.2f}, {after:.2f}",
        f"{after / before:.2f}",
    )
    return f"| {' | '.join(cells)} |", passed


def random_nets(
    names: list[str], forms: list[str], size: int, repeats: int, folder: Path
) -> Iterator[tuple[str, bool]]:
    rng = np.random.default_rng(0)
    batches = [rng.normal(size=(8, 3, size, size)).astype("f4") for _ in range(4)]
    for name in names:
        plain = exported(name, "dynamo", size, folder)
        for form in forms:
            yield row(name, form, quantised(plain, form, list(batches)), size, repeats)


def accuracies(cases: Path, images: int, folder: Path) -> Iterator[tuple[str, bool]]:
    """The trained net in float, in integers, and these fixed."""
    case = cifar10(cases, images)
    how = case.model.preprocess
    given = {"size": how.size, "mean": how.mean, "std": how.std, "device": "cpu"}
    plain = folder / "resnet20.onnx"
    net = case.model.module
    assert net is not None
    batch = {0: torch.export.Dim("batch")}
    program = torch.onnx.export(
        net, (torch.rand(2, 3, 32, 32),), dynamo=True, dynamic_shapes=(batch,), verbose=False
    )
    assert program is not None
    program.save(plain, external_data=False)
    yield _line(case, plain, "float32", "-", given), True
    unlabelled = sorted((cases / "cifar10/unlabelled").rglob("*.png"))[:64]
    pixels = np.stack([np.asarray(Image.open(p).convert("RGB")) for p in unlabelled])
    prepared = case.prepared(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()
    for form in FORMATS:
        path = quantised(plain, form, [prepared[:32], prepared[32:]])
        yield _line(case, path, form, "-", given), True
        for method in ("mass", "canonical"):
            fixed = path.with_suffix(f".{method}.onnx")
            report = equiaudit.fix(path, fixed, method=method, seconds=10, **given)
            yield _line(case, fixed, form, method, given, report), report.verifications[-1].passed


def _line(
    case: Case, path: Path, form: str, method: str, given: dict[str, object],
    report: FixReport | None = None,
) -> str:  # fmt: skip
    model = equiaudit.load_model(path, **given)
    scores = torch.cat([model.run(part) for part in case.prepared(case.images).split(100)])
    exact = "-" if report is None else report.verifications[-1].figures.share_exact or 0
    told = exact if isinstance(exact, str) else f"{100 * exact:.4g}%"
    hits = scores.argmax(1) == case.labels
    return f"| {case.name} | {form} | {method} | {share(hits).strip()} | {told} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=Path)
    parser.add_argument("--net", nargs="+", default=list(NETS), choices=NETS)
    parser.add_argument("--format", nargs="+", default=list(FORMATS), choices=FORMATS)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--images", type=int)
    parser.add_argument("--repeats", type=int, default=100)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    passed = True
    with tempfile.TemporaryDirectory() as folder:
        tables = [
            (HEADER, random_nets(asked.net, asked.format, asked.size, asked.repeats, Path(folder)))
        ]
        if asked.cases is not None:
            tables.append((ACCURACY, accuracies(asked.cases, asked.images, Path(folder))))
        for header, rows in tables:
            print(f"\n{header}", flush=True)
            for line, fine in rows:
                print(line, flush=True)
                passed = passed and fine
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
