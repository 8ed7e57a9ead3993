"""What a scan of a detector costs over its bare passes: decoding, NMS and comparing included.

    python benchmarks/detector_overhead.py --cases DIR [--photos 20]

DIR holds `detection/` with YOLOX-nano and photos of building sites. The bare passes run the file
in onnxruntime on ready tensors, as often as the scan does, and make no boxes. Scan and bare passes
alternate in one process; processor time is what is compared, since other work on the machine
changes the clock's.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import torch

import equiaudit
from equiaudit.audit.engine import run_scan
from equiaudit.audit.options import ScanOptions
from equiaudit.data import open_bare_dataset

TABLE = """
mean = [0, 0, 0]
std = [1, 1, 1]
pixel_range = 255
channels = "bgr"
fit = "letterbox"
place = "top-left"

[detector]
preset = "yolox"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    case = arguments.cases / "detection"
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "how.toml"
        table.write_text(TABLE)
        model = equiaudit.load_model(case / "yolox_nano.onnx", preprocess=table)
    photos = case / "helmets/images"
    data = open_bare_dataset(photos, model.task, limit=arguments.photos)
    options = ScanOptions(shifts=("circular", "zero-pad"), offsets=8, images=False)
    threads = onnxruntime.SessionOptions()
    threads.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(case / "yolox_nano.onnx", threads)
    run_scan(model, replace(data, items=data.items[:2]), options)  # what is imported once
    rounds = [measured(model, data, options, session) for _ in range(arguments.rounds)]
    scans, bares = zip(*rounds, strict=True)
    ratios = [a / b for a, b in rounds]
    print(
        f"YOLOX-nano, 416 px, {len(data)} photos: scan {statistics.median(scans):.1f} s, bare"
        f" {statistics.median(bares):.1f} s of processor time, ratio"
        f" {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    )


def measured(model, data, options: ScanOptions, session) -> tuple[float, float]:
    start = time.process_time()
    done, _ = run_scan(model, data, options)
    scan = time.process_time() - start
    name = session.get_inputs()[0].name
    pixels = np.random.default_rng(0).random((1, 3, 416, 416), np.float32) * 255
    start = time.process_time()
    for _ in range(done.result.timings.passes):
        session.run(None, {name: pixels})
    return scan, time.process_time() - start


if __name__ == "__main__":
    main()
