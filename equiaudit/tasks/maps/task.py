"""The part of a `Task` that all have whose outputs are maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from equiaudit.tasks.base import Task

if TYPE_CHECKING:
    from torch import Tensor

    from equiaudit.data.reading import Reading
    from equiaudit.models.types import Model

MOVED_BACK = (
    "Moved back",
    "the output of a shifted image is moved back by the shift before it is compared with "
    "that of the unshifted image, pixel by pixel.",
)


class MapTask(Task):
    """One map per image."""

    output = "maps (N, C, H, W)"
    reported_by = "equiaudit.tasks.maps.report"
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
