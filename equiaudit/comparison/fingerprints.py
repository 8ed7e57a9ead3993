"""Which results may be compared, and what differs between them that is worth saying."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from equiaudit.errors import InputError
from equiaudit.results import Fingerprint, Result


def comparable(a: Result, b: Result) -> None:
    """Return if `a` and `b` scanned the same images with the same shifts for the same task.

    InputError names the first difference that forbids it: also another threshold of boxes, or
    another suppression in the same format, which decide how many there are to lose. Another model,
    preprocessing, backend or device does not: that is what a comparison is for.
    """
    mine, other = a.fingerprint, b.fingerprint
    if mine.data_sha256 != other.data_sha256:
        raise _incomparable(
            f"the images differ (data {mine.data_sha256[:12]}, {mine.n_images:,} images, against "
            f"{other.data_sha256[:12]}, {other.n_images:,})"
        )
    if mine.task != other.task:
        raise _incomparable(f"the tasks differ ({mine.task} against {other.task})")
    if mine.plan_hash != other.plan_hash:
        raise _incomparable(f"the shift plans differ: {_plan_difference(mine, other)}")
    same = mine.detector.get("format") == other.detector.get("format")
    for name in ("score_threshold", *(["nms_iou"] if same else [])):
        before, after = mine.detector.get(name), other.detector.get(name)
        if before != after:
            raise InputError(
                "The two results cannot be compared: what counts as a box differs "
                f"({name} {before} against {after}).",
                tip=f"Scan both with the same {name}: --detector PRESET,{name}=...",
            )


def _incomparable(why: str) -> InputError:
    return InputError(
        f"The two results cannot be compared: {why}.",
        tip="Scan both models with the same images, window and shift flags.",
    )


def _plan_difference(mine: Fingerprint, other: Fingerprint) -> str:
    """The first setting of the plan that differs."""
    for name in dict.fromkeys((*mine.plan, *other.plan)):
        before, after = mine.plan.get(name), other.plan.get(name)
        if before != after:
            return f"{name} is {_said(before)} against {_said(after)}"
    return f"their hashes are {mine.plan_hash[:12]} against {other.plan_hash[:12]}"


def _said(setting: Any) -> str:
    return "not stated (another version of equiaudit)" if setting is None else str(setting)


def differences(mine: Fingerprint, other: Fingerprint) -> Iterator[str]:
    """What may differ and is worth saying."""
    if mine.model_sha256 == other.model_sha256:
        yield "both results are of one and the same model file"
    settings = dict.fromkeys((*mine.preprocess, *other.preprocess))
    pairs = [
        (f"preprocessing {name}", mine.preprocess.get(name), other.preprocess.get(name))
        for name in settings
        if name != "source"
    ]
    pairs += [
        (f"{name} of the detector", mine.detector.get(name), other.detector.get(name))
        for name in dict.fromkeys((*mine.detector, *other.detector))
    ]
    pairs += [
        (name, getattr(mine, name), getattr(other, name)) for name in ("backend", "dtype", "device")
    ]
    for name, before, after in pairs:
        if before != after:
            yield f"{name} differs: {before} against {after}"
