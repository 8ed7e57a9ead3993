"""equiaudit gate: judge a saved result again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from equiaudit.cli.command import Call, Outcome, verb
from equiaudit.cli.payload import append_step_summary, deliver
from equiaudit.cli.verdicts import say_verdicts
from equiaudit.errors import InputError

if TYPE_CHECKING:
    from equiaudit.results import Result

_JUDGE = ("gate", "baseline", "require_baseline", "update_baseline", "strict")


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    flags = (*_JUDGE, "output", "format", "images")
    verb(app, "gate", flags=flags, configurable=_JUDGE)(gate)


def gate(
    call: Call,
    result: Annotated[
        Path, typer.Argument(metavar="RESULT", help="A result.json, or the folder it is in.")
    ],
) -> Outcome:
    """Judge a saved result again; without --gate, by the gates it was scanned with."""
    from equiaudit.gates import exit_code
    from equiaudit.results import load_result

    judged = _judged(load_result(result), result, call)
    payload = deliver(judged, call, call.settings.output)
    append_step_summary(judged, call)
    say_verdicts(judged, call.terminal)
    return Outcome(payload, exit_code(judged.gates, call.settings.strict))


def _judged(saved: Result, path: Path, call: Call) -> Result:
    from equiaudit.comparison import read_samples, samples_beside
    from equiaudit.judging import Judge

    settings = call.settings
    judge = Judge.prepare(
        _expressions(saved, call),
        settings.baseline,
        require=settings.require_baseline,
        update=settings.update_baseline,
        kept=saved,
    )
    judge.check(tuple(saved.shifts), labelled=saved.labelled)
    beside = samples_beside(path)
    wanted = judge.baseline is not None and beside.is_file()
    samples = read_samples(beside) if wanted else None
    judged = judge.judged(saved, samples, call.terminal.warn)
    kept = judge.keeps(judged)
    if kept is not None:
        _record(judged, beside, kept, call)
    elif judge.update:
        call.terminal.say(f"A gate failed, so the baseline at {judge.path} stays as it was.")
    return judged


def _record(result: Result, samples: Path, path: Path, call: Call) -> None:
    """It becomes the baseline, as in a scan, unless figures it keeps of another judged it all."""
    from equiaudit.report import record_baseline

    settled = result.baseline is not None and not call.settings.update_baseline
    if settled and all(gate.verdict != "not judged" for gate in result.gates):
        call.terminal.say(f"This result is not recorded at {path}: nothing was left unjudged.")
        return
    rows = samples.read_text(encoding="utf-8") if samples.is_file() else None
    record_baseline(result, rows, path)
    call.terminal.say(f"This result is recorded as the baseline at {path}.")


def _expressions(saved: Result, call: Call) -> tuple[str, ...]:
    """The gates asked for, or else those the result was scanned with."""
    expressions = call.settings.gate or tuple(each.expression for each in saved.gates)
    if not expressions:
        raise InputError("There is no gate to judge.", tip="Give one with --gate EXPR.")
    return expressions
