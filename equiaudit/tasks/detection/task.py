"""The `Task` of detectors."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from equiaudit.errors import InputError
from equiaudit.tasks.base import Measure, Task, TruthWords
from equiaudit.tasks.detection.catalog import METRICS
from equiaudit.tasks.sentences import counted

if TYPE_CHECKING:
    from torch import Tensor

    from equiaudit.data import Dataset, Place
    from equiaudit.data.reading import Reading
    from equiaudit.models.types import Model


class Detection(Task):
    """Boxes with a class and a score each, any number per image."""

    name = "detection"
    audited_by = "equiaudit.tasks.detection.audit:DetectionAudit"
    reported_by = "equiaudit.tasks.detection.report"
    output = "boxes with scores and labels, which a declaration or the return type tells of"
    returns = "boxes"
    declared = True

    metrics = METRICS
    leading = ("box_consistency",)
    change = "boxes_lost"
    subject = "the boxes"
    protocols = ("manfredi2020",)
    measures = (
        Measure(
            "boxes_lost",
            "of boxes are lost",
            counted("box", "No box is lost", "is lost", "are lost"),
        ),
    )
    about = (
        (
            "Kept",
            "a box of the unshifted image that has a partner of its class on the shifted one, moved"
            " back, with an intersection over union of 0.5 at least. Partners are one to one, as"
            " many as can be. Boxes that a border of the two windows cuts are counted apart.",
        ),
        (
            "Box consistency",
            "the chance that a box found at one random shift has its partner at another, averaged"
            " over the images that have boxes.",
        ),
        (
            "Jitter",
            "how far the sides of a kept box lie from where they were, px, once moved back; the"
            " largest of the four counts.",
        ),
    )
    truth = TruthWords(
        "boxes", "annotated", "AP needs annotated boxes (docs/detection.md); consistency does not."
    )
    means = (
        *("box_consistency", "box_consistency_75", "score_wobble"),
        *("mask_consistency", "mask_iou", "keypoint_similarity"),
    )

    def fits(self, output: Tensor) -> bool:
        """Never by a shape."""
        return False

    def open(
        self, model: Model, data: str | Place, reading: Reading, limit: int | None, seed: int
    ) -> Dataset:
        """The images, with annotated boxes where there are any."""
        from equiaudit.data import Labels, open_objects
        from equiaudit.data.reading import OF_MASKS

        others = ("labels", "class_order", *(name for name in OF_MASKS if name != "split"))
        tip = "Leave it out; annotations lie beside the images, see docs/detection.md."
        reading.refuse(others, f"says nothing of boxes, which {model.name} returns", tip)
        count = model.num_classes
        names = reading.names_for(model.name, model.class_names, count)
        behind = model.detector.get("background") == "first"
        ids = behind or model.detector.get("format") == "dicts"
        known = Labels(model.name, names.names, count, "ids" if ids else "")
        found = open_objects(
            data,
            self.name,
            known,
            layout=reading.layout,
            split=reading.split,
            limit=limit,
            seed=seed,
        )
        if found.truth is not None and find_spec("pycocotools") is None:
            raise InputError(
                f"{data} has annotated boxes, and AP is computed by pycocotools, which is not"
                " installed.",
                tip="pip install 'equiaudit[detection]', or --layout images for consistency alone.",
            )
        return found


TASK = Detection()
