"""verify and fix: capture -> analyse -> convert -> recover -> verify -> save -> verify."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from equiaudit._version import __version__
from equiaudit.errors import InputError, NothingToDo
from equiaudit.graphs.outputs import graph_outputs
from equiaudit.models.stated_reading import known_reading, with_reading
from equiaudit.models.types import Model, Preprocess
from equiaudit.repair.cost import costs
from equiaudit.repair.for_runtimes import add_tables, judged, runtime_notes, subject_in
from equiaudit.repair.methods import (
    METHODS,
    Converted,
    FixOptions,
    Recipe,
    Recover,
    Subject,
    method,
)
from equiaudit.repair.methods.further import Further
from equiaudit.repair.options import checked_out
from equiaudit.repair.outputs.declared import declared_as
from equiaudit.repair.save.formats import Run
from equiaudit.repair.save.in_runtimes import control_of, elsewhere
from equiaudit.repair.save.onnx_net import OnnxNet
from equiaudit.repair.save.write import Saved
from equiaudit.repair.verify.boxes import verify_boxes
from equiaudit.repair.verify.budget import along_of, budget_of
from equiaudit.repair.verify.circular import verify
from equiaudit.repair.verify.compare import label_threshold
from equiaudit.repair.verify.crop_files import verify_crops
from equiaudit.repair.verify.every_output import EveryOutput
from equiaudit.repair.verify.further import returns_several, with_every_output
from equiaudit.repair.verify.images import example_images, verification_images
from equiaudit.results.repair import Candidate, Claim, FixReport, Verification
from equiaudit.tasks import TASKS

__all__ = [
    "FixOptions",
    "Recover",
    "checked_request",
    "fix",
    "verify_model",
]

Images = Mapping[str, torch.Tensor]
GetImages = Callable[[Preprocess], Images]


def fix(
    model: Model,
    out: Path | str | None,
    options: FixOptions | None = None,
    *,
    images: Images | GetImages | None = None,
    recover: Recover | None = None,
    progress: Callable[[str], None] | None = None,
) -> FixReport:
    """Convert `model`, verify the graph, write it to `out`, verify the file, and report.

    `images` are (C, H, W) and already prepared, or a function that prepares them for the input
    of the fixed model, which may be larger; the synthetic set is added to them. `recover`
    trains the converted graph before it is verified. `progress` is told each step in a few
    words. With `options.dry_run` nothing is converted or written, and `out` may be None; where
    the method does not fit, the report says why and which do. A conversion that claims to be
    exact and does not verify lies at ``OUT.unverified``, and the report says which check failed;
    one that claims nothing is written as measured.

    Raises NothingToDo where nothing needs fixing or the conversion is refused, and
    InputError where `out` or a setting is wrong.
    """
    options = options or FixOptions()
    say = progress or (lambda step: None)
    recipe = method(options.method)
    target = checked_request(out, options, trains=recover is not None)
    say("capturing the graph")
    subject = Subject(model, options.padding, _prepared(images), options.runtimes)
    if options.dry_run or target is None:
        return _planned(recipe, subject, options)
    _refuse(recipe, subject, options)
    say("rewriting")
    converted = recipe.convert(subject, options, recover)
    given = images(converted.preprocess) if callable(images) else images
    job = _Job(recipe, subject, options, given, converted)
    say("verifying the converted graph")
    before_saving = job.verify_graph()
    say(f"writing {target.name} and verifying the file")
    saved, after_saving = job.save(target, before_saving)
    say("measuring the cost")
    return job.report(saved, (*before_saving, *after_saving))


def _prepared(images: Images | GetImages | None) -> GetImages | None:
    if images is None or callable(images):
        return images
    return lambda how: images


def checked_request(
    out: Path | str | None, options: FixOptions, *, trains: bool = False
) -> Path | None:
    """The file to write, None for a dry run without one.

    Raises InputError for all that can be told without the model: a method or an option that there
    is not, options that do not go together, a file that cannot be written.
    """
    method(options.method).checked(options, trains=trains)
    return checked_out(out, options)


def verify_model(
    model: Model,
    *,
    against: Model | None = None,
    images: Images | None = None,
    positions: Sequence[tuple[str, str]] = (),
    comparisons: int | None = None,
    seconds: float = 60.0,
    seed: int = 0,
) -> Verification:
    """Check a model as it is, on its own device; `against` is the unmodified one (control).

    Every output counts: maps and what `positions` names have to move with the image, the others
    to stay. Of a detector boxes are compared. Under a model that says that it chooses among crops
    content moves within its margin instead. Where the model's total stride is not known, every
    shift of the torus counts as a phase of its own. Raises InputError for an output that cannot be
    read (see `positions`).
    """
    if model.reading and positions:
        raise InputError(
            f"{model.name} is {model.reading.partition(':')[0]}, whose boxes are compared as it"
            " says.",
            tip="Leave --positions out.",
        )
    how = model.preprocess
    several = returns_several(model)
    stride = model.total_stride or how.size
    budget = budget_of(
        model.run,
        verification_images(how, images),
        seconds / 2 if several else seconds,
        model.device,
        comparisons,
        along=sum(stride) - 2,
    )
    pictures, affordable, until = budget.images, budget.comparisons, budget.until
    if how.crop_margin:
        found = verify_crops(
            model, against, pictures, positions, comparisons=affordable, seed=seed, until=until
        )
        return budget.said(found)
    if model.reading:
        found = verify_boxes(
            model, against, pictures, comparisons=affordable, seed=seed, until=until
        )
        return budget.said(found)
    control = None if against is None else _taking(against, how.dtype)
    found = verify(
        model.run,
        control,
        pictures,
        total_stride=stride,
        dense=TASKS[model.task].maps,
        threshold=label_threshold(model),
        device=model.device,
        comparisons=affordable,
        seed=seed,
        subject=model.name,
        until=until,
    )
    # Each of the two looks has half of the time.
    again = until + seconds / 2 if several else until
    every = with_every_output(
        found, model, against, pictures, positions, comparisons=affordable, seed=seed, until=again
    )
    return budget.said(every)


@dataclass(frozen=True)
class _Job:
    """One conversion, from the converted net on."""

    recipe: Recipe
    subject: Subject
    options: FixOptions
    images: Images | None
    converted: Converted

    def verify_graph(self) -> tuple[Verification, ...]:
        """On every device asked for that it runs on."""
        net = self.converted.net
        wanted = self.options.devices or _devices()
        return tuple(self._verify(net.on(device), device) for device in net.devices(wanted))

    def save(
        self, target: Path, earlier: Sequence[Verification]
    ) -> tuple[Saved, tuple[Verification, ...]]:
        """Write the net; where exactness is claimed, the file counts only if all verified."""
        records: list[Verification] = []
        control = self.subject.control(self.converted.original)

        def check(run: Run) -> str | None:
            records.append(self._verify(run, "cpu", "saved file", control))
            for output in self._further:
                alone = replace(self, converted=output.alone(self.converted))
                name = f"saved file's output {output.name!r}"
                records.append(alone._verify(output.of(run), "cpu", name, output.of(control)))
            for label, there in elsewhere(run).items():
                records.append(self._verify_in(label, there, control_of(control, label)))
            return next(
                (_failure(record) for record in (*earlier, *records) if record.broken), None
            )

        how = self.converted.preprocess
        example = torch.stack(list(example_images(how, self.images)))
        how = with_reading(how, self._reading(target))
        saved = self.converted.net.save(target, example=example, preprocess=how, check=check)
        add_tables(saved.companions, self.options.runtimes)
        return saved, tuple(records)

    def _verify_in(self, label: str, run: Run, control: Run) -> Verification:
        return judged(self._verify(run, "cpu", subject_in(label), control))

    def _reading(self, target: Path) -> dict[str, Any]:
        """How the outputs of the file at `target` are read: as those of the model it is made of."""
        subject = self.subject
        model, named = subject.model, target.suffix.lower() == ".onnx"
        found = known_reading(model)
        if model.detector:
            found["detector"] = declared_as(model, subject.every, named=named)
        if "output" in found and not (named and model.kind == "onnx"):
            net = self.converted.net
            several = net.graph is None or len(graph_outputs(net.graph)) > 1
            place = 0 if isinstance(net, OnnxNet) else subject.main_place
            found["output"] = str(place) if several else ""
        return {key: value for key, value in found.items() if value}

    def report(self, saved: Saved, verifications: tuple[Verification, ...]) -> FixReport:
        """All of it as a result."""
        converted = self.converted
        # A typical image: a blank one, where the choice of an origin is tied, takes longer.
        batch = example_images(converted.preprocess, self.images, 1)[0][None]
        source = self.subject.model
        before, after = costs(converted.original, converted.net, batch, source, saved)
        return _report(
            self.recipe,
            self.subject,
            self.options,
            "written" if saved.verified else "unverified",
            output=str(saved.path),
            output_sha256=saved.sha256,
            companions=tuple(map(str, saved.companions)),
            reason=saved.reason,
            verifications=verifications,
            cost_before=before,
            cost_after=after,
            training=converted.training,
            input_size=converted.preprocess.size,
            agreement=converted.agreement,
            notes=(*converted.notes, *runtime_notes(self.options.runtimes, verifications)),
        )

    def _pictures(self) -> dict[str, torch.Tensor]:
        return verification_images(self.converted.preprocess, self.images)

    def _share(self, of_file: bool) -> float:
        """Seconds for one of the verifications: `FixOptions.seconds` are for all of them.

        The file, which is what counts, has twice the time of the graph on a device.
        """
        net = self.converted.net
        of_graph = len(net.devices(self.options.devices or _devices()))
        files = 1 + len(self._further) + len(self.options.runtimes)
        part = self.options.seconds / (of_graph + 2 * files)
        return 2 * part if of_file else part

    @property
    def _further(self) -> tuple[Further, ...]:
        """The outputs that have to be looked at by themselves."""
        if isinstance(self.converted.check, EveryOutput):
            return ()
        return self.subject.further_outputs(self.converted.net)

    @property
    def _claim(self) -> Claim:
        return self.recipe.promise(self.subject, self.options)

    def _verify(
        self,
        run: Run,
        device: str,
        subject: str = "converted graph",
        control: Run | None = None,
    ) -> Verification:
        options = self.options
        seconds = self._share(of_file=control is not None)
        along = along_of(self.converted.check, self.converted.preprocess.size)
        budget = budget_of(run, self._pictures(), seconds, device, options.comparisons, along=along)
        found = budget.said(
            self.converted.check(
                run,
                control or self.converted.original.on(device),
                budget.images,
                device=device,
                comparisons=budget.comparisons,
                seed=options.seed,
                subject=subject,
                until=budget.until,
            )
        )
        return found.model_copy(update={"claimed": self._claim.exact})


def _taking(model: Model, dtype: str) -> Run:
    """The model on images prepared for another one, whose dtype may differ."""
    own = model.preprocess.tensor_dtype
    if dtype == model.preprocess.dtype:
        return model.run
    return lambda batch: model.run(batch.to(own))


def _refuse(recipe: Recipe, subject: Subject, options: FixOptions) -> None:
    misfit = recipe.misfit(subject, options)
    if misfit is not None:
        raise NothingToDo(misfit.reason, tip=misfit.remedy)
    recipe.left_out(subject, options)  # raises where the globs match no op, or leave none
    subject.check_declaration()


def _planned(recipe: Recipe, subject: Subject, options: FixOptions) -> FixReport:
    """What a dry run says: whether the method fits, and which others do."""
    misfit = recipe.misfit(subject, options)
    candidates = tuple(_candidate(name, subject, options) for name in METHODS)
    plan = _report(recipe, subject, options, "planned", candidates=candidates)
    if misfit is None:
        return plan
    reason = str(NothingToDo(misfit.reason, tip=misfit.remedy))
    return plan.model_copy(update={"claim": None, "reason": reason})


def _candidate(name: str, subject: Subject, options: FixOptions) -> Candidate:
    """Whether a method fits, without measuring it."""
    recipe = method(name)
    own = recipe.own(options)
    misfit = recipe.misfit(subject, own)
    reason, remedy = (None, None) if misfit is None else (misfit.reason, misfit.remedy)
    return Candidate(method=name, claim=recipe.claim(own), reason=reason, remedy=remedy)


def _report(
    recipe: Recipe,
    subject: Subject,
    options: FixOptions,
    outcome: Literal["written", "unverified", "planned"],
    **found: object,
) -> FixReport:
    return FixReport.model_validate(
        {
            "tool_version": __version__,
            "outcome": outcome,
            "method": recipe.name,
            "select": options.select if "select" in recipe.understands else None,
            "claim": recipe.promise(subject, options),
            "left_out": recipe.left_out(subject, options),
            "rewrites": recipe.core is not None,
            "inspection": subject.inspection,
            **found,
        }
    )


def _failure(record: Verification) -> str:
    if record.faults:
        return f"The {record.subject} does not verify: {'; '.join(record.faults)}"
    errors = record.figures
    return (
        f"The {record.subject} does not verify on {record.device}: {errors.comparisons_exact} of"
        f" {errors.comparisons} comparisons are bit-equal, the worst error is"
        f" {errors.worst_relative:.1e} of the output range, {errors.label_changes} labels change"
    )


def _devices() -> tuple[str, ...]:
    return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
