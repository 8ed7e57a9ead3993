"""mass for a detector: its trunk rewritten, its rows of boxes moved back."""

from __future__ import annotations

from equiaudit.errors import NothingToDo
from equiaudit.repair.methods.converted import Converted
from equiaudit.repair.methods.subject import Subject
from equiaudit.repair.onnx import OnnxCaptured
from equiaudit.repair.options import FixOptions
from equiaudit.repair.outputs.declared import made_outside
from equiaudit.repair.outputs.roles import Misfit, Refused
from equiaudit.repair.outputs.run import EveryRun
from equiaudit.repair.rewrite.rewrite import rewrite
from equiaudit.repair.rewrite.tail import check_outputs
from equiaudit.repair.verify.every_output import EveryOutput
from equiaudit.sampling.positions import Role

__all__ = ["MOVING", "converted_detector", "refused_outputs", "roles_in_graph"]

MOVING = ("mass", "canonical", "crop-select")
"""The methods that move boxes back."""
_REMEDY = "Use --method canonical, which leaves the model as it is."


def refused_outputs(subject: Subject, options: FixOptions) -> Misfit | None:
    """Outputs of a detector that cannot be moved back, or options that go without boxes."""
    every, name = subject.every, subject.model.name
    outside = made_outside(subject.model)
    if outside is not None:
        if made_outside(subject.model, told=True) is not None:
            return outside
        return Misfit(outside.reason, "canonical moves them, with --positions OUTPUT=boxes.")
    if every is None:
        return Misfit(f"The outputs of {name} are not known.", _REMEDY)
    if options.window is not None:
        return Misfit(f"{name} is a detector, and --window leaves the border out.", _REMEDY)
    try:
        roles, names = roles_in_graph(subject, every)
        check_outputs(subject.graph, subject.analysis, roles, names)
    except Refused as refusal:
        return refusal.misfit
    except NothingToDo as refusal:
        return Misfit(refusal.message, refusal.tip)
    return None


def converted_detector(subject: Subject, options: FixOptions) -> Converted:
    """The trunk rewritten, the head on maps in a frame that goes with the image, boxes moved."""
    every, how = subject.every, subject.model.preprocess
    if every is None:
        raise NothingToDo(f"The outputs of {subject.model.name} are not known.")
    roles, names = roles_in_graph(subject, every)
    graph = rewrite(
        subject.graph,
        subject.analysis,
        select=options.select,
        only=options.only,
        skip=options.skip,
        roles=roles,
        narrow=options.narrow,
    )
    declared = {every.names[place] for place in subject.declared}
    check = EveryOutput(
        how.size,
        roles,
        names,
        declared=frozenset(k for k, name in enumerate(names) if name in declared),
        stride=subject.analysis.total_stride,
    )
    notes = subject.outputs().notes
    return Converted(subject.net(graph), subject.original, how, check, notes=notes)


def roles_in_graph(subject: Subject, every: EveryRun) -> tuple[tuple[Role, ...], tuple[str, ...]]:
    """What each output is and its name, in the order of the graph."""
    roles = subject.outputs().roles
    captured = subject.captured
    if not isinstance(captured, OnnxCaptured):
        return roles, every.names
    names = tuple(captured.imported.output_names)
    return tuple(roles[every.names.index(name)] for name in names), names
