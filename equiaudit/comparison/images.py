"""The images behind a comparison: whose labels differ, and which became steadier or shakier."""

from __future__ import annotations

from collections.abc import Iterator

from equiaudit.comparison.samples import Samples
from equiaudit.comparison.types import Changed, ChangedImage, Labels, Relabelled
from equiaudit.kinds import is_real
from equiaudit.results import Result
from equiaudit.tasks import metric_info, of_result

_LISTED = 20
Pictures = tuple[tuple[str, str], ...]


def labels_of(a: Result, b: Result, samples_a: Samples, samples_b: Samples) -> Labels | None:
    """Agreement on unshifted images, whatever the kinds; None where images have no one label."""
    from equiaudit.metrics.intervals import proportion_interval

    pairs = {
        file: (first, second)
        for (kind, file), sample in samples_a.items()
        if (first := sample.clean_label) is not None
        and (kind, file) in samples_b
        and (second := samples_b[kind, file].clean_label) is not None
    }
    if not pairs:
        return None
    differ = [(file, *both) for file, both in pairs.items() if both[0] != both[1]]
    return Labels(
        same=proportion_interval(len(pairs) - len(differ), len(pairs)),
        differ=len(differ),
        examples=tuple(
            Relabelled(file=file, a=_named(a, first), b=_named(b, second))
            for file, first, second in differ[:_LISTED]
        ),
    )


def _named(result: Result, label: int) -> str:
    return result.class_names.get(label, str(label))


def changed_images(
    a: Result, b: Result, samples_a: Samples, samples_b: Samples
) -> Iterator[Changed]:
    """For each kind, those whose share of what shifts keep rose most, and fell most."""
    kinds = [kind for kind in a.shifts if kind in b.shifts]
    for kind in sorted(kinds, key=lambda kind: not is_real(kind)):
        names = of_result(a).leading
        metric = next((name for name in names if name in a.shifts[kind].metrics), None)
        if metric is None:
            continue
        pictures = _pictures(a, kind) | _pictures(b, kind)
        each = [
            ChangedImage(file=file, a=first, b=second, pictures=pictures.get(file, ()))
            for (k, file), sample in samples_a.items()
            if k == kind
            and (kind, file) in samples_b
            and (first := sample.figure(metric)) is not None
            and (second := samples_b[kind, file].figure(metric)) is not None
            and first != second
        ]
        sign = 1 if metric_info(metric).higher_is_better else -1
        each.sort(key=lambda image: sign * (image.b - image.a))
        fell = sum(sign * (image.b - image.a) < 0 for image in each)
        yield Changed(
            metric=f"{kind}.{metric}",
            steadier=tuple(reversed(each[fell:]))[:_LISTED],
            shakier=tuple(each[:fell])[:_LISTED],
        )


def _pictures(result: Result, kind: str) -> dict[str, Pictures]:
    """What a result shows of its least stable images."""
    found: dict[str, Pictures] = {}
    for worst in result.worst:
        if worst.kind == kind and worst.thumbnail_clean and worst.thumbnail_shifted:
            names = (_named(result, label) for label in (worst.clean_label, worst.flipped_label))
            uris = (worst.thumbnail_clean, worst.thumbnail_shifted)
            found[worst.file] = tuple(zip(names, uris, strict=True))
    for example in result.examples:
        if example.kind == kind:
            found[example.file] = (
                ("output", example.clean),
                ("shifted, moved back", example.shifted_back),
                ("difference", example.difference),
            )
    for boxes in result.box_examples:
        if boxes.kind == kind:
            found[boxes.file] = (("unshifted", boxes.unshifted), ("shifted", boxes.shifted))
    return found
