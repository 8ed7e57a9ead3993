"""The `Task` of embeddings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from equiaudit.tasks.arrays.task import P95, ArrayTask
from equiaudit.tasks.base import Measure, TruthWords
from equiaudit.tasks.embedding.catalog import METRICS

if TYPE_CHECKING:
    from torch import Tensor

    from equiaudit.data import Dataset, Place
    from equiaudit.data.reading import Reading
    from equiaudit.models.types import Model


def _turns(distance: float, moved: str) -> str:
    if distance <= 0:
        return f"The embedding stays as it is when {moved}"
    return f"The embedding turns by a cosine distance of {distance:.2g} on average when {moved}"


class Embedding(ArrayTask):
    """A vector per image, of which the direction counts."""

    name = "embedding"
    audited_by = "equiaudit.tasks.embedding.audit:EmbeddingAudit"
    output = "embeddings (N, D)"
    returns = "embeddings"
    all_images = True

    metrics = METRICS
    leading = ("cosine_distance",)
    change = "cosine_distance"
    subject = "the embedding"
    measures = (Measure("cosine_distance", "mean cosine distance", _turns),)
    about = (
        (
            "Cosine distance",
            "1 less the cosine of the angle between two embeddings: 0 for one direction, 1 for a "
            "right angle, 2 for opposite ones.",
        ),
        P95,
        (
            "Nearest image",
            "of the unshifted embeddings of all other images of the data, the one at the smallest "
            "cosine distance.",
        ),
    )
    truth = TruthWords(
        "labels", "labelled", "Put the images into class folders or give --labels FILE.csv."
    )
    means = (
        "cosine_distance",
        "neighbour_consistency",
        "neighbour_kept",
        "knn_accuracy_clean",
        "knn_accuracy_shifted",
        "knn_accuracy_worst",
    )

    def fits(self, output: Tensor) -> bool:
        """Vectors of at least two numbers, also as maps of a single pixel."""
        flat = output.dim() == 2 or (output.dim() == 4 and output.shape[2:] == (1, 1))
        return flat and output.shape[1] > 1

    def taken(self, output: Tensor) -> Tensor:
        """(N, D)"""
        return output.flatten(1)

    def open(
        self, model: Model, data: str | Place, reading: Reading, limit: int | None, seed: int
    ) -> Dataset:
        """With the class of each image; how classes are numbered does not count."""
        from equiaudit.data import open_dataset
        from equiaudit.data.reading import OF_MASKS

        reading.refuse(OF_MASKS, f"is of masks, and {model.name} returns vectors", "Leave it out.")
        names = ("class_order", "class_names")
        reading.refuse(names, f"is of outputs, and {model.name} returns vectors", "Leave it out.")
        found = open_dataset(
            data, labels=reading.labels_place, layout=reading.layout, limit=limit, seed=seed
        )
        return replace(found, doubt=None)


TASK = Embedding()
