"""The `Task` of segmentation models."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING

from equiaudit.tasks.base import Measure, TruthWords
from equiaudit.tasks.maps.task import MOVED_BACK, MapTask
from equiaudit.tasks.samples import MeanSample, Sample, real, whole
from equiaudit.tasks.sections import HtmlSections, Section
from equiaudit.tasks.segmentation.catalog import METRICS
from equiaudit.tasks.sentences import counted, one_in

if TYPE_CHECKING:
    from equiaudit.data import Dataset, Place
    from equiaudit.data.reading import Reading
    from equiaudit.models.types import Model
    from equiaudit.results import Result
    from equiaudit.training.losses import Losses


def _lost(share: float, moved: str) -> str:
    where = "while the window slides 1 px a frame"
    if share <= 0:
        return f"No frame loses the defect {where}"
    words, plural = one_in(share, "frame")
    verb = "lose" if plural else "loses"
    return f"{words[0].upper()}{words[1:]} {verb} the defect {where}"


class Segmentation(MapTask):
    """A class per pixel."""

    name = "segmentation"
    audited_by = "equiaudit.tasks.segmentation.audit:SegmentationAudit"
    returns = "segmentations"
    guessed = True
    scores = True
    protocols = ("caps",)

    metrics = METRICS
    leading = ("mascc", "massc")
    change = "flip_rate"
    subject = "a pixel's label"
    measures = (
        Measure(
            "lost_object",
            "of objects are lost",
            counted("object", "No object is lost", "is lost", "are lost"),
            also=(
                ("lost_object_ever", "are lost at some of their moves"),
                ("false_object", "false objects appear per move"),
                ("flip_rate", "of pixels change their label"),
            ),
        ),
        Measure(
            "lost_region",
            "of predicted regions are lost",
            counted("predicted region", "No predicted region is lost", "is lost", "are lost"),
            also=(
                ("lost_region_ever", "are lost at some of their moves"),
                ("new_region", "new ones appear per move"),
                ("flip_rate", "of pixels change their label"),
            ),
        ),
        Measure("flip_rate", "of pixels change", counted("pixel", "No pixel changes its label")),
        Measure(
            "lost_share",
            "of frames lose the defect",
            _lost,
            unit="sequence",
            also=(("iou_range", "of IoU lie between the best and the worst frame of a sequence"),),
        ),
    )
    about = (
        MOVED_BACK,
        (
            "mASCC, mASSC",
            "the share of pixels that keep their label, averaged over shifts and images: of all "
            "pixels under circular shifts, of those that both windows show otherwise.",
        ),
        (
            "Objects",
            "8-connected parts of a class in the mask (regions: in the unshifted prediction, where "
            "there are no masks and two classes); class 0 is background. One is found where a "
            "pixel of it has its class. Those that a crop or zero-pad shift cuts do not count.",
        ),
        (
            "mIoU",
            "the mean over classes of intersection over union, each summed over all images. At the "
            "worst shift, each image counts with the shift that is worst for it.",
        ),
    )
    truth = TruthWords("masks", "masks", "DATA is then a folder with images/ and masks/.")
    means = ("mean_iou", "iou_variance", "area_variance", "lost_share", "iou_range")
    """Of sequences."""

    def open(
        self, model: Model, data: str | Place, reading: Reading, limit: int | None, seed: int
    ) -> Dataset:
        """With the mask of each image, in the numbering of the model."""
        from equiaudit.data import open_dense_dataset
        from equiaudit.data.mask_flags import mask_reader

        self.refuse_labels(model, reading)
        reader = mask_reader(model.num_classes, reading)
        named = reading.names_for(model.name, model.class_names, reader.num_classes)
        stated = dict(reader.table.names) or dict(enumerate(named.names))
        names = {index: name for index, name in stated.items() if index < reader.num_classes}
        return open_dense_dataset(
            data,
            self.name,
            reader,
            class_names=names,
            layout=reading.layout,
            split=reading.split,
            no_mask=reading.no_mask,
            limit=limit,
            seed=seed,
        )

    def unsettled(self, data: str | Place) -> str:
        """Without masks, maps may as well be images."""
        from equiaudit.data import has_masks

        if has_masks(data):
            return ""
        return "task segmentation, from the shape of the output; --task image for image outputs"

    def losses(self, *, probabilities: bool) -> Losses:
        """Of scores."""
        from equiaudit.training.losses import ScoreLosses

        return ScoreLosses(probabilities)

    def sections(self, result: Result, *, narrow: bool) -> Iterable[Section]:
        """Sequences, objects and classes before what all maps have."""
        from equiaudit.tasks.segmentation import classes, object_tables, sequence_report

        return chain(
            sequence_report.sections(result),
            object_tables.sections(result, narrow=narrow),
            classes.sections(result, narrow=narrow),
            super().sections(result, narrow=narrow),
        )

    def html(self, result: Result, room: int) -> HtmlSections:
        """The same."""
        from equiaudit.tasks.segmentation import classes, object_tables, sequence_report

        strips, room = sequence_report.html(result, room)
        own = super().html(result, room)
        tables = object_tables.html(result) + classes.html(result)
        return HtmlSections(strips, tables + own.figures, own.causes)

    def wrote(self, columns: Collection[str]) -> bool:
        """Pixels that keep their label, or sequences."""
        return "kept" in columns or super().wrote(columns)

    def sample(self, row: Mapping[str, str]) -> Sample:
        """What is kept is mASCC and mASSC, what is not the flip rate."""
        kept = real(row.get("kept", ""))
        if kept is None:
            return super().sample(row)
        figures = {"mascc": kept, "massc": kept, "flip_rate": 1 - kept}
        return MeanSample(figures, bool(whole(row["nonfinite"])))


TASK = Segmentation()
