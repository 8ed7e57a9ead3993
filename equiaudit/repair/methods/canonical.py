"""canonical: the unmodified net behind a roll of its input to a position found in the image."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from equiaudit.errors import InputError, NothingToDo
from equiaudit.repair.canonical_ops import with_operators
from equiaudit.repair.every_output import capture_every_output
from equiaudit.repair.methods.base import Converted, FixOptions, Misfit, Net
from equiaudit.repair.methods.canonical_file import CanonicalOnnx, OnnxFile, onnx_path
from equiaudit.repair.methods.checks import Circular
from equiaudit.repair.methods.positions import (
    kinds_of,
    looks_like_positions,
    returned_by,
    returned_by_file,
)
from equiaudit.repair.methods.rewrap import graph_inside, of_layout, recaptured, with_channels_first
from equiaudit.repair.methods.subject import Subject
from equiaudit.repair.moved_positions import MovedPositions
from equiaudit.results.repair import Claim
from equiaudit.sampling.canonical import Canonical
from equiaudit.sampling.positions import CanonicalPositions

__all__ = ["CanonicalInput"]

_RULE = (
    "boxes move as a whole, with their centre brought into the image, so that one that crosses the"
    " border has a corner outside; points are brought into the image"
)


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
        path, name = onnx_path(subject.model), subject.model.name
        if path is not None and not options.positions:  # changed as a file, whatever is in it
            returned = returned_by_file(path)
        else:
            _capture(subject, for_positions=path is not None)
            returned = returned_by(subject)
        if subject.dense:
            return None
        return looks_like_positions(returned, options.positions, name)

    def around(self, inner: Converted, subject: Subject, options: FixOptions) -> Converted:
        """The net behind the roll, as one graph again."""
        how = inner.preprocess
        if options.positions:
            return _with_positions(inner, subject, options)
        check = Circular(how.size, subject.dense, borders=True, threshold=subject.threshold)

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
            return replace(inner, net=as_graph(), check=check)
        net = CanonicalOnnx(subject.model, as_graph=as_graph)
        return replace(inner, net=net, original=OnnxFile(subject.model), check=check)


def _capture(subject: Subject, *, for_positions: bool) -> None:
    """NothingToDo where there is no torch graph, which positions of an ONNX file need too."""
    try:
        _ = subject.captured
    except NothingToDo as refusal:
        if not for_positions:
            raise
        raise NothingToDo(
            refusal.message,
            tip="Positions are mapped back inside the graph: convert the torch model.",
        ) from refusal


def _with_positions(inner: Converted, subject: Subject, options: FixOptions) -> Converted:
    """The unmodified net with all its outputs, those that are positions rolled back."""
    module, how, name = subject.model.module, inner.preprocess, subject.model.name
    kinds = kinds_of(returned_by(subject), options.positions, name)
    if inner.net is not subject.original:
        raise InputError(
            "--positions go with the net as it is.",
            tip="Leave out what is combined with canonical.",
        )
    every = subject.graph if module is None else capture_every_output(module, how)
    wrapped = capture_every_output(with_operators(CanonicalPositions(every, kinds)), how)
    return replace(
        inner,
        net=subject.net(wrapped),
        original=subject.net(every),
        check=MovedPositions(how.size, kinds),
        notes=(*inner.notes, _RULE),
    )
