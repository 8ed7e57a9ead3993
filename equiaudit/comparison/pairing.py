"""Pair two results by image: differences, their intervals, exact McNemar."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from equiaudit.comparison.fingerprints import comparable, differences
from equiaudit.comparison.images import changed_images, labels_of
from equiaudit.comparison.samples import Samples, read_samples
from equiaudit.comparison.types import Change, Comparison, ComparisonRow, McNemarTest
from equiaudit.errors import InputError
from equiaudit.results import Estimate, Result, load_result
from equiaudit.tasks import METRICS, metric_info, of_result

if TYPE_CHECKING:
    from equiaudit.metrics.forecast import Bounds

_UNPAIRED = "mover"
_SAME = 1e-4
"""How far the mean of the samples may be from the figure in the result: cells hold 6 digits."""


def compare(a: Result, b: Result, samples_a: Samples, samples_b: Samples) -> Comparison:
    """What b changes against a, one row for each ``kind.metric`` that both have.

    InputError if the results cannot be compared (see `comparable`), or if samples are not
    those of their result.
    """
    comparable(a, b)
    for result, samples in ((a, samples_a), (b, samples_b)):
        _check_samples(result, samples)
    names = [name for name in a.metric_names() if name in set(b.metric_names())]
    return Comparison(
        model_a=a.fingerprint.model,
        model_b=b.fingerprint.model,
        n_images=a.fingerprint.n_images,
        labels=labels_of(a, b, samples_a, samples_b),
        changed=tuple(changed_images(a, b, samples_a, samples_b)),
        rows=tuple(_row(name, a, b, samples_a, samples_b) for name in names),
        notes=(*differences(a.fingerprint, b.fingerprint), *_left_out(samples_a, samples_b)),
    )


def compare_files(a: str | Path, b: str | Path) -> Comparison:
    """`compare` two results with the samples.csv beside each; the results are checked first."""
    first, second = load_result(a), load_result(b)
    comparable(first, second)
    return compare(first, second, read_samples(a), read_samples(b))


def paired_differences(
    baseline: Result, result: Result, samples_baseline: Samples, samples: Samples
) -> dict[str, Estimate]:
    """`result` less `baseline` by ``kind.metric``, of the metrics that can be paired."""
    rows = compare(baseline, result, samples_baseline, samples).rows
    return {row.metric: row.difference for row in rows if row.paired}


def _check_samples(result: Result, samples: Samples) -> None:
    """Samples of another run would pair images with the wrong figures."""
    for kind, shift in result.shifts.items():
        metric = next((name for name in of_result(result).leading if name in shift.metrics), None)
        stated = None if metric is None else shift.metrics[metric]
        own = [s for (k, _), s in samples.items() if k == kind and not s.nonfinite]
        if metric is None or stated is None or stated.value is None:
            continue
        found = [share for s in own if (share := s.figure(metric)) is not None]
        if len(found) != stated.n or abs(sum(found) / stated.n - stated.value) > _SAME:
            raise InputError(
                f"The samples.csv of {result.fingerprint.model} is not of its result.json: they "
                f"disagree on {kind}.{metric}.",
                tip="Keep both files of one scan together, or scan again.",
            )


def _left_out(samples_a: Samples, samples_b: Samples) -> Iterator[str]:
    for kind in dict.fromkeys(kind for kind, _ in (*samples_a, *samples_b)):
        files = {key for key in (*samples_a, *samples_b) if key[0] == kind}
        lost = sum(not _usable(key, samples_a, samples_b) for key in files)
        if lost:
            some = "1 image" if lost == 1 else f"{lost:,} images"
            yield f"{kind}: {some} could not be scored in both, and none of the pairs has them"


def _usable(key: tuple[str, str], samples_a: Samples, samples_b: Samples) -> bool:
    return all(key in each and not each[key].nonfinite for each in (samples_a, samples_b))


def _row(name: str, a: Result, b: Result, samples_a: Samples, samples_b: Samples) -> ComparisonRow:
    before, after = a.metric(name), b.metric(name)
    kind, _, metric = name.rpartition(".")
    pairs = _pairs(kind, metric, samples_a, samples_b)
    difference = _paired(pairs, metric) if pairs else difference_of(before, after)
    return ComparisonRow(
        metric=name,
        a=before,
        b=after,
        difference=difference,
        paired=bool(pairs),
        mcnemar=_mcnemar(pairs) if pairs and metric_info(metric).yes_or_no else None,
        verdict=_verdict(difference, metric),
    )


def _pairs(
    kind: str, metric: str, samples_a: Samples, samples_b: Samples
) -> list[tuple[float, float]]:
    """Both figures of each image that both runs scored, in the order of a."""
    keys = [key for key in samples_a if key[0] == kind and _usable(key, samples_a, samples_b)]
    both = ((samples_a[key].figure(metric), samples_b[key].figure(metric)) for key in keys)
    return [(x, y) for x, y in both if x is not None and y is not None]


def _paired(pairs: list[tuple[float, float]], metric: str) -> Estimate:
    """Mean of b - a with its interval; metrics that are not within [0, 1] by the bootstrap."""
    before, after = zip(*pairs, strict=True)
    info = metric_info(metric)
    if info.of_pixels:
        from equiaudit.metrics.flips import flip_difference

        if info.higher_is_better:  # flips are what is rare: b - a of shares kept is a - b of them
            return flip_difference([1 - y for y in after], [1 - x for x in before])
        return flip_difference(before, after)
    if (info.lower_bound, info.upper_bound) != (0, 1):
        from equiaudit.metrics.intervals import bca_interval

        return bca_interval([y - x for x, y in pairs])
    from equiaudit.metrics.paired import paired_difference

    return paired_difference(before, after)


def paired_law(name: str, samples_a: Samples, samples_b: Samples) -> Bounds | None:
    """The interval that `_paired` would give for any number of images like these.

    None where the images have no figure of ``kind.metric``, or where it narrows as any.
    """
    from equiaudit.metrics.flips import flip_change_bounds
    from equiaudit.metrics.paired import PairedLaw

    kind, _, metric = name.rpartition(".")
    pairs = _pairs(kind, metric, samples_a, samples_b)
    if not pairs:
        return None
    before, after = zip(*pairs, strict=True)
    info = metric_info(metric)
    if info.of_pixels:
        if info.higher_is_better:
            return flip_change_bounds([1 - y for y in after], [1 - x for x in before])
        return flip_change_bounds(before, after)
    if (info.lower_bound, info.upper_bound) != (0, 1):
        from equiaudit.metrics.forecast import bounds_of

        return bounds_of(_paired(pairs, metric))
    return PairedLaw.of(before, after).bounds


def _mcnemar(pairs: list[tuple[float, float]]) -> McNemarTest:
    from equiaudit.metrics.paired import mcnemar_exact

    found = mcnemar_exact([x == 1 for x, _ in pairs], [y == 1 for _, y in pairs])
    return McNemarTest(a_only=found.a_only, b_only=found.b_only, p_value=found.p_value)


def difference_of(a: Estimate, b: Estimate) -> Estimate:
    """b - a from two intervals, put together by MOVER (Zou and Donner 2008).

    It takes the two for independent. Figures of the same images are positively correlated, so
    the interval is wider than a paired one, never too narrow.
    """
    n = min(a.n, b.n)
    if a.value is None or b.value is None:
        return Estimate(value=None, n=n, method=_UNPAIRED)
    value = b.value - a.value
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return Estimate(value=value, n=n, method="none")
    low = value - math.hypot(b.value - b.low, a.high - a.value)
    high = value + math.hypot(b.high - b.value, a.value - a.low)
    return Estimate(value=value, low=low, high=high, n=n, method=_UNPAIRED)


def _verdict(difference: Estimate, metric: str) -> Change:
    """By whether the interval lies on one side of zero."""
    if difference.low is None or difference.high is None:
        return "no difference shown"
    if difference.low <= 0 <= difference.high:
        return "no difference shown"
    info = METRICS.get(metric)
    higher = info.higher_is_better if info else True
    return "better" if (difference.low > 0) == higher else "worse"
