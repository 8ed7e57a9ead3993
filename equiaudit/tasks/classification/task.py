"""The `Task` of classifiers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from equiaudit.tasks.base import Measure, Task, TruthWords
from equiaudit.tasks.classification.catalog import METRICS
from equiaudit.tasks.classification.row import LabelSample
from equiaudit.tasks.sentences import counted

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch import Tensor

    from equiaudit.data import Dataset, Place
    from equiaudit.data.reading import Reading
    from equiaudit.models.types import Model
    from equiaudit.training.losses import Losses


class Classification(Task):
    """One of several labels per image."""

    name = "classification"
    audited_by = "equiaudit.tasks.classification.audit:LabelAudit"
    reported_by = "equiaudit.tasks.classification.report"
    output = "scores (N, classes)"
    returns = "labels"
    guessed = True
    scores = True
    paired = True
    protocols = ("zhang2019", "mass", "aps", "alias-free", "rics", "tips")

    metrics = METRICS
    leading = ("agreement",)
    change = "flipped"
    subject = "the label"
    measures = (
        Measure(
            "agreement",
            "of labels change",
            counted("image", "No image changes its label"),
            kept=True,
            also=(("flipped", "of the images change theirs at some of their moves"),),
        ),
    )
    about: ClassVar[tuple[tuple[str, str], ...]] = (
        (
            "Consistency",
            "the chance that two different random shifts of one image get the same label, averaged "
            "over the images. It asks nothing about which label is right.",
        ),
        ("Agreement", "the share of shifts that keep the label of the unshifted image."),
    )
    truth = TruthWords(
        "labels", "labelled", "Put the images into class folders or give --labels FILE.csv."
    )

    def fits(self, output: Tensor) -> bool:
        """Scores, also as maps of a single pixel."""
        return output.dim() == 2 or (output.dim() == 4 and output.shape[2:] == (1, 1))

    def taken(self, output: Tensor) -> Tensor:
        """(N, classes)"""
        return output.flatten(1)

    def open(
        self, model: Model, data: str | Place, reading: Reading, limit: int | None, seed: int
    ) -> Dataset:
        """With the label of each image in the numbering of the model."""
        from equiaudit.data import open_dataset
        from equiaudit.data.reading import OF_MASKS

        reading.refuse(
            tuple(name for name in OF_MASKS if name != "split"),
            f"is of masks, and {model.name} is a classifier",
            "Leave it out; --labels FILE.csv gives labels.",
        )
        count = 2 if model.num_classes == 1 else model.num_classes
        names = reading.names_for(model.name, model.class_names, count)
        return open_dataset(
            data,
            labels=reading.labels_place,
            class_order=reading.class_order,
            class_names=names.names or None,
            class_ids=names.ids,
            num_classes=count,
            layout=reading.layout,
            split=reading.split,
            limit=limit,
            seed=seed,
        )

    def losses(self, *, probabilities: bool) -> Losses:
        """Of scores."""
        from equiaudit.training.losses import ScoreLosses

        return ScoreLosses(probabilities)

    def wrote(self, columns: Collection[str]) -> bool:
        """Labels are there."""
        return "clean_label" in columns

    def sample(self, row: Mapping[str, str]) -> LabelSample:
        """The label's row."""
        return LabelSample.read(row)


TASK = Classification()
