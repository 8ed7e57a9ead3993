"""The part of a `Task` that all have whose records are small arrays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from equiaudit.tasks.base import Task
from equiaudit.tasks.sections import HtmlSections, Section

if TYPE_CHECKING:
    from equiaudit.results import MetricInfo, Result

P95 = (
    "95th percentile",
    "what 19 in 20 of the single figures do not exceed, over all images and shifts.",
)


class ArrayTask(Task):
    """Some numbers, or some places, per image."""

    part: str = ""
    """What one of several is called: "output"."""
    of_parts: tuple[str, ...] = ()
    """The metrics that a table of them shows."""

    def sections(self, result: Result, *, narrow: bool) -> Iterable[Section]:
        """The outputs one by one, where there are several."""
        from equiaudit.tasks.arrays import report

        return report.sections(result, self.part, self._of_parts(), narrow=narrow)

    def html(self, result: Result, room: int) -> HtmlSections:
        """The same."""
        from equiaudit.tasks.arrays import report

        return report.html(result, self.part, self._of_parts())

    def _of_parts(self) -> list[MetricInfo]:
        infos = {info.name: info for info in self.metrics}
        return [infos[name] for name in self.of_parts]
