"""torchvision's detectors with random weights through a whole scan, boxes, masks and key points.

    python benchmarks/torchvision_detectors.py [--images 2] [--size 96] [--net NAME]

Nothing is downloaded. Random weights find boxes of low scores, so the threshold is 0; the figures
say that everything is read and compared, not how good a net is.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image

import equiaudit

_RCNN = {"min_size": 96, "max_size": 96, "box_score_thresh": 0.0, "box_detections_per_img": 20}
NETS = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": _RCNN,
    "ssdlite320_mobilenet_v3_large": {"score_thresh": 0.0, "detections_per_img": 20},
    "maskrcnn_resnet50_fpn": _RCNN,
    "keypointrcnn_resnet50_fpn": _RCNN,
}
SHOWN = ("boxes_kept", "box_consistency", "jitter_p95", "mask_iou", "mask_consistency")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--net", choices=NETS, action="append", help="all where none is named")
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        photos(Path(folder), arguments.images, arguments.size)
        for name in arguments.net or NETS:
            print(said(name, NETS[name], Path(folder), arguments.size), flush=True)


def photos(folder: Path, count: int, size: int) -> None:
    rng = np.random.default_rng(0)
    for i in range(count):
        pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")


def said(name: str, how: dict[str, float], folder: Path, size: int) -> str:
    torch.manual_seed(0)
    build = torchvision.models.get_model_builder(name)
    net = build(weights=None, weights_backbone=None, **how)
    start = time.perf_counter()
    result = equiaudit.scan(
        net.eval(),
        folder,
        size=(size, size),
        detector="torchvision,score_threshold=0",
        shifts=("circular", "zero-pad"),
        max_shift=4,
        offsets=2,
        batch_size=2,
        images=False,
    )
    seconds = time.perf_counter() - start
    metrics = result.shifts["circular"].metrics
    names = (*SHOWN, "keypoint_similarity")
    parts = [f"{n} {metrics[n].value:.3g}" for n in names if n in metrics and metrics[n].n]
    boxes = next(note for note in result.notes if "unshifted; " in note)
    return f"{name}: {boxes}; {', '.join(parts)}; {seconds:.0f} s"


if __name__ == "__main__":
    main()
