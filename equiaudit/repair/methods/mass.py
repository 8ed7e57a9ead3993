"""mass: every op that samples or pads rewritten on one grid per level, chosen from the content."""

from __future__ import annotations

from dataclasses import dataclass

from equiaudit.errors import InputError
from equiaudit.repair.methods.converted import Converted
from equiaudit.repair.methods.detectors import converted_detector, refused_outputs
from equiaudit.repair.methods.subject import Subject
from equiaudit.repair.onnx import OnnxCaptured
from equiaudit.repair.options import FixOptions
from equiaudit.repair.outputs.roles import Misfit
from equiaudit.repair.rewrite.resample import resampled
from equiaudit.repair.rewrite.rewrite import rewrite
from equiaudit.repair.rewrite.spec import WINDOWED, Spec
from equiaudit.repair.verify.circular import Circular
from equiaudit.results.repair import Claim

_BY_PIXELS = (
    "origins are chosen from the pixels, not from the features: a runtime rounds integers otherwise"
    " than the graph, and would choose others"
)


@dataclass(frozen=True)
class Mass:
    """Exact without training; circular padding costs accuracy on nets trained with zeros."""

    name: str = "mass"
    understands: frozenset[str] = frozenset({"select", "only", "skip", "window", "for_"})
    trainable: bool = True

    def claim(self, options: FixOptions) -> Claim:
        """Exact unless some ops are left as they are, or a window leaves the border out."""
        exact = options.window is None
        return Claim(
            exact=exact,
            shifts="circular",
            condition="on every circular shift by whole pixels" if exact else WINDOWED,
            training="none needed; --calibrate or --distil win back accuracy",
        )

    def misfit(self, subject: Subject, options: FixOptions) -> Misfit | None:
        """An op that cannot be rewritten exactly, or nothing that needs to be."""
        if options.window is not None and options.select == "input":
            raise InputError(
                "--window leaves the border of features out of choices, and --select input chooses"
                " from the pixels.",
                tip="Leave one of them out.",
            )
        if options.window is not None and options.narrow:
            return Misfit("--window scores origins in float64, which --for has to do without.")
        if subject.carried is not None and options.narrow:
            return Misfit("The tail is kept as it is, and may need 64 bits, which --for lacks.")
        if subject.carried is not None and subject.every is not None:
            return subject.carried.misfit(subject.every, subject.outputs, options)
        if subject.model.detector:
            return refused_ops(subject) or refused_outputs(subject, options)
        refused = refused_ops(subject)
        if refused is None and subject.analysis.collapses:
            refused = _followed(subject)
        if refused is not None or subject.inspection.needs_fixing:
            return refused
        name = subject.model.name
        return Misfit(f"Nothing in {name} breaks equivariance to circular shifts.")

    def convert(self, subject: Subject, options: FixOptions) -> Converted:
        """The rewritten graph, or that of the head where the file's tail is carried along."""
        if subject.carried is not None and subject.every is not None:
            declared = frozenset(subject.declared)
            return subject.carried.converted(subject.every, subject.outputs(), declared, options)
        gm, analysis = subject.graph, subject.analysis
        only, skip, window = options.only, options.skip, options.window
        if subject.model.detector:
            return converted_detector(subject, options)
        integers = window is None and _of_integers(subject)
        select = "input" if integers else options.select
        if window is None:
            graph = rewrite(
                gm, analysis, select=select, only=only, skip=skip, narrow=options.narrow
            )
        else:
            graph = resampled(gm, analysis, Spec("mass"), window=window, only=only, skip=skip)
        by_features = select == "features"
        check = Circular(
            subject.analysis.total_stride,
            subject.dense,
            margins=by_features,
            threshold=subject.threshold,
        )
        net = subject.net(graph)
        notes = (_BY_PIXELS,) if integers else ()
        return Converted(net, subject.original, subject.model.preprocess, check, notes=notes)


def _of_integers(subject: Subject) -> bool:
    """An ONNX file whose features the runtime may round otherwise than the graph does."""
    captured = subject.captured
    return isinstance(captured, OnnxCaptured) and bool(captured.imported.quantised)


def _followed(subject: Subject) -> Misfit | None:
    """Numbers that move with the image and would be the same for every shift afterwards."""
    for place, seen in subject.following.items():
        if seen.like_positions and subject.every is not None:
            name = subject.every.names[place]
            return Misfit(
                f"Output {name!r} of {subject.model.name} follows the image: {seen.moving} of its"
                f" {len(seen.rows)} numbers move with it, as positions do, and would stay.",
                f"--method canonical --positions {name}=keypoints (x before y), or =boxes, moves"
                " them.",
            )
    return None


def refused_ops(subject: Subject) -> Misfit | None:
    """The first op that the analysis refuses, and how many more there are."""
    refusals = subject.analysis.refusals
    if not refusals:
        return None
    first = refusals[0]
    where = f"{first.module} ({first.node})" if first.module else first.node
    others = f" ({len(refusals) - 1} more: see inspect)" if len(refusals) > 1 else ""
    return Misfit(
        f"{subject.model.name} cannot be converted exactly: {where}: {first.reason}{others}.",
        f"{first.remedy[:1].upper()}{first.remedy[1:]}.",
    )
