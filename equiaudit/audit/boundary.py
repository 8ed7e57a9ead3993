"""What changes an output: sampling, the border, the seam, or black.

Two views that are whole strides apart tell the border, and views as far apart that are not tell
sampling besides (`shifts.contrasts`); real moves first, as they are what happens. What black adds
is seen where zero-pad and real pixels meet at the same offsets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiaudit.kinds import KINDS, Border, Cause, Kind
from equiaudit.results import BoundaryPart, CausePoint, Estimate
from equiaudit.shifts import ShiftPlan
from equiaudit.shifts.contrasts import Contrast

Floats = NDArray[np.float64]

_GROUPS, _LEAST = 4, 20
"""Most groups of distances, and images in the smallest of them."""


@dataclass(frozen=True)
class Views:
    """The two sorts of pairs of one contrast, per image."""

    whole: Floats
    """(n,) change between views that are whole strides apart."""
    between: Floats
    """(n,) change between views as far apart that are not."""
    distance: NDArray[np.int64]
    """(n,) max(|dy|, |dx|) of the former, px."""


@dataclass(frozen=True)
class Changes:
    """How much each image changes; images whose outputs are all finite."""

    subject: str
    """In the plural, as in "label changes"."""
    by_kind: Mapping[str, Floats]
    """(n,) mean over the shifts of the series, from the unshifted output."""
    views: Mapping[str, Views]
    """By the kind of a contrast."""
    mean: Callable[[Floats], Estimate]
    difference: Callable[[Floats, Floats], Estimate]
    """(a, b) -> the mean of b - a with its interval."""
    beyond: Mapping[str, Floats] | None = None
    """(n,) share of the offsets at which the output is not that of the kind that `Kind.cause`
    names; None where shifted outputs are not compared with one another."""


def views_of(
    plan: ShiftPlan, indices: Iterable[int], mean: Callable[[str], Floats]
) -> dict[str, Views]:
    """Of a task that compares with the unshifted output: `mean` has the change (n,) by name."""
    found = {}
    for contrast in plan.contrasts:
        whole, between = (mean(name) for name in contrast.names)
        found[contrast.kind] = Views(whole, between, distances_of(plan, contrast, indices))
    return found


def paired_views(
    plan: ShiftPlan,
    indices: Iterable[int],
    differ: Callable[[str, int, int], NDArray[np.bool_]],
) -> dict[str, Views]:
    """Of one that compares shifted outputs: `differ` (n,) says whether two views of a name do."""
    found = {}
    for contrast in plan.contrasts:
        (name,) = contrast.names
        whole, between = (
            (differ(name, *one).astype(np.float64) + differ(name, *other)) / 2
            for one, other in (((0, 1), (2, 3)), ((0, 3), (1, 2)))
        )
        found[contrast.kind] = Views(whole, between, distances_of(plan, contrast, indices))
    return found


def unequal(plan: ShiftPlan, share: Callable[[str, str], Floats]) -> dict[str, Floats]:
    """`Changes.beyond`: `share` (n,) of the offsets at which two series do not say the same."""
    causes = {s.name: s.moves.cause for s in plan.series}
    return {
        name: share(cause.beyond, name)
        for name, cause in causes.items()
        if cause and cause.beyond in causes
    }


def distances_of(plan: ShiftPlan, contrast: Contrast, indices: Iterable[int]) -> NDArray[np.int64]:
    """(n,) how far apart the views by whole strides are, px."""
    return np.array([contrast.distances(plan.seed, int(i)) for i in indices], np.int64)


def boundary_parts(plan: ShiftPlan, changes: Changes) -> tuple[BoundaryPart, ...]:
    """The parts that the kinds of this plan allow; empty for a named protocol."""
    if plan.protocol is not None:
        return ()
    told = [k for k in KINDS.values() if k.usual or k.name in changes.by_kind]
    told.sort(key=lambda kind: not kind.real)
    bordered = (_of_border(kind, kind.border, plan, changes) for kind in told if kind.border)
    return (
        *(part for parts in bordered for part in parts),
        *(_beyond(kind, kind.cause, changes) for kind in told if kind.cause),
    )


def _of_border(
    kind: Kind, border: Border, plan: ShiftPlan, changes: Changes
) -> Iterator[BoundaryPart]:
    """What whole strides change, and what phases change beyond it."""
    names = f"{kind.name}: {border.name}", f"{kind.name}: sampling"
    total = changes.by_kind.get(kind.name)
    contrast = next((c for c in plan.contrasts if c.kind == kind.name), None)
    if total is None:
        reason = f"needs {kind.name} shifts"
        yield from (BoundaryPart(name=name, meaning=reason, reason=reason) for name in names)
    elif contrast is None:
        said = f"{changes.subject} under {kind.name} shifts"
        reason = f"{_why(plan)}, so they cannot be told apart"
        name = f"{names[0]} + sampling"
        yield BoundaryPart(name=name, meaning=said, estimate=changes.mean(total), reason=reason)
    else:
        seen = changes.views[kind.name]
        said = f"{changes.subject} between views {_apart(seen)}: {border.about}"
        said += _partly(contrast, plan)
        yield BoundaryPart(
            name=names[0],
            meaning=said,
            estimate=changes.mean(seen.whole),
            remedy=border.remedy,
            by_distance=_by_distance(seen, lambda at: changes.mean(seen.whole[at])),
        )
        yield _sampling(names[1], border, contrast, changes, seen)


def _sampling(
    name: str, border: Border, contrast: Contrast, changes: Changes, seen: Views
) -> BoundaryPart:
    if not contrast.samples:
        reason = "the total stride is 1, so nothing is sampled"
        return BoundaryPart(name=name, meaning=reason, reason=reason)
    return BoundaryPart(
        name=name,
        meaning="what views as far apart, but not by whole strides, change beyond that",
        estimate=changes.difference(seen.whole, seen.between),
        remedy=border.sampling_remedy,
        by_distance=_by_distance(
            seen, lambda at: changes.difference(seen.whole[at], seen.between[at])
        ),
    )


def _why(plan: ShiftPlan) -> str:
    if plan.stride is None:
        return "the total stride is not known (--stride)"
    if not plan.aligned:
        return "a scan that may end early leaves out what tells them apart"
    return (
        f"shifts of {plan.series[0].reach} px have no room for one stride of {max(plan.stride)} px"
    )


def _apart(seen: Views) -> str:
    if not len(seen.distance):
        return "whole strides apart"
    low, high = int(seen.distance.min()), int(seen.distance.max())
    return (
        f"whole strides apart ({low} px)"
        if low == high
        else f"whole strides apart ({low} to {high} px)"
    )


def _partly(contrast: Contrast, plan: ShiftPlan) -> str:
    """Where the room was too small for the whole stride."""
    if plan.stride is None or contrast.step == plan.stride:
        return ""
    step, stride = max(contrast.step), max(plan.stride)
    return f"; and of the total stride {stride} what a stride of {step} does not tell (--max-shift)"


def _beyond(kind: Kind, cause: Cause, changes: Changes) -> BoundaryPart:
    """What `kind` changes beyond the kind that its cause is measured against."""
    name = f"{kind.name}: {cause.name}"
    less, more = (changes.by_kind.get(each) for each in (cause.beyond, kind.name))
    if less is None or more is None:
        reason = f"needs {cause.beyond} and {kind.name} shifts"
        return BoundaryPart(name=name, meaning=reason, reason=reason)
    if changes.beyond is not None:
        said = f"{changes.subject} from {cause.beyond} to {kind.name} at the same offset"
        estimate = changes.mean(changes.beyond[kind.name])
    else:
        said = f"{changes.subject} under {kind.name} shifts, less those under {cause.beyond} shifts"
        estimate = changes.difference(less, more)
    return BoundaryPart(name=name, meaning=said, estimate=estimate, remedy=cause.remedy)


def _by_distance(
    seen: Views, estimate: Callable[[NDArray[np.bool_]], Estimate]
) -> tuple[CausePoint, ...]:
    """Over groups of distances with about as many images; none where there is one distance."""
    at = np.unique(seen.distance)
    groups = min(_GROUPS, len(at), len(seen.distance) // _LEAST)
    if groups < 2:
        return ()
    ends = np.quantile(seen.distance, np.arange(1, groups) / groups, method="inverted_cdf")
    place = np.searchsorted(np.unique(ends), seen.distance)
    points = []
    for group in np.unique(place):
        chosen = place == group
        low, high = int(seen.distance[chosen].min()), int(seen.distance[chosen].max())
        points.append(CausePoint(nearest=low, furthest=high, estimate=estimate(chosen)))
    return tuple(points)
