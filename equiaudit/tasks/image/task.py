"""The `Task` of image-to-image models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from equiaudit.tasks.base import Measure, TruthWords
from equiaudit.tasks.image.catalog import METRICS
from equiaudit.tasks.maps.task import MOVED_BACK, MapTask

if TYPE_CHECKING:
    from equiaudit.data import Dataset, Place
    from equiaudit.data.reading import Reading
    from equiaudit.models.types import Model
    from equiaudit.training.losses import Losses


def _squared(error: float, moved: str) -> str:
    if error <= 0:
        return f"The output moves with the image, and nothing else changes, when {moved}"
    return f"The output changes by {error:.2g} of its energy when {moved}"


class Images(MapTask):
    """An image per image, of the window's size."""

    name = "image"
    audited_by = "equiaudit.tasks.image.audit:ImageAudit"
    returns = "images"

    metrics = METRICS
    leading = ("nmse",)
    change = "nmse"
    subject = "the output"
    measures = (Measure("nmse", "NMSE", _squared),)
    about = (
        MOVED_BACK,
        ("NMSE", "the squared change over the squared unshifted output."),
        (
            "Delta-PSNR",
            "how far the PSNR to the target differs between the shifted and the unshifted image.",
        ),
    )
    truth = TruthWords("targets", "targets", "DATA is then a folder with images/ and targets/.")
    means = ("nmse", "psnr", "ssim", "psnr_clean", "psnr_shifted", "delta_psnr")

    def open(
        self, model: Model, data: str | Place, reading: Reading, limit: int | None, seed: int
    ) -> Dataset:
        """With the target of each image."""
        from equiaudit.data import TargetReader, open_dense_dataset
        from equiaudit.data.reading import OF_MASKS

        self.refuse_labels(model, reading)
        reading.refuse(OF_MASKS, "is of masks, and targets are images", "Leave it out.")
        return open_dense_dataset(
            data, self.name, TargetReader(), layout=reading.layout, limit=limit, seed=seed
        )

    def told_by(self, data: str | Place) -> str:
        """Targets say so."""
        from equiaudit.data import has_targets

        return "task image, as there are targets" if has_targets(data) else ""

    def losses(self, *, probabilities: bool) -> Losses:
        """Of values."""
        from equiaudit.training.losses import ValueLosses

        return ValueLosses()


TASK = Images()
