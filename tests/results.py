"""Results of a scan that never ran, as rich as a real one; see `make_result`."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import random
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from equiaudit.results import (
    BoundaryPart,
    DistancePoint,
    Estimate,
    Fingerprint,
    GateVerdict,
    GridMap,
    Result,
    ShiftResult,
    Skipped,
    Timings,
    WorstImage,
)

KINDS = ("circular", "crop", "zero-pad")
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_BASE = {"circular": 0.955, "crop": 0.925, "zero-pad": 0.885}


def estimate(value: float, n: int = 1000, method: str = "bca", z: float = 1.96) -> Estimate:
    """An estimate with a Wilson interval of n images."""
    centre = (value + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(value * (1 - value) / n + z * z / (4 * n * n))
    low, high = max(0.0, min(value, centre - half)), min(1.0, max(value, centre + half))
    return Estimate(value=value, low=low, high=high, n=n, method=method)


def png(pixels: Sequence[Sequence[tuple[int, int, int]]]) -> str:
    """A `data:` URI of an RGB PNG with these rows of pixels."""

    def chunk(tag: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(tag + body))

    rows = b"".join(b"\0" + bytes(v for pixel in row for v in pixel) for row in pixels)
    header = struct.pack(">IIBBBBB", len(pixels[0]), len(pixels), 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()


def thumbnail(seed: int, offset: tuple[int, int] = (0, 0), side: int = 32) -> str:
    """A blob on a gradient, rolled by `offset`."""
    draw = random.Random(seed)
    cy, cx, radius = draw.randint(10, 22), draw.randint(10, 22), draw.randint(5, 9)
    hue = [draw.randint(60, 255) for _ in range(3)]

    def pixel(y: int, x: int) -> tuple[int, int, int]:
        y, x = (y - offset[0]) % side, (x - offset[1]) % side
        inside = (y - cy) ** 2 + (x - cx) ** 2 < radius**2
        return (hue[0], hue[1], hue[2]) if inside else ((4 * y + 40) % 256, (3 * x + 60) % 256, 120)

    return png([[pixel(y, x) for x in range(side)] for y in range(side)])


def _share(kind: str, dy: int, dx: int, period: int) -> float:
    """Probability that the label is kept: periodic in `period`, falling with distance."""
    phase = (dy % period != 0) + (dx % period != 0)
    distance = max(abs(dy), abs(dx))
    fall = {"circular": 0.0006, "crop": 0.003, "zero-pad": 0.006}.get(kind, 0.001)
    return _BASE.get(kind, 0.9) + 0.045 - 0.035 * phase - fall * distance


def _map(kind: str, radius: int, period: int, density: float, seed: int) -> GridMap:
    draw = random.Random(f"{kind} {seed}")
    axis = tuple(range(-radius, radius + 1))
    agree, total = [], []
    for dy in axis:
        counts = [0 if (dy, dx) == (0, 0) or draw.random() > density else 60 for dx in axis]
        total.append(tuple(counts))
        agree.append(
            tuple(
                sum(draw.random() < _share(kind, dy, dx, period) for _ in range(n))
                for dx, n in zip(axis, counts, strict=True)
            )
        )
    return GridMap(rows=axis, cols=axis, agree=tuple(agree), total=tuple(total))


def _cells(grid: GridMap) -> Iterable[tuple[int, int, int, int]]:
    for i, dy in enumerate(grid.rows):
        for j, dx in enumerate(grid.cols):
            yield dy, dx, grid.agree[i][j], grid.total[i][j]


def _phases(grid: GridMap, period: int) -> GridMap:
    agree = [[0] * period for _ in range(period)]
    total = [[0] * period for _ in range(period)]
    for dy, dx, a, t in _cells(grid):
        agree[dy % period][dx % period] += a
        total[dy % period][dx % period] += t
    axis = tuple(range(period))
    return GridMap(
        rows=axis, cols=axis, agree=tuple(map(tuple, agree)), total=tuple(map(tuple, total))
    )


def _by_distance(grid: GridMap) -> tuple[DistancePoint, ...]:
    found: dict[int, list[int]] = {}
    for dy, dx, a, t in _cells(grid):
        pair = found.setdefault(max(abs(dy), abs(dx)), [0, 0])
        pair[0] += a
        pair[1] += t
    return tuple(
        DistancePoint(distance=d, agreement=estimate(a / t, n=max(20, t // 6)))
        for d, (a, t) in sorted(found.items())
        if t
    )


def _metrics(kind: str, base: float, n: int, labelled: bool) -> dict[str, Estimate]:
    found = {
        "consistency": estimate(base - 0.012, n),
        "agreement": estimate(base, n),
        "flipped": estimate(min(1.0, 3.2 * (1 - base)), n, "wilson"),
        "flip_radius": Estimate(value=3.42, low=3.1, high=3.77, n=n // 4, method="bca"),
        "confidence_wobble": estimate(0.21, n),
        "logit_error": Estimate(value=0.143, low=0.135, high=0.152, n=n, method="bca"),
        "logit_error_max": Estimate(value=0.83, n=n, method="none"),
    }
    if labelled:
        found |= {
            "accuracy_clean": estimate(0.917, n, "wilson"),
            "accuracy_shifted": estimate(base - 0.05, n),
            "accuracy_worst": estimate(base - 0.2, n, "wilson"),
            "consistency_correct": estimate(base + 0.02, n - 40),
        }
    return found


def _worst(kinds: Sequence[str], classes: Sequence[str], labelled: bool) -> list[WorstImage]:
    offsets = [(1, 0), (0, -2), (3, 1), (-1, -1), (2, 5), (0, 1), (-4, 2), (1, 1)]
    names = [f"{classes[i % len(classes)]}/{137 * i + 12:04d}.png" for i in range(8)]
    return [
        WorstImage(
            file=names[i],
            kind=kinds[i % len(kinds)],
            label=i % len(classes) if labelled else None,
            clean_label=i % len(classes),
            clean_confidence=0.41 + 0.06 * i,
            flipped_label=(i + 3) % len(classes),
            offset=offset,
            agreement=0.2 + 0.05 * i,
            thumbnail_clean=thumbnail(i),
            thumbnail_shifted=thumbnail(i, offset),
        )
        for i, offset in enumerate(offsets)
    ]


def _boundary(n: int) -> tuple[BoundaryPart, ...]:
    return (
        BoundaryPart(
            name="sampling",
            meaning="what circular shifts change in the model with circular padding",
            reason="the graph of an ONNX file cannot be padded circularly here; see the phase map",
        ),
        BoundaryPart(
            name="padding",
            meaning="what circular shifts change in the model as it is, less the sampling part",
            estimate=estimate(0.045, n),
        ),
        BoundaryPart(
            name="content",
            meaning="what crop shifts change beyond circular ones",
            estimate=Estimate(value=0.03, low=0.019, high=0.041, n=n, method="bca"),
        ),
        BoundaryPart(
            name="black border",
            meaning="what zero-pad shifts change beyond crop ones",
            estimate=Estimate(value=-0.004, low=-0.013, high=0.005, n=n, method="bca"),
        ),
    )


def _gates(n: int) -> tuple[GateVerdict, ...]:
    return (
        GateVerdict(
            expression="circular.consistency>=0.9",
            metric="circular.consistency",
            verdict="pass",
            estimate=estimate(0.943, n),
            reason="the lower bound 92.7% is at least 90%",
        ),
        GateVerdict(
            expression="crop.consistency>=0.95",
            metric="crop.consistency",
            verdict="fail",
            estimate=estimate(0.913, n),
            reason="the upper bound 92.9% is below 95%",
        ),
        GateVerdict(
            expression="zero-pad.accuracy_worst>=0.7",
            metric="zero-pad.accuracy_worst",
            verdict="inconclusive",
            estimate=estimate(0.685, n),
            reason="70% lies inside the interval",
            images_needed=3700,
        ),
        GateVerdict(
            expression="circular.consistency drop<=0.01",
            metric="circular.consistency",
            verdict="not judged",
            estimate=None,
            reason="there is no baseline yet; this result can serve as one",
        ),
    )


def _plan(kinds: Sequence[str], radius: int, stride: int | None) -> dict[str, Any]:
    return {
        "kinds": list(kinds),
        "max_shift": radius,
        "range": [-radius, radius],
        "offsets": 48,
        "seed": 0,
        "window": [32, 32],
        "stride": None if stride is None else [stride, stride],
        "protocol": None,
    }


def _fingerprint(plan: dict[str, Any], n: int) -> Fingerprint:
    return Fingerprint(
        model="resnet20_cifar10.onnx",
        model_sha256=hashlib.sha256(b"model").hexdigest(),
        model_kind="onnx",
        data_sha256=hashlib.sha256(b"data").hexdigest(),
        n_images=n,
        preprocess={
            "size": [32, 32],
            "mean": [0.4914, 0.4822, 0.4465],
            "std": [0.2023, 0.1994, 0.201],
            "channels": "rgb",
            "dtype": "float32",
            "layout": "NCHW",
            "resize": None,
            "interpolation": "bilinear",
            "source": {"size": "ONNX input shape", "mean": "flag --mean", "std": "flag --std"},
        },
        plan=plan,
        plan_hash=hashlib.sha256(json.dumps(plan).encode()).hexdigest(),
        task="classification",
        backend="onnxruntime",
        dtype="float32",
        device="cpu",
    )


def make_result(
    *,
    kinds: Sequence[str] = KINDS,
    radius: int = 16,
    period: int = 4,
    density: float = 0.97,
    n: int = 1000,
    labelled: bool = True,
    classes: Sequence[str] = CLASSES,
    seed: int = 0,
    **changes: Any,
) -> Result:
    """A Result of `n` images under `kinds`, (2 `radius` + 1)^2 maps with a `period` pattern.

    The numbers are plausible and the same for equal arguments; `changes` replace fields of
    the Result.
    """
    maps = {kind: _map(kind, radius, period, density, seed) for kind in kinds}
    shifts = {
        kind: ShiftResult(
            kind=kind,
            metrics=_metrics(kind, _BASE.get(kind, 0.9), n, labelled),
            agreement_map=grid,
            phase_map=_phases(grid, period),
            by_distance=_by_distance(grid),
            nonfinite=("truck/0007.png",) if kind == "zero-pad" else (),
        )
        for kind, grid in maps.items()
    }
    fields: dict[str, Any] = {
        "tool_version": "0.1.0",
        "settings": {
            "shifts": list(kinds),
            "max_shift": radius,
            "offsets": 48,
            "limit": None,
            "seed": 0,
            "protocol": None,
        },
        "fingerprint": _fingerprint(_plan(kinds, radius, period), n),
        "labelled": labelled,
        "class_names": dict(enumerate(classes)),
        "shifts": shifts,
        "boundary": _boundary(n),
        "worst": tuple(_worst(kinds, classes, labelled)),
        "unreadable": (Skipped(name="cat/broken.jpg", reason="the file ends too early"),),
        "notes": ("the model was put in eval mode",),
        "gates": _gates(n),
        "timings": Timings(
            started="2026-01-05T10:00:00Z",
            seconds=73.4,
            passes=n * 48 * len(kinds) + n,
            seconds_by_stage={"decode": 4.1, "model": 62.0, "metrics": 2.2},
            batch_size=128,
            workers=2,
        ),
    }
    return Result(**(fields | changes))
