"""Methods compared on data, choices of crops under real shifts, and training, as parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.text import Text

from equiaudit.kinds import usual
from equiaudit.report import figures
from equiaudit.report.escape import terminal
from equiaudit.report.parts import Part, bullets, counted, sentence, table
from equiaudit.results import Estimate, MetricInfo
from equiaudit.results.repair import (
    Agreement,
    Borders,
    Candidate,
    Choice,
    Claim,
    FixReport,
    TrainingRecord,
)
from equiaudit.tasks.columns import accuracy_of, consistency_of

_RATIO = MetricInfo("slowdown", "latency", "x", False, upper_bound=None, is_share=False)
_SHARE = figures.info_of("agreement")


def candidates(report: FixReport) -> Iterable[Part]:
    """The table over methods, what does not fit and why, and the choice."""
    if not any(one.metrics for one in report.candidates):
        yield from _fits(report.candidates)
        return
    measured = [one for one in report.candidates if one.measured]
    shown = table("method", "accuracy", *usual(), "latency")
    for one in measured:
        picked = report.choice is not None and one.method == report.choice.method
        shown.add_row(terminal(one.method) + ("\n(chosen)" if picked else ""), *_cells(one))
    yield Text("")
    yield Text(
        "Accuracy (mIoU of maps), consistency under each kind of shift, latency, with intervals:"
    )
    yield shown
    refused = [one for one in report.candidates if not one.measured]
    yield from bullets("Do not fit", [_unfit(one) for one in _one_per_reason(refused)])
    inexact = [(one.method, one.claim) for one in measured if one.claim and not one.claim.exact]
    yield from bullets("Inexact", [f"{name}: {claim.condition}" for name, claim in inexact])
    yield from _choice(report.choice)


def _fits(rows: Sequence[Candidate]) -> Iterable[Part]:
    """Which methods there are, where nothing was measured."""
    by_promise: dict[str, list[str]] = {}
    for one in rows:
        if one.measured and one.claim is not None:
            by_promise.setdefault(_promise(one.claim), []).append(one.method)
    yield from bullets(
        "Methods that fit", [f"{', '.join(same)}: {said}" for said, same in by_promise.items()]
    )
    refused = [one for one in rows if not one.measured]
    yield from bullets("Do not fit", [_unfit(one) for one in _one_per_reason(refused)])


def _promise(claim: Claim) -> str:
    exact = f"exact {claim.condition}" if claim.exact else f"inexact: {claim.condition}"
    needs = "needs training" if claim.needs_training else "training"
    return f"{exact}; {needs}: {claim.training}"


def _one_per_reason(rows: Sequence[Candidate]) -> Iterable[Candidate]:
    """Methods that share a reason as one."""
    by_reason: dict[str | None, list[Candidate]] = {}
    for one in rows:
        by_reason.setdefault(one.reason, []).append(one)
    for same in by_reason.values():
        yield same[0].model_copy(update={"method": ", ".join(one.method for one in same)})


def _cells(one: Candidate) -> list[str]:
    known = accuracy_of(one.metrics)
    accuracy = _stacked(known, figures.info_of("accuracy_clean"))
    if known is None and one.same_label is not None:
        accuracy = f"same label\n{_stacked(one.same_label, _SHARE)}"
    kinds = [
        _stacked(consistency_of(one.metrics, kind), figures.info_of("consistency"))
        for kind in usual()
    ]
    return [accuracy, *kinds, _latency(one)]


def _latency(one: Candidate) -> str:
    found = one.slowdown
    if found is None or found.value is None or found.low is None or found.high is None:
        return "1x" if one.method == "unmodified" else figures.NOTHING
    return f"{found.value:.2f}x\n[{found.low:.2f}, {found.high:.2f}]"


def _stacked(estimate: Estimate | None, info: MetricInfo) -> str:
    """The value, and its interval on a line of its own."""
    return f"{figures.value(estimate, info)}\n{figures.interval(estimate, info)}".rstrip()


def _unfit(one: Candidate) -> str:
    remedy = f" {one.remedy}" if one.remedy else ""
    return f"{one.method}: {one.reason}{remedy}"


def _choice(choice: Choice | None) -> Iterable[Part]:
    if choice is None:
        return
    yield Text(f"Choice: {terminal(choice.method or 'none')}", style="bold")
    yield Text(sentence(f"The rule: {choice.rule}. Here {choice.because}."))


def agreement(rows: Sequence[Agreement]) -> Iterable[Part]:
    """How often a real shift keeps the crop, next to its bounds, and the labels it changes."""
    if not rows:
        return
    measured = any(row.same_choice is not None for row in rows)
    labelled = any(row.label_changes_after is not None for row in rows)
    voting = rows[0].votes > 1
    columns = ["moved by (px)", f"{'votes kept' if voting else 'same crop'}: bound", "expected"]
    columns += ["measured"] if measured else []
    columns += ["labels changed: unmodified", "fixed"] if labelled else []
    shown = table(*columns)
    for row in rows:
        shown.add_row(*_agreement_cells(row, measured, labelled))
    yield Text("")
    yield shown
    bound = (
        f"The bound holds for any rule that averages crops, here {rows[0].votes} of them"
        if voting
        else "The bound is that of a choice among equal crops (RICS)"
    )
    yield Text(
        f"{bound}; expected is the landmark rule used here, where landmarks lie anywhere in the"
        " image."
    )


def _agreement_cells(row: Agreement, measured: bool, labelled: bool) -> list[str]:
    straight = 0 in row.shift
    moved = f"{max(row.shift)} {'along an axis' if straight else 'diagonally'}"
    cells = [moved, figures.share(row.bound), figures.share(row.expected)]
    cells += [figures.quantity(row.same_choice, _SHARE)] if measured else []
    if labelled:
        cells += [
            figures.quantity(found, _SHARE)
            for found in (row.label_changes_before, row.label_changes_after)
        ]
    return cells


def borders(found: Borders | None) -> Iterable[Part]:
    """What was found where images were cut."""
    if found is None:
        return
    parts = [
        (found.both, "a border both ways"),
        (found.rows_only, "between rows only"),
        (found.columns_only, "between columns only"),
        (found.neither, "no border, where any position does (periodic, plain or closed images)"),
    ]
    counts = ", ".join(f"{count} {said}" for count, said in parts if count)
    total = counted(found.images, "image", "images")
    yield Text(sentence(f"Borders found in {total}: {counts}."))


def training(record: TrainingRecord | None) -> Iterable[Part]:
    """Every stage with its losses and accuracies on held-out images."""
    if record is None:
        return
    shown = table("training", "images", "epochs", "time", "loss", "accuracy, held out")
    for stage in record.stages:
        loss = _arrow(_number(stage.loss_before), _number(stage.loss_after))
        info = figures.info_of("accuracy_clean")
        before, after = (
            None if found is None else figures.value(found, info)
            for found in (stage.accuracy_before, stage.accuracy_after)
        )
        shown.add_row(
            terminal(stage.name),
            f"{stage.images:,}",
            str(stage.epochs or figures.NOTHING),
            f"{stage.seconds:.0f} s",
            loss,
            _arrow(before, after),
        )
    yield Text("")
    yield shown
    yield Text(f"Trained on {terminal(record.device)}, seed {record.seed}.")
    yield from bullets("Of the training", record.notes)


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"


def _arrow(before: str | None, after: str | None) -> str:
    if before is None and after is None:
        return figures.NOTHING
    return f"{before or figures.NOTHING} to {after or figures.NOTHING}"
