"""What the package may ask a task; a folder beside this file answers for each.

Nothing here imports torch, nor do the answers until a model is run: `audit` and `losses` load the
heavy half of the folder.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from equiaudit.errors import InputError
from equiaudit.tasks.samples import MeanSample, Sample, real, whole
from equiaudit.tasks.sections import HtmlSections, Section

if TYPE_CHECKING:
    from torch import Tensor

    from equiaudit.audit.options import ScanOptions
    from equiaudit.audit.task import TaskAudit
    from equiaudit.data import Dataset, Place
    from equiaudit.data.reading import Reading
    from equiaudit.models.types import Model
    from equiaudit.results import MetricInfo, Result
    from equiaudit.shifts import ShiftPlan
    from equiaudit.training.losses import Losses


@dataclass(frozen=True)
class TruthWords:
    """How one speaks of what is known to be right of an image."""

    many: str
    """"labels", "masks"."""
    known: str
    """Of images that have it: "labelled", "masks"."""
    tip: str
    """Where it comes from."""


@dataclass(frozen=True)
class Measure:
    """The metric that a finding is about, and how it is said."""

    metric: str
    of_what: str
    """What the figure is a share of, or its name: "of labels change", "NMSE"."""
    sentence: Callable[[float, str], str]
    """(change, "moved by up to 16 px") -> "1 image in 14 changes its label when moved ..."."""
    kept: bool = False
    """The metric counts what stays, and the finding what changes."""
    unit: str = "image"
    also: tuple[tuple[str, str], ...] = ()
    """Metrics that are said beside it, where they are above 0, each with its words:
    "of images at some move"."""


class Task(ABC):
    """Everything that differs between tasks."""

    name: ClassVar[str]
    """As `--task` and results have it."""
    audited_by: ClassVar[str]
    """module:class of the `TaskAudit`, which is imported when a model runs."""
    reported_by: ClassVar[str] = ""
    """The module whose `sections` and `html` are the task's, where it has them."""

    # What a model returns.
    output: ClassVar[str]
    """The shape in words: "scores (N, classes)"."""
    returns: ClassVar[str]
    """As in "the model returns images"."""
    guessed: ClassVar[bool] = False
    """Outputs that fit are taken for this task's where none was named."""
    declared: ClassVar[bool] = False
    """Outputs are its only where a declaration, metadata or the type of what is returned say so."""
    maps: ClassVar[bool] = False
    """Outputs (N, C, h, w) move with the image; else a shift should leave them as they are."""
    scores: ClassVar[bool] = False
    """Axis 1 holds a score per class."""
    exclusive: ClassVar[bool] = True
    """Of those, one is right: probabilities add up to 1."""
    paired: ClassVar[bool] = False
    """Its audit compares shifted outputs with one another, and does so for contrasts too."""
    all_images: ClassVar[bool] = False
    """Its audit asks for all images of the data set, also where it runs on some of them."""
    whole_numbers: ClassVar[bool] = False
    """Outputs may be integers."""
    decides: ClassVar[Literal["", "second", "each"]] = ""
    """What --threshold decides: the second of two classes, or each class by itself; "" nothing."""
    protocols: ClassVar[tuple[str, ...]] = ()
    """The published protocols that outputs can be judged by."""

    # What is measured, and how it is said.
    metrics: ClassVar[tuple[MetricInfo, ...]]
    """In the order of the tables."""
    leading: ClassVar[tuple[str, ...]]
    """The metrics that tell whether samples are of a result, the first that is there."""
    change: ClassVar[str]
    """The metric that causes and profiles are in the unit of."""
    subject: ClassVar[str]
    """What a shift changes, as in "what changes the label"."""
    measures: ClassVar[tuple[Measure, ...]]
    """What findings are about; the first that a result has."""
    about: ClassVar[tuple[tuple[str, str], ...]] = ()
    """The terms of the report that are the task's own: (term, meaning)."""
    truth: ClassVar[TruthWords]
    means: ClassVar[tuple[str, ...]] = ()
    """The metrics that are means of the column of that name in samples.csv."""

    @abstractmethod
    def fits(self, output: Tensor) -> bool:
        """Whether numbers (N, ...) of at least two axes may be outputs of N images."""

    def taken(self, output: Tensor) -> Tensor:
        """A fitting output in the shape that `audit` expects."""
        return output

    @abstractmethod
    def open(
        self, model: Model, data: str | Place, reading: Reading, limit: int | None, seed: int
    ) -> Dataset:
        """The images of `data` with what is known of them; InputError for what does not fit."""

    def told_by(self, data: str | Place) -> str:
        """Why `data` makes outputs this task's that were guessed to be another's; "" if not."""
        return ""

    def unsettled(self, data: str | Place) -> str:
        """What to note where a guess of this task rests on the shape of outputs alone."""
        return ""

    def audit(
        self, model: Model, dataset: Dataset, plan: ShiftPlan, options: ScanOptions
    ) -> TaskAudit[Any]:
        """How outputs are compared, and what becomes of the records; for one run."""
        module, _, name = self.audited_by.partition(":")
        made: TaskAudit[Any] = getattr(import_module(module), name)(model, dataset, plan, options)
        return made

    def losses(self, *, probabilities: bool) -> Losses:
        """What recovery minimises, where outputs are `probabilities` already and where not."""
        raise InputError(
            f"How to train a model that returns {self.returns} is not known.",
            tip="Leave --calibrate, --distil and --finetune out.",
        )

    def sections(self, result: Result, *, narrow: bool) -> Iterable[Section]:
        """Tables of the report that are the task's own; `narrow` for 80 columns."""
        if not self.reported_by:
            return ()
        found: Iterable[Section] = import_module(self.reported_by).sections(result, narrow=narrow)
        return found

    def html(self, result: Result, room: int) -> HtmlSections:
        """The same in HTML, with pictures as long as `room` bytes last."""
        if not self.reported_by:
            return HtmlSections()
        found: HtmlSections = import_module(self.reported_by).html(result, room)
        return found

    def wrote(self, columns: Collection[str]) -> bool:
        """Whether a samples.csv with these columns is the task's."""
        return bool(self.means) and set(self.means[:1]) <= set(columns)

    def sample(self, row: Mapping[str, str]) -> Sample:
        """One row of samples.csv; KeyError or ValueError for a cell that cannot be read."""
        cells = {name: real(row[name]) for name in self.means if name in row}
        known = {name: value for name, value in cells.items() if value is not None}
        return MeanSample(known, bool(whole(row["nonfinite"])))
