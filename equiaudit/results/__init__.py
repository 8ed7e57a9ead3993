"""Result types: what a run found, as plain data. Imports neither torch nor any engine."""

from equiaudit.results.catalog import MetricInfo
from equiaudit.results.dense import (
    BorderBin,
    BorderProfile,
    ClassScore,
    DenseExample,
    DenseShift,
    HeatMap,
    ImageHeatMap,
    ReceptiveField,
)
from equiaudit.results.types import (
    BackendTrial,
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
    load_result,
)

__all__ = [
    "BackendTrial",
    "BorderBin",
    "BorderProfile",
    "BoundaryPart",
    "ClassScore",
    "DenseExample",
    "DenseShift",
    "DistancePoint",
    "Estimate",
    "Fingerprint",
    "GateVerdict",
    "GridMap",
    "HeatMap",
    "ImageHeatMap",
    "MetricInfo",
    "ReceptiveField",
    "Result",
    "ShiftResult",
    "Skipped",
    "Timings",
    "WorstImage",
    "load_result",
]
