"""verify: a file whose preprocessing says that it chooses among crops of its input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import inf

from torch import Tensor

from equiaudit.errors import InputError
from equiaudit.models.running import sample_of
from equiaudit.models.types import Model
from equiaudit.repair.outputs.run import every_run
from equiaudit.repair.save.formats import Run
from equiaudit.repair.verify.compare import label_threshold
from equiaudit.repair.verify.crops import Moved
from equiaudit.results.repair import Verification
from equiaudit.tasks import TASKS


def verify_crops(
    model: Model,
    against: Model | None,
    images: Mapping[str, Tensor],
    positions: Sequence[tuple[str, str]] = (),
    *,
    comparisons: int,
    seed: int,
    until: float = inf,
) -> Verification:
    """The promise of crop-select, `Moved`, for images (C, H, W) of the model's own input size.

    `against`, of the window's size, sees the middle crop. Raises InputError where its size is
    another one, and for `positions`, since the main output alone is compared.
    """
    how = model.preprocess
    if positions:
        raise InputError(
            f"{model.name} chooses among crops, and its main output alone is compared.",
            tip="Leave --positions out.",
        )
    margin = how.crop_margin
    window = how.size[0] - margin, how.size[1] - margin
    check = Moved(
        margin, window, TASKS[model.task].maps, label_threshold(model), votes=how.crop_votes
    )
    found = check(
        model.run,
        None if against is None else _on_the_middle(against, margin, window),
        images,
        device=str(model.device),
        comparisons=comparisons,
        seed=seed,
        subject=model.name,
        until=until,
    )
    every = every_run(model, partial(sample_of, how))
    if every is None or len(every.names) < 2:
        return found
    warning = f"It returns {len(every.names)} outputs; the main one alone is compared."
    return found.model_copy(update={"warnings": (*found.warnings, warning)})


def _on_the_middle(against: Model, margin: int, window: tuple[int, int]) -> Run:
    how = against.preprocess
    if how.size != window:
        height, width = how.size
        raise InputError(
            f"The model to compare with takes {height}x{width} px, and the one to verify chooses"
            f" among crops of {window[0]}x{window[1]} px.",
            tip="Compare with the model that it was made of.",
        )
    first = margin // 2

    def run(batch: Tensor) -> Tensor:
        rows = batch[:, :, first : first + window[0]]
        crop = rows[..., first : first + window[1]].contiguous()
        return against.run(crop.to(how.tensor_dtype))

    return run
