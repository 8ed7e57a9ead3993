"""canonical: the unmodified net behind a roll of its input to a position found in the image."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from equiaudit.errors import InputError, NothingToDo
from equiaudit.repair.canonical.operators import with_operators
from equiaudit.repair.methods.converted import Converted
from equiaudit.repair.methods.lists import of_lists
from equiaudit.repair.methods.rewrap import (
    graph_inside,
    of_layout,
    recaptured,
    with_all_outputs,
    with_channels_first,
)
from equiaudit.repair.methods.subject import Subject
from equiaudit.repair.options import FixOptions
from equiaudit.repair.outputs.declared import made_outside
from equiaudit.repair.outputs.roles import Misfit, Reading, Refused, ragged
from equiaudit.repair.outputs.run import EveryRun
from equiaudit.repair.save.canonical_net import CanonicalOnnx, OnnxFile, onnx_path
from equiaudit.repair.save.net import Net
from equiaudit.repair.verify.circular import Circular
from equiaudit.repair.verify.every_output import EveryOutput
from equiaudit.results.repair import Claim
from equiaudit.sampling.canonical import Canonical
from equiaudit.sampling.positions import CanonicalOutputs, Map, Positions

__all__ = ["CanonicalInput"]

_RULE = (
    "boxes move as a whole, with their centre brought into the image, so that one that crosses the"
    " border has a corner outside; points are brought into the image"
)
_UNREAD = "the output is read as scores: its numbers do not follow small shifts of the images"


@dataclass(frozen=True)
class CanonicalInput:
    """Exact for any net, as it sees the same bits for every circular shift of an image."""

    name: str = "canonical"
    understands: frozenset[str] = frozenset({"positions"})

    def claim(self, options: FixOptions) -> Claim:
        """Exact, whatever is inside."""
        return Claim(
            exact=True,
            shifts="circular",
            condition="on every circular shift by whole pixels",
            training="none",
        )

    def misfit(self, subject: Subject, options: FixOptions) -> Misfit | None:
        """No torch graph to wrap, or outputs that look like positions and were not named."""
        if subject.keys:
            return None if options.method == self.name else ragged(subject.model.name)
        every, name = subject.every, subject.model.name
        if onnx_path(subject.model) is None and not _several(subject, options):
            _ = subject.captured  # raises where there is no graph
        if every is None:
            return _untold(subject, options)
        if every.ragged:
            return ragged(name)
        outside = made_outside(subject.model, told=bool(options.positions))
        if outside is not None:
            return outside
        if options.method != self.name and len(every.names) > 1:
            return Misfit(
                f"{options.method} keeps one output of {name}, which has {_listed(every)}.",
                "--method canonical keeps them all.",
            )
        try:
            subject.outputs(options.positions)
        except Refused as refusal:
            return refusal.misfit
        return None

    def around(self, inner: Converted, subject: Subject, options: FixOptions) -> Converted:
        """The net behind the roll, as one graph again."""
        if subject.keys:
            return of_lists(inner, subject)
        how, every = inner.preprocess, subject.every
        if every is not None and _several(subject, options):
            return _of_every_output(inner, subject, every, options)
        check = Circular(how.size, subject.dense, borders=True, threshold=subject.threshold)
        seen = subject.following
        notes = (*inner.notes, *((_UNREAD,) if seen and not subject.dense else ()))
        inner = replace(inner, check=check, notes=notes)

        def as_graph() -> Net:
            net = inner.net if inner.net.graph is not None else subject.net(subject.graph)
            inside = graph_inside(net)
            if not subject.dense:
                whole: nn.Module = with_operators(Canonical(inside))
            else:
                maps = with_channels_first(inside, subject.layout)
                rolled = with_operators(Canonical(maps, dense=True))
                whole = of_layout(rolled, inside, subject.layout)
            return subject.net(recaptured(whole, how, self.name))

        if onnx_path(subject.model) is None or inner.net is not subject.original:
            return replace(inner, net=as_graph())
        net = CanonicalOnnx(subject.model, as_graph=as_graph)
        return replace(inner, net=net, original=OnnxFile(subject.model))


def _several(subject: Subject, options: FixOptions) -> bool:
    """Whether each output is looked at by itself."""
    every = subject.every
    told = bool(options.positions) or bool(subject.model.detector)
    return told or (every is not None and len(every.names) > 1)


def _listed(every: EveryRun) -> str:
    return ", ".join(map(repr, every.names))


def _untold(subject: Subject, options: FixOptions) -> Misfit | None:
    """A model that is known by its main output only."""
    if options.positions:
        return Misfit(f"The outputs of {subject.model.name} are not known, so none can be named.")
    return None


def _of_every_output(
    inner: Converted, subject: Subject, every: EveryRun, options: FixOptions
) -> Converted:
    """The unmodified net with all its outputs, those that have places put back."""
    module, how = subject.model.module, inner.preprocess
    if inner.net is not subject.original:
        raise InputError(
            "--positions go with the net as it is.",
            tip="Leave out what is combined with canonical.",
        )
    found = subject.outputs(options.positions)
    check = EveryOutput(
        how.size,
        found.roles,
        every.names,
        every.batch,
        declared=frozenset(subject.declared),
        stride=subject.model.total_stride if subject.declared else None,
    )
    rule = (_RULE,) if any(isinstance(role, Positions) for role in found.roles) else ()
    inner = replace(inner, check=check, notes=(*inner.notes, *_said(found, every), *rule))

    def as_graph() -> Net:
        whole = subject.graph if module is None else with_all_outputs(module, how)
        wrapped = with_operators(CanonicalOutputs(whole, found.roles))
        return subject.net(with_all_outputs(wrapped, how))

    if onnx_path(subject.model) is not None:
        ranks = {n: len(shape) for n, shape in zip(every.names, every.shapes, strict=True)}
        roles = dict(zip(every.names, found.roles, strict=True))
        net = CanonicalOnnx(subject.model, as_graph=as_graph, roles=roles, ranks=ranks, every=every)
        return replace(inner, net=net, original=OnnxFile(subject.model, every=every))
    if module is None:
        raise NothingToDo(
            f"{subject.model.name} runs outside torch, and has no torch graph to wrap."
        )
    return replace(inner, net=as_graph(), original=subject.net(with_all_outputs(module, how)))


def _said(found: Reading, every: EveryRun) -> tuple[str, ...]:
    """What is done with each output."""
    maps = [n for n, role in zip(every.names, found.roles, strict=True) if isinstance(role, Map)]
    rest = [n for n, role in zip(every.names, found.roles, strict=True) if role is None]
    said = [f"put back in place: {', '.join(maps)}"] if maps else []
    said += [f"passed on as they are, without places: {', '.join(rest)}"] if rest else []
    return (*found.notes, *said)
