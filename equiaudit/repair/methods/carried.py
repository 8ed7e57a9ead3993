"""mass for an ONNX file whose last nodes have no equivalent: those are carried along untouched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from equiaudit.errors import EquiauditError, NothingToDo
from equiaudit.graphs.outputs import graph_outputs
from equiaudit.models.types import Model
from equiaudit.repair.inspection import analysed
from equiaudit.repair.methods.converted import Converted
from equiaudit.repair.onnx.head import Head
from equiaudit.repair.onnx.split import Split
from equiaudit.repair.options import OPSETS, FixOptions
from equiaudit.repair.outputs.declared import made_outside
from equiaudit.repair.outputs.roles import Misfit, Reading, Refused
from equiaudit.repair.outputs.run import EveryRun
from equiaudit.repair.rewrite.analyse import Analysis
from equiaudit.repair.rewrite.plan import Refuse
from equiaudit.repair.rewrite.rewrite import rewrite
from equiaudit.repair.rewrite.tail import check_whole
from equiaudit.repair.save.canonical_net import OnnxFile
from equiaudit.repair.save.carried_net import CarriedOnnx, tail_at
from equiaudit.repair.save.net import Net
from equiaudit.repair.verify.every_output import EveryOutput
from equiaudit.sampling.positions import Map, Positions, Role

__all__ = ["Carried"]


@dataclass(frozen=True)
class Carried:
    """A file in two, and what its head does to shifts."""

    model: Model
    head: Head

    @property
    def split(self) -> Split:
        """Both parts."""
        return self.head.split

    @cached_property
    def analysis(self) -> Analysis:
        """Of the head; the rows of a detector are in the frame of the image."""
        return analysed(self.model, self.head.captured)

    def misfit(
        self, every: EveryRun, reading: Callable[[], Reading], options: FixOptions
    ) -> Misfit | None:
        """Why the head cannot be converted, or the tail not be carried."""
        refusal, name = self.split.tail.refusal, self.model.name
        if any(self._maps_read()) or options.window is not None:
            return Misfit(refusal.message, refusal.tip)
        if (outside := made_outside(self.model)) is not None:
            return outside
        try:
            roles = dict(zip(every.names, reading().roles, strict=True))
            tail_at(self.split.tail, OPSETS[options.pad])
        except Refused as refused:
            return refused.misfit
        except EquiauditError as error:
            return Misfit(error.message, error.tip)
        tail = self.split.tail
        wrong = [n for n, role in roles.items() if isinstance(role, Map)]
        for output in {*tail.makes, *tail.reads} & set(wrong):
            return Misfit(
                f"The output {output!r} of {name} is a map that goes through {tail.first}.",
                "--method canonical puts it back in place.",
            )
        if not self._sampled:
            return Misfit(f"Nothing in {name} breaks equivariance to circular shifts.")
        return None

    @property
    def _sampled(self) -> bool:
        return self.analysis.total_stride != (1, 1) or bool(self.analysis.collapses)

    def _maps_read(self) -> Iterator[str]:
        """Maps that the tail reads at fixed places; a detector's are rolled into the frame."""
        graph = self.head.captured.graph_module
        for name, value in zip(self._names, graph_outputs(graph), strict=True):
            grid = self.analysis.grids.get(value.name)
            read = name in self.split.tail.reads and name not in self.split.tail.shapes
            if not read or grid is None or not grid.present:
                continue
            if not self.model.detector:
                yield name
                continue
            try:
                check_whole(value, grid)
            except Refuse:
                yield name

    @property
    def _names(self) -> tuple[str, ...]:
        return self.split.head.output_names

    def converted(
        self, every: EveryRun, reading: Reading, declared: frozenset[int], options: FixOptions
    ) -> Converted:
        """The head rewritten, the tail behind it in a frame that goes with the image."""
        roles = dict(zip(every.names, reading.roles, strict=True))
        tail, names = self.split.tail, self._names
        integers = bool(self.split.head.quantised)
        graph = rewrite(
            self.head.captured.graph_module,
            self.analysis,
            select="input" if integers else options.select,
            only=options.only,
            skip=options.skip,
            roles=tuple(_positions(roles.get(name)) for name in names),
            carried={k for k, name in enumerate(names) if name in tail.reads},
        )
        ranks = {n: len(shape) for n, shape in zip(every.names, every.shapes, strict=True)}
        how = self.model.preprocess
        net = CarriedOnnx(
            self.model,
            as_graph=_no_graph,
            roles=roles,
            ranks=ranks,
            every=every,
            split=self.split,
            head=graph,
            pad=options.pad,
        )
        check = EveryOutput(
            how.size,
            reading.roles,
            every.names,
            every.batch,
            declared=declared,
            stride=self.analysis.total_stride,
        )
        notes = (self.head.note, *reading.notes)
        return Converted(net, OnnxFile(self.model, every=every), how, check, notes=notes)


def _positions(role: Role) -> Role:
    return role if isinstance(role, Positions) else None


def _no_graph() -> Net:
    raise NothingToDo("A file with a tail that is carried along is no torch graph.")
