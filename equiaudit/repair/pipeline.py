"""verify and fix: capture -> analyse -> rewrite -> verify -> save -> verify."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import fx

from equiaudit._version import __version__
from equiaudit.errors import InputError, NothingToDo
from equiaudit.models.types import Model, Preprocess
from equiaudit.repair.analyse import Analysis, analyse
from equiaudit.repair.capture import capture
from equiaudit.repair.cost import costs
from equiaudit.repair.formats import Run, file_format
from equiaudit.repair.inspection import captured_graph, inspection_of
from equiaudit.repair.margins import selection_margin
from equiaudit.repair.pictures import example_images, verification_images
from equiaudit.repair.rewrite import rewrite
from equiaudit.repair.save import Saved, save
from equiaudit.repair.verify import verify
from equiaudit.results.repair import FixReport, Inspection, Verification
from equiaudit.sampling.canonical import Canonical

__all__ = ["METHODS", "FixOptions", "fix", "verify_model"]

METHODS = ("mass", "canonical")
_PROBE = 8
_LEAST, _MOST = 64, 20_000

Select = Literal["features", "input"]
Images = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class FixOptions:
    """How to convert and how hard to check.

    `only` and `skip` are globs over node names and module paths. `comparisons` bounds each
    verification (see `verify`); where it is None, as many are made as take about `seconds`.
    `devices` are those to verify on; None means the CPU, and CUDA where there is one.
    """

    method: str = "mass"
    select: Select = "features"
    only: str | Sequence[str] | None = None
    skip: str | Sequence[str] | None = None
    comparisons: int | None = None
    seconds: float = 20.0
    seed: int = 0
    devices: tuple[str, ...] | None = None
    dry_run: bool = False


def fix(
    model: Model,
    out: Path | str | None,
    options: FixOptions | None = None,
    *,
    images: Images | None = None,
    progress: Callable[[str], None] | None = None,
) -> FixReport:
    """Convert `model`, verify the graph, write it to `out`, verify the file, and report.

    `images` are (C, H, W) and already prepared; the synthetic set is added to them.
    `progress` is told each step in a few words. With `options.dry_run` nothing is converted
    or written, and `out` may be None. A conversion that does not verify lies at
    ``OUT.unverified`` and the report says which check failed.

    Raises NothingToDo where nothing needs fixing or the conversion is refused, and
    InputError where `out` or a setting is wrong.
    """
    options = options or FixOptions()
    say = progress or (lambda step: None)
    target = _checked_target(out, options)
    say("capturing the graph")
    captured = captured_graph(model)
    analysis = analyse(captured.graph_module)
    inspection = inspection_of(model, captured, analysis)
    if options.method == "mass":
        _refuse(inspection, analysis)
    if options.dry_run or target is None:
        return _report(options, inspection, "planned")
    say("rewriting")
    graph = captured.graph_module
    dense = model.task != "classification"
    if options.method == "canonical":
        fixed, stride = _canonical(graph, model, dense), model.preprocess.size
    else:
        fixed, stride = _mass(graph, analysis, options), analysis.total_stride
    job = _Job(model.preprocess, graph, fixed, stride, dense, options, images)
    say("verifying the converted graph")
    before_saving = job.verify_graph()
    say(f"writing {target.name} and verifying the file")
    saved, after_saving = job.save(target, before_saving)
    say("measuring the cost")
    return job.report(model, inspection, saved, (*before_saving, *after_saving))


def verify_model(
    model: Model,
    *,
    against: Model | None = None,
    images: Images | None = None,
    comparisons: int | None = None,
    seconds: float = 60.0,
    seed: int = 0,
) -> Verification:
    """Check a model as it is, on its own device; `against` is the unmodified one (control).

    Where the model's total stride is not known, every shift of the torus counts as a phase
    of its own.
    """
    how = model.preprocess
    pictures = verification_images(how, images)
    affordable = comparisons or _affordable(model.run, pictures, seconds, model.device)
    return verify(
        model.run,
        None if against is None else against.run,
        pictures,
        total_stride=model.total_stride or how.size,
        dense=model.task != "classification",
        device=model.device,
        comparisons=affordable,
        seed=seed,
        subject=model.name,
    )


@dataclass(frozen=True)
class _Job:
    """One conversion, from the rewritten graph on."""

    preprocess: Preprocess
    original: fx.GraphModule
    fixed: fx.GraphModule
    total_stride: tuple[int, int]
    """Shifts that are multiples of it may be left out; all count for canonical."""
    dense: bool
    options: FixOptions
    images: Images | None

    def verify_graph(self) -> tuple[Verification, ...]:
        """On every device asked for."""
        return tuple(
            self._verify(_on(self.fixed, device), _on(self.original, device), device)
            for device in self.options.devices or _devices()
        )

    def save(
        self, target: Path, earlier: Sequence[Verification]
    ) -> tuple[Saved, tuple[Verification, ...]]:
        """Write the graph; the file counts only if it and the graph both verified."""
        records: list[Verification] = []

        def check(run: Run) -> str | None:
            records.append(self._verify(run, self.original, "cpu", "saved file"))
            return next(
                (_failure(record) for record in (*earlier, *records) if not record.passed), None
            )

        example = torch.stack(list(example_images(self.preprocess, self.images)))
        saved = save(self.fixed, target, example=example, preprocess=self.preprocess, check=check)
        return saved, tuple(records)

    def report(
        self,
        model: Model,
        inspection: Inspection,
        saved: Saved,
        verifications: tuple[Verification, ...],
    ) -> FixReport:
        """All of it as a result."""
        batch = next(iter(self._pictures().values()))[None]
        before, after = costs(self.original, self.fixed, batch, model.path)
        return _report(
            self.options,
            inspection,
            "written" if saved.verified else "unverified",
            output=str(saved.path),
            output_sha256=saved.sha256,
            companions=tuple(map(str, saved.companions)),
            reason=saved.reason,
            verifications=verifications,
            cost_before=before,
            cost_after=after.model_copy(update={"bytes": saved.path.stat().st_size}),
        )

    def _pictures(self) -> dict[str, torch.Tensor]:
        return verification_images(self.preprocess, self.images)

    def _verify(
        self, run: Run, original: Run, device: str, subject: str = "converted graph"
    ) -> Verification:
        pictures = self._pictures()
        options = self.options
        affordable = options.comparisons or _affordable(run, pictures, options.seconds, device)
        return verify(
            run,
            original,
            pictures,
            total_stride=self.total_stride,
            dense=self.dense,
            device=device,
            comparisons=affordable,
            seed=options.seed,
            margin=self._margin(run),
            subject=subject,
        )

    def _margin(self, run: Run) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """How clearly origins are decided, for the graph that was rewritten in this process."""
        by_features = self.options.method == "mass" and self.options.select == "features"
        if not by_features or not isinstance(run, fx.GraphModule):
            return None
        return partial(selection_margin, run)


def _mass(graph: fx.GraphModule, analysis: Analysis, options: FixOptions) -> fx.GraphModule:
    return rewrite(graph, analysis, select=options.select, only=options.only, skip=options.skip)


def _canonical(graph: fx.GraphModule, model: Model, dense: bool) -> fx.GraphModule:
    """The unmodified graph behind a roll of its input, as one graph again."""
    how = model.preprocess
    wrapped = Canonical(graph, dense=dense)
    return capture(
        wrapped,
        size=how.size,
        channels=1 if how.channels == "gray" else 3,
        dtype=getattr(torch, how.dtype),
    ).graph_module


def _checked_target(out: Path | str | None, options: FixOptions) -> Path | None:
    if options.method not in METHODS:
        raise InputError(
            f"There is no method {options.method!r}.", tip=f"There is {', '.join(METHODS)}."
        )
    if options.method != "mass" and (options.only or options.skip):
        raise InputError(f"--only and --skip choose ops, and {options.method} changes none.")
    if out is None:
        if options.dry_run:
            return None
        raise InputError("fix needs a file to write.", tip="Add -o OUT, or --dry-run.")
    file_format(Path(out))
    return Path(out)


def _refuse(inspection: Inspection, analysis: Analysis) -> None:
    if analysis.refusals:
        first = analysis.refusals[0]
        where = f"{first.module} ({first.node})" if first.module else first.node
        more = len(analysis.refusals) - 1
        others = f" ({more} more: see inspect)" if more else ""
        raise NothingToDo(
            f"{inspection.model} cannot be converted exactly: {where}: {first.reason}{others}.",
            tip=f"{first.remedy[:1].upper()}{first.remedy[1:]}.",
        )
    if not inspection.needs_fixing:
        raise NothingToDo(f"Nothing in {inspection.model} breaks equivariance to circular shifts.")


def _report(
    options: FixOptions,
    inspection: Inspection,
    outcome: Literal["written", "unverified", "planned"],
    **found: object,
) -> FixReport:
    return FixReport.model_validate(
        {
            "tool_version": __version__,
            "outcome": outcome,
            "method": options.method,
            "select": options.select if options.method == "mass" else "input",
            "inspection": inspection,
            **found,
        }
    )


def _failure(record: Verification) -> str:
    errors = record.figures
    return (
        f"The {record.subject} does not verify on {record.device}: {errors.comparisons_exact} of"
        f" {errors.comparisons} comparisons are bit-equal, the worst error is"
        f" {errors.worst_relative:.1e} of the output range, {errors.label_changes} labels change"
    )


def _devices() -> tuple[str, ...]:
    return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


def _on(graph: fx.GraphModule, device: str) -> fx.GraphModule:
    return graph if device == "cpu" else copy.deepcopy(graph).to(device)


def _affordable(
    run: Callable[[torch.Tensor], object],
    images: Images,
    seconds: float,
    device: torch.device | str,
) -> int:
    """How many comparisons take about `seconds`, from the time of one batch.

    The unshifted passes and those of the control take their share first.
    """
    batch = torch.stack(list(images.values())[:_PROBE]).to(device)
    with torch.inference_mode():
        run(batch)
        start = time.perf_counter()
        run(batch)
        if batch.device.type == "cuda":
            torch.cuda.synchronize(batch.device)
        taken = time.perf_counter() - start
    passes = seconds * len(batch) / max(taken, 1e-6) - 2 * len(images)
    return int(min(_MOST, max(_LEAST, passes / 1.25)))
