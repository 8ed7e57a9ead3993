"""The part of a `Task` that all have whose outputs are maps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from equiaudit.tasks.base import Task
from equiaudit.tasks.sections import HtmlSections, Section

if TYPE_CHECKING:
    from torch import Tensor

    from equiaudit.data.reading import Reading
    from equiaudit.models.types import Model
    from equiaudit.results import Result

MOVED_BACK = (
    "Moved back",
    "the output of a shifted image is moved back by the shift before it is compared with "
    "that of the unshifted image, pixel by pixel.",
)


class MapTask(Task):
    """One map per image."""

    output = "maps (N, C, H, W)"
    maps = True

    def fits(self, output: Tensor) -> bool:
        """Maps of more than a pixel."""
        return output.dim() == 4 and output.shape[2:] != (1, 1)

    def refuse_labels(self, model: Model, reading: Reading) -> None:
        """InputError for labels of whole images."""
        reading.refuse(
            ("labels", "class_order"),
            f"is of one class per image, and {model.name} returns {self.name} maps",
            "Put masks into masks/ beside images/.",
        )

    def sections(self, result: Result, *, narrow: bool) -> Iterable[Section]:
        """The change by distance to the border, and the least stable images."""
        from equiaudit.tasks.maps import report

        return report.sections(result, narrow=narrow)

    def html(self, result: Result, room: int) -> HtmlSections:
        """The same, and where the window changes."""
        from equiaudit.tasks.maps import report

        return report.html(result, room)
