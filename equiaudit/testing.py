"""Shift consistency as an assertion, for a test suite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from equiaudit.errors import InputError
from equiaudit.report.findings import complement, leading_metric
from equiaudit.results import Estimate, Result, WorstImage
from equiaudit.results.types import unknown_metric
from equiaudit.tasks import METRICS

if TYPE_CHECKING:
    from torch import nn

    from equiaudit.models import Model

__all__ = ["assert_shift_consistent"]

_SHOWN = 3


def assert_shift_consistent(
    model: str | Path | nn.Module | Model,
    data: str | Path,
    *,
    min: float = 0.95,
    kind: str = "circular",
    metric: str | None = None,
    judge: Literal["bound", "value"] = "bound",
    allow_inconclusive: bool = False,
    **scan_options: Any,
) -> Result:
    """Scan `model` on `data` and assert that ``<kind>.<metric>`` is at least `min`.

    By default the metric is consistency where there are labels, else what the finding of the report
    is about, as objects that a shift loses. Of a share of which less is better, what is left of 1
    is held against `min`: with 0.95 at most 5% of the objects may be lost.

    `judge="bound"` holds the lower end of the 95% interval against `min`. An interval that
    contains `min` therefore fails as well: a test that cannot tell must not pass. With
    `allow_inconclusive` it passes, and only an interval wholly below `min` fails.
    `judge="value"` compares the value alone and ignores how sure it is.

    Only `kind` is scanned unless `shifts` or `protocol` is among `scan_options`, which go to
    `equiaudit.scan`. Returns the result, for further assertions. Raises AssertionError with
    the value, its interval and the least stable images; InputError for a metric that is unknown,
    or that is no share and of which less is better.

        def test_shift_consistency():
            assert_shift_consistent("model.pt", "data/val", min=0.9, max_shift=8)
    """
    _check_question(metric, judge)
    if "protocol" not in scan_options:
        scan_options.setdefault("shifts", (kind,))
    from equiaudit.api import scan
    from equiaudit.api.python import in_python

    result = in_python(scan)(model, data, **scan_options)
    metric = metric or leading_metric(result, kind)
    _check_question(metric, judge)
    estimate = result.metric(f"{kind}.{metric}")
    if not METRICS[metric].higher_is_better:
        estimate = complement(estimate)
    held = _held_figure(estimate, judge, allow_inconclusive)
    if held is None or held < min:
        raise AssertionError(_message(result, kind, metric, estimate, min, judge))
    return result


def _check_question(metric: str | None, judge: str) -> None:
    """Refuse before the scan what could not be answered after it."""
    if judge not in ("bound", "value"):
        raise InputError(f"judge is {judge!r}; it is 'bound' or 'value'.")
    if metric is None:
        return
    if metric not in METRICS:
        raise unknown_metric(metric, tuple(METRICS))
    if not METRICS[metric].higher_is_better and not METRICS[metric].is_share:
        raise InputError(
            f"Less of {metric} is better, so a minimum does not test it.",
            tip="Take consistency, agreement or accuracy_worst.",
        )


def _held_figure(
    estimate: Estimate, judge: Literal["bound", "value"], allow_inconclusive: bool
) -> float | None:
    """The figure held against the minimum; the value where there is no interval."""
    bound = estimate.high if allow_inconclusive else estimate.low
    return estimate.value if judge == "value" or bound is None else bound


def _message(
    result: Result, kind: str, metric: str, estimate: Estimate, least: float, judge: str
) -> str:
    name = f"{kind}.{metric}" if METRICS[metric].higher_is_better else f"1 - {kind}.{metric}"
    if estimate.value is None:
        return f"{name} has no value: no image could be measured."
    what = "the value" if judge == "value" else "its interval"
    verdict = "inconclusive" if _is_open(estimate, least, judge) else "too low"
    lines = [
        f"{name} is {estimate.value:.4g}{_interval(estimate)} over {estimate.n} images; "
        f"at least {least:g} was asked for, judged on {what}: {verdict}."
    ]
    if verdict == "inconclusive":
        lines.append("More images would narrow the interval; allow_inconclusive=True accepts it.")
    return "\n".join(lines + _worst_lines([w for w in result.worst if w.kind == kind]))


def _is_open(estimate: Estimate, least: float, judge: str) -> bool:
    """Whether the interval contains the minimum, so that nothing is settled."""
    return judge == "bound" and estimate.high is not None and estimate.high >= least


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f", {estimate.confidence:.0%} interval [{estimate.low:.4g}, {estimate.high:.4g}],"


def _worst_lines(worst: Sequence[WorstImage]) -> list[str]:
    shown = [
        f"  {image.file!r}: label {image.clean_label} becomes {image.flipped_label} "
        f"at (dy, dx) = {tuple(image.offset)}; {image.agreement:.0%} of its shifts agree"
        for image in worst[:_SHOWN]
    ]
    return ["Least stable:", *shown] if shown else []
