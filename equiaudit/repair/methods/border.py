"""border: paddings that hold the other side of the map where the image has no border.

By itself it is not equivariant. Behind `canonical`, which cuts every image where its border most
likely is, it mends the images whose border cannot be told: canonical+border.
"""

from __future__ import annotations

from dataclasses import dataclass

from equiaudit.repair.methods.converted import Converted
from equiaudit.repair.methods.subject import Subject
from equiaudit.repair.options import FixOptions
from equiaudit.repair.outputs.roles import Misfit
from equiaudit.repair.rewrite.bordered import bordered
from equiaudit.repair.verify.circular import Circular
from equiaudit.results.repair import Claim


@dataclass(frozen=True)
class Border:
    """The net as it is where a border stands out, with circular padding where none does."""

    name: str = "border"
    understands: frozenset[str] = frozenset({"only", "skip"})
    trainable: bool = True

    def claim(self, options: FixOptions) -> Claim:
        """Not exact by itself."""
        return Claim(
            exact=False,
            shifts="circular",
            condition="nothing says where the border is; canonical+border cuts the image there",
            training="none",
        )

    def misfit(self, subject: Subject, options: FixOptions) -> Misfit | None:
        """Nothing that pads."""
        _, count = bordered(subject.graph, only=options.only, skip=options.skip)
        return None if count else Misfit(f"{subject.model.name} has no padding to change.")

    def convert(self, subject: Subject, options: FixOptions) -> Converted:
        """The graph with its paddings changed."""
        graph, _ = bordered(subject.graph, only=options.only, skip=options.skip)
        check = Circular(subject.model.preprocess.size, subject.dense, threshold=subject.threshold)
        return Converted(
            subject.net(graph.eval()), subject.original, subject.model.preprocess, check
        )
