"""Results of dense scans that never ran; see `make_dense_result`."""

from __future__ import annotations

import random

from results import estimate, make_result, png

from equiaudit.results import (
    BorderBin,
    BorderProfile,
    ClassScore,
    DenseExample,
    DenseShift,
    Estimate,
    HeatMap,
    ImageHeatMap,
    ReceptiveField,
    Result,
    ShiftResult,
)

EDGES = ((0, 0), (1, 1), (2, 3), (4, 7), (8, 15), (16, 31), (32, 71))


def grey(seed: int, side: int = 24) -> str:
    draw = random.Random(seed)
    return png([[(v := draw.randint(0, 255), v, v) for _ in range(side)] for _ in range(side)])


def example(name: str, seed: int = 0, side: int = 24, **changes: object) -> DenseExample:
    names = ("input", "shifted_input", "clean", "shifted_back", "difference", "truth")
    pictures = {field: grey(seed + i, side) for i, field in enumerate(names)}
    fields = {
        "file": name,
        "kind": "circular",
        "offset": (-3, 5),
        "change": 0.21,
        "miou_clean": 0.7,
        "miou_shifted": 0.55,
    }
    return DenseExample(**(fields | pictures | changes))


def dense_shift(
    names: list[str], *, rate: float = 0.1, heat_maps: int = 6, colour: str = "#1f77b4"
) -> DenseShift:
    bins = [
        BorderBin(low=low, high=high, change=estimate(rate / (1 + i), 200))
        for i, (low, high) in enumerate(EDGES)
    ]
    rows = [[rate / (1 + min(i, j, 11 - i, 15 - j)) for j in range(16)] for i in range(12)]
    rows[5][7] = None
    return DenseShift(
        profile=BorderProfile(measure="flip rate", meaning="share of pixels", bins=tuple(bins)),
        mean_map=HeatMap(height=144, width=192, values=tuple(map(tuple, rows))),
        heat_maps=tuple(
            ImageHeatMap(file=f"{i}-{names[-1]}", change=rate, top=0.9, picture=grey(i, 16))
            for i in range(heat_maps)
        ),
        classes=tuple(
            ClassScore(
                index=i,
                name=name,
                colour=colour,
                pixels=12345,
                iou_clean=estimate(0.8, 200),
                iou_shifted=estimate(0.75, 200),
                iou_worst=estimate(0.5, 200),
                lost_object=estimate(0.05, 80) if i else None,
            )
            for i, name in enumerate(names)
        ),
    )


def make_dense_result(
    *,
    kinds: tuple[str, ...] = ("circular", "crop", "zero-pad"),
    heat_maps: int = 6,
    examples: int = 4,
    side: int = 24,
    task: str = "segmentation",
    **changes: object,
) -> Result:
    """A segmentation (or, with `task`, image-to-image) result of 200 images."""
    base = make_result(kinds=kinds, radius=4, n=200)
    rates = dict(zip(kinds, (0.02, 0.05, 0.08), strict=False))
    shifts = {kind: _shift(base.shifts[kind], rates[kind], heat_maps, task) for kind in kinds}
    fields = {
        "fingerprint": base.fingerprint.model_copy(update={"task": task}),
        "shifts": shifts,
        "worst": (),
        "examples": tuple(example(f"{i:03}.png", i, side) for i in range(examples)),
        "receptive_field": ReceptiveField(radius=22, method="reach of one changed pixel"),
    }
    return base.model_copy(update=fields | changes)


def _shift(shift: ShiftResult, rate: float, heat_maps: int, task: str) -> ShiftResult:
    name = "mascc" if shift.kind == "circular" else "massc"
    metrics = {
        name: estimate(1 - rate, 200),
        "flip_rate": estimate(rate, 200),
        "miou_clean": estimate(0.77, 200),
        "miou_shifted": estimate(0.71, 200),
    }
    if task == "image":
        metrics = {"nmse": Estimate(value=rate**2, low=0.0, high=rate, n=200, method="bca")}
    dense = dense_shift(["background", "defect"], rate=rate, heat_maps=heat_maps)
    return shift.model_copy(update={"metrics": metrics, "dense": dense})
