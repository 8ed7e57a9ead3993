"""What `fix` trains with: the images, the stages, and the net's own kind of output."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from equiaudit.api.reading import Reading, open_data
from equiaudit.audit.observer import Observer
from equiaudit.config import flag_name
from equiaudit.errors import InputError
from equiaudit.repair.options import Stages
from equiaudit.tasks import TASKS

if TYPE_CHECKING:
    from torch import fx

    from equiaudit.data import Dataset
    from equiaudit.models import Model
    from equiaudit.repair import Recover
    from equiaudit.results.repair import TrainingRecord
    from equiaudit.training import Examples, TrainingOptions

_SAME_IMAGES = (
    "trained on the images of --data, so what is measured on them afterwards says little of other"
    " images; give --train-data DIR to train on others"
)


@dataclass(frozen=True)
class Training(Stages):
    """The stages that were asked for, and the images for them.

    `data` is --data, which is trained on where there is no other;
    the labels of `reading` belong to the latter.
    """

    data: str | Path | None = None
    reading: Reading = field(default_factory=Reading)
    seed: int = 0

    @property
    def wanted(self) -> bool:
        """Whether any stage was asked for."""
        return bool(self.calibrate or self.distil or self.finetune)

    def checked(self) -> None:
        """InputError where images were not given, or what only training reads was."""
        if not self.wanted:
            self._require_unset()
        elif self.train_data is None and self.data is None:
            raise InputError("Training needs images.", tip="Add --train-data DIR, or --data DIR.")

    def _require_unset(self) -> None:
        """InputError for a setting that nothing reads where no stage was asked for."""
        for name in ("train_data", "train_limit", "learning_rate", "train_zero_pad"):
            if getattr(self, name) is not None:
                raise InputError(
                    f"--{flag_name(name)} is read by training alone.",
                    tip="Add --calibrate, --distil N or --finetune N.",
                )

    def recover(self, model: Model, out: Path | None, observer: Observer) -> Recover:
        """Train with all of it, the state kept beside `out` until `discard` removes it."""

        def run(
            fixed: fx.GraphModule, original: fx.GraphModule
        ) -> tuple[fx.GraphModule, TrainingRecord]:
            from equiaudit.training import recover

            examples = self._examples(model, observer)
            options = self._options(model, out)
            losses = TASKS[model.task].losses(probabilities=model.outputs_probabilities)
            graph, record = recover(fixed, original, examples, options, observer, losses=losses)
            left_out = tuple(f"{s.name} was left out: {s.reason}" for s in examples.skipped)
            shared = (_SAME_IMAGES,) if self.train_data is None else ()
            notes = (*shared, *record.notes, *left_out)
            return graph, record.model_copy(update={"notes": notes})

        return run

    def discard(self, out: Path | None) -> None:
        """Remove the state that was kept beside `out`."""
        from equiaudit.training import discard

        discard(_beside(out))

    def _options(self, model: Model, out: Path | None) -> TrainingOptions:
        from equiaudit.training import TrainingOptions

        options = TrainingOptions(
            calibrate=self.calibrate,
            distil=self.distil,
            finetune=self.finetune,
            seed=self.seed,
            device=str(model.device),
            checkpoint=_beside(out),
            zero_pad=self.train_zero_pad,
        )
        if self.learning_rate is None:
            return options
        return replace(options, distil_rate=self.learning_rate, finetune_rate=self.learning_rate)

    def _examples(self, model: Model, observer: Observer) -> Examples:
        from equiaudit.audit.geometry import geometry
        from equiaudit.training import load_examples

        observer.note("reading the images to train on")
        how = model.preprocess
        wanted = replace(geometry(how, 0), room=max(how.size))
        return load_examples(self._dataset(model), wanted, how)

    def _dataset(self, model: Model) -> Dataset:
        folder, reading = self.train_data, replace(self.reading, labels=None)
        if folder is None:
            folder, reading = self.data or "", self.reading
        return open_data(model, folder, reading, self.train_limit, self.seed)


def _beside(out: Path | None) -> Path | None:
    return None if out is None else out.with_name(f"{out.name}.training.safetensors")
