"""What `inspect`, `verify` and `fix` found, for a terminal or as json."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from pydantic import BaseModel
from rich.table import Table
from rich.text import Text

from equiaudit.kinds import KINDS
from equiaudit.report import comparing, figures
from equiaudit.report.elsewhere import beside_onnxruntime
from equiaudit.report.escape import terminal
from equiaudit.report.located import located_parts
from equiaudit.report.loss import cost_in_words
from equiaudit.report.operations import by_kind, by_stage, one_by_one
from equiaudit.report.parts import Part, bullets, counted, markdown, pair, sentence, table, text
from equiaudit.results.repair import (
    Claim,
    Cost,
    FixReport,
    Inspection,
    OpRow,
    ShiftErrors,
    Verification,
)
from equiaudit.tasks import columns

RepairFormat = Literal["text", "json", "md"]
_OUTCOMES = {
    "written": "Converted and verified",
    "unverified": "Converted, but not verified",
    "planned": "Planned, nothing written",
    "compared": "Compared, nothing written",
}


def render_inspection(
    inspection: Inspection,
    form: RepairFormat = "text",
    *,
    explain: bool = False,
    color: bool = False,
    width: int = 100,
) -> str:
    """The operations by stage, with `explain` one by one, and the refusals as sentences, or the
    record as json."""
    return _rendered(
        inspection, _inspection(inspection, one_by_one if explain else by_stage), form, color, width
    )


def render_verification(
    verification: Verification,
    form: RepairFormat = "text",
    *,
    color: bool = False,
    width: int = 100,
) -> str:
    """The verdict, its figures beside those of the control, and what was covered."""
    return _rendered(verification, _verification(verification), form, color, width)


def render_fix(
    report: FixReport,
    form: RepairFormat = "text",
    *,
    explain: bool = False,
    color: bool = False,
    width: int = 100,
) -> str:
    """The plan, what was verified, what it costs, and the metrics before and after.

    With `explain`, also what each kind of op in the plan becomes, and why.
    """
    return _rendered(report, _fix(report, explain), form, color, width)


def _rendered(
    record: BaseModel, parts: Iterable[Part], form: RepairFormat, color: bool, width: int
) -> str:
    if form == "json":
        return record.model_dump_json(indent=2) + "\n"
    if form == "md":
        return markdown(parts)
    return text(parts, color=color, width=width)


def _inspection(
    found: Inspection, operations: Callable[[Sequence[OpRow]], Table]
) -> Iterable[Part]:
    yield Text(_headline(found), style="bold")
    yield Text(_sizes(found))
    yield Text(f"Captured by: {terminal(found.route)}")
    if found.ops:
        yield operations(found.ops)
    if found.located is not None:
        yield from located_parts(found.located)
    yield from bullets(
        "Cannot be converted exactly",
        [f"{skipped.name}: {skipped.reason}" for skipped in found.refusals],
    )
    yield from bullets("Notes", found.notes)


def _left(found: Inspection) -> Iterable[Part]:
    """Of a net whose ops stay as they are, only what it takes."""
    yield Text(sentence(f"{found.model} itself stays as it is, every operation and every weight."))
    yield Text(_sizes(found))
    yield Text(f"Captured by: {terminal(found.route)}")


def _headline(found: Inspection) -> str:
    name = terminal(found.model)
    if not found.ops and not found.refusals:
        return f"{name}: no operation breaks equivariance to circular shifts."
    fixable = sum(row.fixable for row in found.ops)
    total = counted(len(found.ops), "operation matters", "operations matter")
    verdict = (
        "all can be converted" if found.convertible else "the model cannot be converted exactly"
    )
    share = "" if fixable == len(found.ops) else f", {len(found.ops) - fixable} of them refused"
    return f"{name}: {total} to shift equivariance{share}; {verdict}."


def _sizes(found: Inspection) -> str:
    size = f"Input {pair(found.input_size)}"
    if found.total_stride is None or found.size_multiple is None:
        return f"{size}, total stride not known."
    stride = f"{size}, total stride {pair(found.total_stride)}"
    if found.sizes_near:
        near = " or ".join(map(pair, found.sizes_near))
        return f"{stride}: the size does not fit, {near} would."
    return f"{stride}; sizes in multiples of {pair(found.size_multiple)} fit."


def _verifications(records: Sequence[Verification]) -> Iterable[Part]:
    """In full that of what was written, and whatever did not pass; a line for the others."""
    for record in records:
        yield Text("")
        if record is records[-1] or not record.passed:
            yield from _verification(record)
        else:
            yield Text(
                f"Verification of the {terminal(record.subject)} on {terminal(record.device)}:"
                f" passed; {record.figures.comparisons:,} comparisons, {record.coverage}.",
                style="bold green",
            )


def _verification(record: Verification) -> Iterable[Part]:
    verdict, style = _verdict(record)
    yield Text(f"Verification of the {terminal(record.subject)}: {verdict}", style=style)
    yield Text(f"Criterion: {record.criterion}.")
    yield _figures(record)
    if KINDS[record.shifts].real:
        yield Text(f"Moves: {record.coverage}.")
    else:
        yield Text(f"Phases: {record.coverage}, at stride {pair(record.total_stride)}.")
    yield Text(f"Images: {len(record.images)} ({_shortened(record.images)}).")
    yield from comparing.borders(record.borders)
    yield Text(_setting(record))
    if record.periodic_images:
        yield Text(
            "Reported apart, since they equal a shift of themselves that the stride does not"
            f" divide: {_shortened(record.periodic_images)}."
        )
    yield from beside_onnxruntime(record.elsewhere)
    yield from bullets("Warnings", record.warnings)
    yield from bullets("Speaks against it", record.faults)


def _verdict(record: Verification) -> tuple[str, str]:
    if record.passed:
        return "passed", "bold green"
    return ("FAILED", "bold red") if record.claimed else ("inexact, as measured", "bold")


def _figures(record: Verification) -> Table:
    columns = [("checked", record.figures)]
    columns += [("unmodified model", record.control)] if record.control else []
    columns += [("periodic images", record.periodic)] if record.periodic else []
    shown = table("", *(name for name, _ in columns))
    rows = [_error_rows(errors) for _, errors in columns]
    for line in zip(*rows, strict=True):
        shown.add_row(line[0][0], *(value for _, value in line))
    return shown


def _error_rows(errors: ShiftErrors) -> list[tuple[str, str]]:
    where = errors.worst_at
    return [
        ("comparisons", f"{errors.comparisons:,}"),
        ("with all bits equal", _share(errors.share_exact)),
        ("output values bit-equal", _share(errors.share_values_exact)),
        ("worst error", f"{errors.worst_absolute:.2e}"),
        ("of the output range", f"{errors.worst_relative:.2e}"),
        ("at", f"{terminal(where.image)} by {where.shift}" if where else "-"),
        ("label changes", f"{errors.label_changes:,} of {errors.labels:,}"),
    ]


def _setting(record: Verification) -> str:
    margin = record.smallest_margin
    gap = "" if margin is None else f"; smallest selection margin {margin:.1e}"
    threads = counted(record.threads, "thread", "threads")
    return (
        f"{record.dtype} on {terminal(record.device)}, {threads}, torch"
        f" {terminal(record.torch_version)}; {', '.join(record.settings)}{gap}."
    )


def _fix(report: FixReport, explain: bool) -> Iterable[Part]:
    method = report.method + (f", origins from {report.select}" if report.select else "")
    said = "" if report.outcome == "compared" else f" ({terminal(method)})"
    if cost := cost_in_words(report):
        lost = report.loss is not None and report.loss.verdict == "lost"
        yield Text(sentence(cost), style="bold red" if lost else "bold")
    yield Text(f"{_done(report)}{said}.", style="bold")
    if report.outcome == "compared":
        yield from comparing.candidates(report)
        yield from bullets("Notes", report.notes)
        return
    yield from _claim(report)
    if report.output is not None:
        yield Text(f"File: {terminal(report.output)}")
    yield from bullets("Beside it", report.companions)
    if report.reason is not None:
        yield Text(sentence(report.reason), style="bold red")
    yield from comparing.candidates(report)
    yield from _metrics(report)
    yield from _cost(report)
    yield from comparing.training(report.training)
    yield Text("")
    rows = one_by_one if explain or report.outcome == "planned" else by_kind
    yield from (
        _inspection(report.inspection, rows) if report.rewrites else _left(report.inspection)
    )
    if explain and report.rewrites:
        yield from bullets("What they become", _explanations(report.inspection))
    yield from _verifications(report.verifications)
    yield from comparing.borders(report.borders)
    yield from comparing.agreement(report.agreement)
    yield from bullets("Notes", report.notes)


def _done(report: FixReport) -> str:
    """What became of it, in a few words; what claims no exactness was measured, not verified."""
    if report.outcome == "planned" and report.reason is not None:
        return "Refused, nothing written"
    if report.outcome != "written" or report.claim is None or report.claim.exact:
        return _OUTCOMES[report.outcome]
    if not report.left_out:
        return "Converted and measured"
    passed = all(record.passed for record in report.verifications)
    return f"Partly converted, measured {'exact' if passed else 'inexact'}"


def _claim(report: FixReport) -> Iterable[Part]:
    """What the method promises; not to be exact is said in a sentence of its own."""
    claim = report.claim
    if claim is None:
        return
    if not claim.exact:
        errors = "" if report.outcome == "planned" else ": the errors below are what is left"
        yield Text(sentence(f"This does not make the model exact ({claim.condition}){errors}."))
    elif any(record.broken for record in report.verifications):
        yield Text(sentence(f"The method claims to be exact {claim.condition}; here it is not."))
    else:
        yield Text(sentence(f"Exact {claim.condition}{_short_of_time(report)}."))
    yield Text(sentence(_training(claim, report)))


def _short_of_time(report: FixReport) -> str:
    """Where not even the phases along both axes were tried, how many were."""
    circular = [r for r in report.verifications if not KINDS[r.shifts].real]
    short = [r for r in circular if r.phases < min(sum(r.total_stride) - 2, r.phases_total)]
    if not short:
        return ""
    least = min(short, key=lambda record: record.phases)
    return f", tried at {least.phases:,} of {least.phases_total:,} phases for want of --seconds"


def _training(claim: Claim, report: FixReport) -> str:
    if claim.needs_training and report.training is None and report.outcome != "planned":
        return f"It needs training, and had none: {claim.training}."
    return f"{'Needs training' if claim.needs_training else 'Training'}: {claim.training}."


_BECOMES = (
    ("conv_transpose", "is run on a circularly padded map, cropped, and rolled back to its grid"),
    ("conv", "keeps its weights; its zero padding becomes circular, at the same alignment"),
    ("max_pool", "pools a circularly padded map; no implicit minus infinity, no ceil mode"),
    ("avg_pool", "pools a circularly padded map, so that every window holds as many pixels"),
    ("adaptive", "sums without depending on the order of positions"),
    ("mean", "sums without depending on the order of positions"),
    ("upsample", "is run on a circularly padded map, cropped, and rolled back to its grid"),
    ("slice", "takes the grid that the level's origin selects"),
    ("pixel", "rearranges the grid that the level's origin selects"),
)
_ORIGIN = (
    "every op with a stride reads its input rolled to one origin per image and level, chosen"
    " from the content, so that a shifted image meets the same grid"
)


def _explanations(found: Inspection) -> list[str]:
    """One sentence per kind of op in the plan."""
    names = dict.fromkeys(row.op for row in found.ops if row.fixable)
    said = [
        f"{name}: {becomes}"
        for name in names
        if (becomes := next((said for part, said in _BECOMES if part in name), None))
    ]
    strided = any(max(row.stride) > 1 for row in found.ops)
    return said + ([_ORIGIN] if strided else [])


def _cost(report: FixReport) -> Iterable[Part]:
    before, after = report.cost_before, report.cost_after
    if before is None or after is None:
        return
    shown = table("cost", "before", "after")
    slowdown = f" ({report.slowdown:.2f}x)" if report.slowdown else ""
    batch = f"latency, batch of {before.batch_size}, {before.device}, {before.threads} thread(s)"
    shown.add_row(batch, _latency(before), _latency(after) + slowdown)
    shown.add_row("parameters", f"{before.parameters:,}", f"{after.parameters:,}")
    shown.add_row("file", _bytes(before), _bytes(after))
    yield Text("")
    yield shown


def _metrics(report: FixReport) -> Iterable[Part]:
    """Accuracy, and per kind how consistent it is; fix.json holds every metric."""
    known = {name: info for name in report.before if (info := columns.info_of(name))}
    clean = next((name for name, info in known.items() if info.unshifted), None)
    names = [name for name, info in known.items() if info.in_short]
    if not names:
        return
    shown = table("metric", "before", "after")
    for name in ([clean] if clean else []) + names:
        info = figures.info_of(name)
        said = info.title if name == clean else name
        pair = (report.before.get(name), report.after.get(name))
        shown.add_row(terminal(said), *(figures.quantity(each, info) for each in pair))
    yield Text("")
    yield shown


def _latency(cost: Cost) -> str:
    return "-" if cost.latency_ms is None else f"{cost.latency_ms:.1f} ms"


def _bytes(cost: Cost) -> str:
    return "-" if cost.bytes is None else f"{cost.bytes / 1e6:.1f} MB"


def _share(share: float | None) -> str:
    if share is None:
        return "-"
    # Never round a miss up to 100%.
    return "100%" if share == 1 else f"{min(share * 100, 99.9999):.4f}%"


def _shortened(names: Sequence[str], shown: int = 6) -> str:
    first = ", ".join(terminal(name) for name in names[:shown])
    return first if len(names) <= shown else f"{first} and {len(names) - shown} more"
