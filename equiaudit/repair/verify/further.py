"""verify: the outputs of a model besides the main one, and whether that is what it is read as."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf

import torch
from torch import Tensor

from equiaudit.errors import InputError
from equiaudit.models.running import sample_of
from equiaudit.models.types import Model
from equiaudit.repair.outputs.following import every_following
from equiaudit.repair.outputs.roles import Refused, read_outputs, told_of
from equiaudit.repair.outputs.run import EveryRun, every_run
from equiaudit.repair.verify.every_output import EveryOutput, faults
from equiaudit.repair.verify.images import with_objects
from equiaudit.results.repair import Verification
from equiaudit.sampling.positions import Map, Role
from equiaudit.tasks import TASKS

Images = Mapping[str, Tensor]


def returns_several(model: Model) -> bool:
    """Whether outputs beside the main one count: boxes are read as one."""
    every = None if model.reading else _every(model)
    return every is not None and len(every.names) > 1


def with_every_output(
    found: Verification,
    model: Model,
    against: Model | None,
    images: Images,
    positions: Sequence[tuple[str, str]],
    *,
    comparisons: int,
    seed: int,
    until: float = inf,
) -> Verification:
    """`found`, which is of the main output, held against the others and the unmodified model.

    A model of one output that nobody named is asked only whether the numbers of the unmodified
    one follow the image. Where there are several, the record is that of all.
    """
    every, control = _every(model), None if against is None else _every(against)
    if every is None:
        if positions:
            raise InputError(f"The outputs of {model.name} are not known, so none can be named.")
        return found
    if len(every.names) == 1 and not positions:
        return _of_one(found, every, control, model, images)
    roles = _roles(every, model, _with_units(positions, control or every, images))
    if control is not None and control.shapes[:] and len(control.names) != len(every.names):
        raise InputError(
            f"{model.name} returns {len(every.names)} outputs and the model it is compared with"
            f" {len(control.names)}: {', '.join(control.names)}.",
        )
    check = EveryOutput(model.preprocess.size, roles, every.names, every.batch)
    record = check(
        partial(_moved_to, every, model.device),
        None if control is None or against is None else partial(_moved_to, control, against.device),
        images,
        device=str(model.device),
        comparisons=comparisons,
        seed=seed,
        subject=model.name,
        until=until,
    )
    if found.figures.comparisons and not record.passed:
        return record
    return record.model_copy(
        update={"passed": record.passed and found.passed, "device": found.device}
    )


def _every(model: Model) -> EveryRun | None:
    return every_run(model, partial(sample_of, model.preprocess))


def _moved_to(
    every: Callable[[Tensor], Sequence[Tensor]], device: torch.device, x: Tensor
) -> object:
    return every(x.to(device))


def _of_one(
    found: Verification,
    every: EveryRun,
    control: EveryRun | None,
    model: Model,
    images: Images,
) -> Verification:
    if control is None or TASKS[model.task].maps:
        return found
    objects = {name: x.to(model.device) for name, x in with_objects(images).items()}
    size = model.preprocess.size
    wrong = faults(control, objects, (None,), every.names, size, control.batch)
    passed = found.passed and not wrong
    return found.model_copy(update={"faults": tuple(wrong), "passed": passed})


def _roles(every: EveryRun, model: Model, positions: Sequence[tuple[str, str]]) -> tuple[Role, ...]:
    """As `fix` reads them, by shapes and by what is said; the check asks the unmodified model."""
    names = every.names
    last = getattr(model, "output_layout", "NCHW") == "NHWC"
    main: Role = Map(channels_last=last) if TASKS[model.task].maps else None
    place = names.index(model.output) if model.output in names else 0
    told = told_of(names, positions, model.name)
    try:
        return read_outputs(
            every,
            told,
            {},
            main=(place, main),
            size=model.preprocess.size,
            model=model.name,
            channels_first=model.kind != "onnx",
        ).roles
    except Refused as refusal:
        raise InputError(refusal.misfit.reason, tip=refusal.misfit.remedy) from refusal


def _with_units(
    positions: Sequence[tuple[str, str]], asked: EveryRun, images: Images
) -> list[tuple[str, str]]:
    """Units that were not said, by the values of the unmodified model; else px."""
    told = told_of(asked.names, positions, "The unmodified model")
    open_ = {one.place: one.kind for one in told if one.kind is not None and one.unit is None}
    seen = every_following(asked, with_objects(images), [*open_], asked.batch) if open_ else {}
    units = {place: seen[place].unit(kind) for place, kind in open_.items() if place in seen}
    return [
        (name, f"{kind}:{units.get(one.place) or 'px'}" if one.place in open_ else kind)
        for (name, kind), one in zip(positions, told, strict=True)
    ]
