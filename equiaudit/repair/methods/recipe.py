"""A method as it was asked for: a conversion, and what is put around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from equiaudit.config import flag_name
from equiaudit.errors import InputError, NothingToDo
from equiaudit.repair.methods.converted import Converted, Recover
from equiaudit.repair.methods.detectors import MOVING
from equiaudit.repair.methods.partial import ops_left, require_running, weakened
from equiaudit.repair.methods.protocol import Method, Wrapper
from equiaudit.repair.methods.subject import Subject
from equiaudit.repair.options import FixOptions
from equiaudit.repair.outputs.roles import Misfit
from equiaudit.repair.verify.circular import Circular
from equiaudit.repair.verify.crops import Moved
from equiaudit.results.repair import Claim

_GENERAL = frozenset(
    {"method", "comparisons", "seconds", "seed", "devices", "pad", "for_", "dry_run"}
)
"""Options that say how to work, whatever the method."""


@dataclass(frozen=True)
class Recipe:
    """`core` converts the net (None leaves it as it is), `wrappers` go around, outermost first."""

    name: str
    wrappers: tuple[Wrapper, ...]
    core: Method | None

    @property
    def understands(self) -> frozenset[str]:
        """The options that some part reads."""
        return frozenset().union(*(part.understands for part in self._parts))

    @property
    def trainable(self) -> bool:
        """Whether weights or statistics may be adjusted."""
        return self.core is not None and self.core.trainable

    def claim(self, options: FixOptions) -> Claim:
        """That of the outermost part, with the training of the innermost."""
        outer, inner = self._parts[0].claim(options), self._parts[-1].claim(options)
        update = {"training": inner.training, "needs_training": inner.needs_training}
        return outer.model_copy(update=update)

    def left_out(self, subject: Subject, options: FixOptions) -> tuple[str, ...]:
        """The ops that `only` and `skip` leave as they are; () for what converts none by name.

        Raises InputError where a glob matches no op, and NothingToDo where no op remains.
        """
        chosen = options.only is not None or options.skip is not None
        if self.core is None or not chosen or not subject.inspection.convertible:
            return ()
        return ops_left(subject.inspection, self.own(options))

    def promise(self, subject: Subject, options: FixOptions) -> Claim:
        """`claim` for this model: weaker where ops are left as they are and nothing is around."""
        claim = self.claim(options)
        if self.wrappers:
            return claim
        return weakened(claim, self.left_out(subject, options), len(subject.inspection.ops))

    def checked(self, options: FixOptions, *, trains: bool = False) -> None:
        """Raise InputError for options that no part understands, or weights it does not change."""
        if trains and not self.trainable:
            raise InputError(
                f"{self.name} leaves the weights as they are, so there is nothing to train.",
                tip="Training goes with a method that rewrites the net, such as mass.",
            )
        for field in fields(options):
            known = field.name in _GENERAL or field.name in self.understands
            if not known and getattr(options, field.name) != field.default:
                raise InputError(
                    f"{self.name} has no use for --{flag_name(field.name)}.",
                    tip=self._flags(),
                )

    def own(self, options: FixOptions) -> FixOptions:
        """`options` with those that no part understands back at their default."""
        foreign = {
            field.name: field.default
            for field in fields(options)
            if field.name not in _GENERAL and field.name not in self.understands
        }
        return replace(options, **foreign)  # type: ignore[arg-type]

    def misfit(self, subject: Subject, options: FixOptions) -> Misfit | None:
        """The first reason why some part does not fit, None where all do."""
        if subject.model.detector and self.name not in MOVING:
            return Misfit(
                f"{subject.model.name} is a detector, and {self.name} does not move boxes back.",
                f"These do: {', '.join(MOVING)}.",
            )
        wide = [part.name for part in self._parts if "for_" not in part.understands]
        if options.runtimes and (wide or not self._parts):
            return Misfit(
                f"{', '.join(wide) or self.name} needs 64 bits, and --for"
                f" {' '.join(options.runtimes)} has 32.",
                "--method mass does without.",
            )
        try:
            found = (part.misfit(subject, options) for part in self._parts)
            return next((misfit for misfit in found if misfit is not None), None)
        except NothingToDo as refusal:  # no graph
            return Misfit(refusal.message, refusal.tip)

    def convert(
        self, subject: Subject, options: FixOptions, recover: Recover | None = None
    ) -> Converted:
        """The converted net, its accuracy won back by `recover`, with everything around it."""
        converted = self._core(subject, options)
        left = self.left_out(subject, options)
        require_running(converted.net.graph, converted.preprocess, left)
        if recover is not None:
            converted = self._recovered(converted, subject, recover)
        for wrapper in reversed(self.wrappers):
            converted = wrapper.around(converted, subject, options)
        if not isinstance(converted.check, Circular | Moved):
            return converted
        return replace(converted, check=replace(converted.check, layout=subject.layout))

    @property
    def _parts(self) -> Sequence[Wrapper | Method]:
        return (*self.wrappers, *([] if self.core is None else [self.core]))

    def _core(self, subject: Subject, options: FixOptions) -> Converted:
        if self.core is not None:
            return self.core.convert(subject, options)
        how, original = subject.model.preprocess, subject.original
        return Converted(
            original, original, how, Circular(how.size, subject.dense, threshold=subject.threshold)
        )

    def _recovered(self, converted: Converted, subject: Subject, recover: Recover) -> Converted:
        fixed, original = converted.net.graph, converted.original.graph
        if fixed is None or original is None:
            raise InputError(f"{self.name} makes no torch graph of this model that could train.")
        graph, record = recover(fixed, original)
        return replace(converted, net=subject.net(graph), training=record)

    def _flags(self) -> str:
        names = sorted(f"--{flag_name(name)}" for name in self.understands)
        return f"It takes {', '.join(names)}." if names else "It takes none of its own."
