"""aps, lps, caps, lpf, ddac and their combinations, as methods of `fix`."""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx

from equiaudit.repair.methods.converted import Converted
from equiaudit.repair.methods.mass import refused_ops
from equiaudit.repair.methods.subject import Subject
from equiaudit.repair.options import FixOptions
from equiaudit.repair.outputs.roles import Misfit
from equiaudit.repair.rewrite.filtered import filtered
from equiaudit.repair.rewrite.plan import Refuse
from equiaudit.repair.rewrite.resample import resampled
from equiaudit.repair.rewrite.spec import WINDOWED, Filter, Spec
from equiaudit.repair.verify.circular import Circular
from equiaudit.results.repair import Claim

_SELECTOR = "--finetune, which makes the selectors of use"
_WEIGHTS = "none needed; --calibrate, --distil or --finetune win back accuracy"
_FILTER = "--finetune, since the net was not trained behind a filter"


@dataclass(frozen=True)
class Polyphase:
    """Every strided operation at stride 1, perhaps filtered, and one choice per level."""

    spec: Spec
    trainable: bool = True

    @property
    def name(self) -> str:
        """As given to --method."""
        return self.spec.name

    @property
    def understands(self) -> frozenset[str]:
        """The options that it reads."""
        return frozenset({"only", "skip", "window"})

    def claim(self, options: FixOptions) -> Claim:
        """Exact where one component is taken and nothing is left out of the choice."""
        exact, condition = True, "on every circular shift by whole pixels"
        if self.spec.choose == "caps-soft":
            exact, condition = False, "the components are mixed, at temperature 0.1"
        elif options.window is not None:
            exact, condition = False, WINDOWED
        learned = self.spec.choose in ("lps", "caps", "caps-soft")
        needed = _SELECTOR if learned else _FILTER if self.spec.filter else None
        return Claim(
            exact=exact,
            shifts="circular",
            condition=condition,
            training=needed or _WEIGHTS,
            needs_training=needed is not None,
        )

    def misfit(self, subject: Subject, options: FixOptions) -> Misfit | None:
        """An operation that cannot be rewritten, or nothing that needs to be."""
        refused = refused_ops(subject)
        if refused is not None or subject.inspection.needs_fixing:
            return refused
        name = subject.model.name
        return Misfit(f"Nothing in {name} breaks equivariance to circular shifts.")

    def convert(self, subject: Subject, options: FixOptions) -> Converted:
        """The rewritten graph, which calls the method's modules."""
        graph = resampled(
            subject.graph,
            subject.analysis,
            self.spec,
            window=options.window,
            only=options.only,
            skip=options.skip,
        )
        clear = self.spec.choose in ("mass", "aps")
        check = Circular(
            subject.analysis.total_stride,
            subject.dense,
            margins=clear,
            threshold=subject.threshold,
        )
        return _converted(subject, graph, check)


@dataclass(frozen=True)
class Filtered:
    """A filter before every fixed grid, and nothing else: smoother, not exact."""

    spec: Spec
    trainable: bool = True

    @property
    def name(self) -> str:
        """As given to --method."""
        return self.spec.name

    @property
    def understands(self) -> frozenset[str]:
        """The options that it reads."""
        return frozenset({"only", "skip"})

    def claim(self, options: FixOptions) -> Claim:
        """Never exact."""
        condition = "a filter leaves the sampling grid where it is, and the padding too"
        return Claim(
            exact=False,
            shifts="circular",
            condition=condition,
            training=_FILTER,
            needs_training=True,
        )

    def misfit(self, subject: Subject, options: FixOptions) -> Misfit | None:
        """Windows that do not fit, or nothing that samples."""
        try:
            graph = self._graph(subject, options)
        except Refuse as refusal:
            return Misfit(f"{subject.model.name} cannot be filtered: {refusal.reason}.")
        if any(node.op == "call_module" for node in graph.graph.nodes):
            return None
        return Misfit(f"{subject.model.name} has no strided convolution or pool to filter.")

    def convert(self, subject: Subject, options: FixOptions) -> Converted:
        """The graph with its filters."""
        size = subject.model.preprocess.size
        check = Circular(size, subject.dense, threshold=subject.threshold)
        return _converted(subject, self._graph(subject, options), check)

    def _graph(self, subject: Subject, options: FixOptions) -> fx.GraphModule:
        return filtered(subject.graph, self.spec, only=options.only, skip=options.skip)


def _converted(subject: Subject, graph: fx.GraphModule, check: Circular) -> Converted:
    net = subject.net(graph.eval())
    return Converted(net, subject.original, subject.model.preprocess, check)


_SMOOTH: tuple[tuple[Filter, int], ...] = (("lpf", 3), ("lpf", 4), ("lpf", 5), ("ddac", 3))

POLYPHASE: tuple[Polyphase | Filtered, ...] = (
    *(Polyphase(Spec(choose)) for choose in ("aps", "lps", "caps", "caps-soft")),
    *(Filtered(Spec("fixed", kind, kernel)) for kind, kernel in _SMOOTH),
    *(
        Polyphase(Spec(choose, kind, kernel))
        for choose in ("mass", "aps", "lps", "caps")
        for kind, kernel in _SMOOTH
    ),
)
"""Every one of them, by the name that its `spec` gives it."""
