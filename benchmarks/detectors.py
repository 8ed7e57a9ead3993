"""YOLOX-nano by `canonical` and `mass`: every phase of its stride in onnxruntime, and what changes.

    python benchmarks/detectors.py --cases DIR [--comparisons 1100] [--photos 30]

Prints, for each method, how many comparisons of the saved file had all scores bit-equal and all
coordinates equal but for the rounding of the shift, over which phases, the same for the unmodified
file, and the AP50 of the fixed file's boxes against those of the unmodified one on unshifted
photos, class by class in the mean. About ten minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from equiaudit.api.box_losses import changed_boxes
from equiaudit.api.reading import Reading, open_data
from equiaudit.api.room import pictures
from equiaudit.models import Model, PreprocessOverrides, load
from equiaudit.repair.pipeline import FixOptions, fix

HOW = """
size = [416, 416]
mean = [0, 0, 0]
std = [1, 1, 1]
pixel_range = 255
channels = "bgr"
fit = "letterbox"
place = "top-left"
pad = 114

[detector]
preset = "yolox"
"""
VERIFIED_ON = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--comparisons", type=int, default=1100)
    parser.add_argument("--photos", type=int, default=30)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        how = Path(folder) / "how.toml"
        how.write_text(HOW)
        overrides = PreprocessOverrides(file=how)
        model = load(asked.cases / "detection" / "yolox_nano.onnx", preprocess=overrides)
        for method in ("canonical", "mass"):
            row(model, method, Path(folder) / f"{method}.onnx", asked)


def row(model: Model, method: str, out: Path, asked: argparse.Namespace) -> None:
    """Fix, verify and compare by one method, and print it."""
    photos = asked.cases / "detection" / "helmets" / "images"
    data = open_data(model, photos, Reading(), asked.photos, 0)
    images = pictures(data, model.preprocess, VERIFIED_ON)
    options = FixOptions(method=method, comparisons=asked.comparisons)
    report = fix(model, out, options, images=images)
    record = report.verifications[-1]
    figures, control = record.figures, record.control
    print(f"{method}: {report.outcome}; {record.subject}: {record.coverage}")
    print(f"  {figures.comparisons_exact} of {figures.comparisons} comparisons equal", end="")
    if control is not None:
        print(f"; unmodified: {control.comparisons_exact} of {control.comparisons}", end="")
    print(flush=True)
    loss = changed_boxes(model, load(report.output), data)
    if loss is not None and loss.after is not None:
        e = loss.after
        print(f"  AP50 against the unmodified net: {e.value:.3f} [{e.low:.3f}, {e.high:.3f}]"
              f" on {e.n} photos", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
