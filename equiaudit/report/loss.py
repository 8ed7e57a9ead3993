"""What a repair costs, in its first sentence."""

from __future__ import annotations

from equiaudit.report import figures
from equiaudit.results.loss import Loss
from equiaudit.results.repair import FixReport
from equiaudit.tasks import METRICS

_INFO = {
    "accuracy": METRICS["accuracy_clean"],
    "mIoU": METRICS["miou_clean"],
    "F1": METRICS["f1_micro_clean"],
}
_SHARE = METRICS["flipped"]


def cost_in_words(report: FixReport) -> str:
    """One or two sentences on what the images of the user say; empty where nothing was made."""
    if report.outcome not in ("written", "unverified"):
        return ""
    if report.images is None:
        return "Nobody has looked at what this costs: no images were given. --data DIR measures it."
    loss, on = report.loss, f"on your {_images(report.images)}"
    if loss is None:
        return _of_outputs(report, on)
    if loss.measure == "boxes":
        return (
            f"The boxes agree with those of the unmodified model to AP50"
            f" {figures.quantity(loss.after or loss.lost, _SHARE)} {on}, in the mean over classes;"
            " whether a change is a loss is not judged."
        )
    if loss.measure in ("labels", "sets", "pixels"):
        return _changes(loss, report.images)
    info = _INFO[loss.measure]
    measure = "Accuracy" if loss.measure == "accuracy" else loss.measure
    way = figures.way(loss.before, loss.after, info)
    return f"{measure} {way} {on}: {figures.drop(loss.lost, info)}{_verdict(loss)}"


def _verdict(loss: Loss) -> str:
    allowed = figures.exact(loss.allowed or 0.0, figures.in_points(_SHARE))
    if loss.verdict == "kept":
        return f", within the {allowed} allowed."
    if loss.verdict == "lost":
        keeps = f" On them {loss.keeps} keeps it: --method {loss.keeps}." if loss.keeps else ""
        return f", more than the {allowed} allowed.{keeps}"
    needed = f"; about {loss.images_needed:,} would tell" if loss.images_needed else ""
    return f". They cannot tell whether it is more than the {allowed} allowed{needed}."


def _changes(loss: Loss, images: int) -> str:
    share = figures.quantity(loss.lost, _SHARE)
    if loss.measure == "labels":
        said = f"{share} of your {_images(images)} change their label; without labels"
    elif loss.measure == "sets":
        said = f"{share} of your {_images(images)} change their set of labels; without labels"
    else:
        said = f"{share} of the pixels of your {_images(images)} change their class; without masks"
    return f"{said} nobody can tell whether that is a loss."


def _of_outputs(report: FixReport, on: str) -> str:
    """The first figure of unshifted images, or else the first that tells what shifts change."""
    infos = {name: figures.info_of(name) for name in report.before}
    name = next((name for name, info in infos.items() if info.unshifted), None)
    if name is not None:
        return f"{_way(report, name)} {on}."
    name = next((name for name, info in infos.items() if info.in_short), None)
    if name is None:
        return f"Looked at {on}, which have nothing that the output could be held against."
    kind = name.partition(".")[0]
    said = f"{_way(report, name)} under {kind} shifts {on}"
    return f"{said}, which have nothing that the output could be held against."


def _way(report: FixReport, name: str) -> str:
    info = figures.info_of(name)
    way = figures.way(report.before.get(name), report.after.get(name), info)
    return f"{info.title.removesuffix(', unshifted')} {way}"


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"
