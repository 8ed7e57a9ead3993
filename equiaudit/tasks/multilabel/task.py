"""The `Task` of models that return several labels per image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from equiaudit.errors import InputError
from equiaudit.tasks.base import Measure, Task, TruthWords
from equiaudit.tasks.multilabel.catalog import METRICS
from equiaudit.tasks.sentences import counted

if TYPE_CHECKING:
    from torch import Tensor

    from equiaudit.data import Dataset, Place
    from equiaudit.data.reading import Reading
    from equiaudit.models.types import Model
    from equiaudit.training.losses import Losses


class Multilabel(Task):
    """A set of labels per image: every class is decided for or not."""

    name = "multilabel"
    audited_by = "equiaudit.tasks.multilabel.audit:SetAudit"
    reported_by = "equiaudit.tasks.multilabel.report"
    output = "a score per class (N, classes), each held against a threshold"
    returns = "several labels per image"
    scores = True
    paired = True
    exclusive = False
    decides = "each"
    protocols = ("zhang2019", "mass", "aps")

    metrics = METRICS
    leading = ("set_agreement",)
    change = "set_flipped"
    subject = "the set of labels"
    measures = (
        Measure(
            "set_agreement",
            "of sets change",
            counted(
                "image",
                "No image changes its set of labels",
                "changes its set of labels",
                "change their set of labels",
            ),
            kept=True,
        ),
    )
    about = (
        (
            "Set consistency",
            "the chance that two different random shifts of one image get the same set of labels.",
        ),
        (
            "Label consistency",
            "the chance that they agree on a class, averaged over the classes. Where most classes "
            "are never there it is high by itself; the table of classes says which waver.",
        ),
        ("F1", "twice the right labels over the true and the decided ones."),
    )
    truth = TruthWords(
        "labels", "labelled", "Give --labels FILE.csv: a column of 0 and 1 per class, or a|b."
    )
    means = (
        "set_agreement",
        "set_consistency",
        "label_consistency",
        "label_agreement",
        "jaccard",
        "set_flipped",
    )

    def fits(self, output: Tensor) -> bool:
        """Two scores or more, also as maps of a single pixel."""
        per_image = output.dim() == 2 or (output.dim() == 4 and output.shape[2:] == (1, 1))
        return per_image and output.shape[1] > 1

    def taken(self, output: Tensor) -> Tensor:
        """(N, classes)"""
        return output.flatten(1)

    def unsettled(self, data: str | Place) -> str:
        """Class folders contradict: there one class is right."""
        from equiaudit.data import class_folders_in

        folders = class_folders_in(data)
        if folders:
            raise InputError(
                "The model ends in a sigmoid per class, as for several labels per image, and"
                f" {data} has class folders ({folders}), as for one.",
                tip="--task multilabel decides every class by itself and takes labels from"
                " --labels FILE.csv; --task classification takes the likeliest.",
            )
        return ""

    def open(
        self, model: Model, data: str | Place, reading: Reading, limit: int | None, seed: int
    ) -> Dataset:
        """With the classes that are there, where a table says."""
        from equiaudit.data import open_label_sets
        from equiaudit.data.reading import OF_MASKS

        why = f"says nothing of {model.name}, which returns several labels per image"
        tip = "Leave it out; --labels FILE.csv says which classes are there."
        others = (name for name in OF_MASKS if name != "split")
        reading.refuse((*others, "layout", "class_order"), why, tip)
        names = reading.names_for(model.name, model.class_names, model.num_classes)
        return open_label_sets(
            data,
            labels=reading.labels_place,
            class_names=names.names,
            num_classes=model.num_classes or 0,
            limit=limit,
            seed=seed,
            split=reading.split,
        )

    def losses(self, *, probabilities: bool) -> Losses:
        """Of each class by itself."""
        from equiaudit.training.losses import SetLosses

        return SetLosses(probabilities)


TASK = Multilabel()
