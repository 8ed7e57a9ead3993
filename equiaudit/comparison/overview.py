"""A comparison in short: how many figures are better, the figures by kind, and which images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from equiaudit.comparison.types import Changed, ChangedImage, Comparison, ComparisonRow
from equiaudit.kinds import is_real
from equiaudit.report import figures
from equiaudit.report.escape import is_picture, visible
from equiaudit.results import Estimate, MetricInfo

_MARKS = {"better": "better", "worse": "worse", "no difference shown": "same?"}


@dataclass(frozen=True)
class Card:
    """An image that changed, in pictures."""

    said: str
    file: str
    pictures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Overview:
    """What every format shows first."""

    verdict: str
    labels: tuple[str, ...]
    """A sentence, where images have one label."""
    kinds: tuple[str, ...]
    """Real moves first."""
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    """A title, and a cell per kind: before -> after, and the change below."""
    lists: tuple[tuple[str, tuple[str, ...]], ...]
    """Titles, and the images by name."""
    cards: tuple[Card, ...]
    """Those of the lists of which there are pictures."""


def overview(comparison: Comparison) -> Overview:
    """Of all figures and images."""
    found = dict.fromkeys(row.metric.rpartition(".")[0] for row in comparison.rows)
    kinds = sorted(found, key=lambda kind: not is_real(kind))
    changed = [one for one in comparison.changed if one.steadier or one.shakier]
    return Overview(
        verdict=_verdict(comparison),
        labels=tuple(_labels(comparison)),
        kinds=tuple(visible(kind) for kind in kinds),
        rows=tuple(_rows(comparison, kinds)),
        lists=(*_relabelled(comparison), *(each for one in changed[:1] for each in _lists(one))),
        cards=tuple(_cards(changed[:1])),
    )


def _verdict(comparison: Comparison) -> str:
    count = Counter(row.verdict for row in comparison.rows)
    total = len(comparison.rows)
    bare = sum(row.difference.low is None for row in comparison.rows)
    said = (
        f"Of {total} figures b is better in {count['better']} and worse in {count['worse']}; "
        f"{count['no difference shown'] - bare} show no difference"
    )
    return f"{said}, and {bare} have no interval to tell by." if bare else f"{said}."


def _labels(comparison: Comparison) -> Iterator[str]:
    if comparison.labels is not None:
        same = figures.quantity(comparison.labels.same, figures.info_of("agreement"))
        differ = comparison.labels.differ
        yield (
            f"Both give the same label to {same} of the unshifted images; "
            f"{differ:,} {'has' if differ == 1 else 'have'} another."
        )


def _rows(comparison: Comparison, kinds: list[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    table: dict[str, dict[str, ComparisonRow]] = {}
    for row in comparison.rows:
        kind, _, metric = row.metric.rpartition(".")
        table.setdefault(metric, {})[kind] = row
    for metric, own in table.items():
        info = figures.info_of(metric)
        shown = kinds
        if (
            info.unshifted
            and len({row.model_dump_json(exclude={"metric"}) for row in own.values()}) == 1
        ):
            shown = kinds[:1]  # of no shift, and the same under each kind
        yield (
            visible(info.title),
            tuple(_cell(own[kind]) if kind in own and kind in shown else "" for kind in kinds),
        )


def _cell(row: ComparisonRow) -> str:
    info = figures.info_of(row.metric)
    judged = row.difference.low is not None
    mark = f" {_MARKS[row.verdict]}" if judged else ""
    return f"{figures.way(row.a, row.b, info)}{mark}\n{signed(row.difference, info)}"


def signed(difference: Estimate, info: MetricInfo) -> str:
    """``+1.2 points [0.4, 2.1]``; shares in points."""
    number = figures.value(difference, info, unit=False)
    sign = "+" if difference.value and difference.value > 0 else ""
    unit = " points" if info.is_share else f" {info.unit}" if info.unit else ""
    return f"{sign}{number}{unit} {figures.interval(difference, info)}".rstrip()


def _relabelled(comparison: Comparison) -> Iterator[tuple[str, tuple[str, ...]]]:
    if comparison.labels is not None and comparison.labels.examples:
        yield (
            "Unshifted images with another label",
            tuple(
                f"{visible(each.file)}: {visible(each.a)} -> {visible(each.b)}"
                for each in comparison.labels.examples
            ),
        )


def _lists(changed: Changed) -> Iterator[tuple[str, tuple[str, ...]]]:
    kind, _, metric = changed.metric.rpartition(".")
    title = figures.info_of(metric).title.lower()
    for word, images in (("Shakier", changed.shakier), ("Steadier", changed.steadier)):
        if images:
            said = tuple(f"{visible(one.file)}: {_way(changed, one)}" for one in images)
            yield f"{word} in b under {visible(kind)}, by {title}", said


def _way(changed: Changed, image: ChangedImage) -> str:
    info = figures.info_of(changed.metric)
    return f"{figures.exact(image.a, info)} -> {figures.exact(image.b, info)}"


def _cards(changed: list[Changed]) -> Iterator[Card]:
    for one in changed:
        for word, images in (("Shakier", one.shakier), ("Steadier", one.steadier)):
            for image in images:
                shown = tuple((visible(n), uri) for n, uri in image.pictures if is_picture(uri))
                if shown:
                    yield Card(f"{word}: {_way(one, image)}", visible(image.file), shown)
