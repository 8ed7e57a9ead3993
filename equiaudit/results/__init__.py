"""Result types: what a run found, as plain data. Imports neither torch nor any engine."""

from equiaudit.results.catalog import METRICS, MetricInfo, metric_info
from equiaudit.results.types import (
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
    "METRICS",
    "BoundaryPart",
    "DistancePoint",
    "Estimate",
    "Fingerprint",
    "GateVerdict",
    "GridMap",
    "MetricInfo",
    "Result",
    "ShiftResult",
    "Skipped",
    "Timings",
    "WorstImage",
    "load_result",
    "metric_info",
]
