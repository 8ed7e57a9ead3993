"""What `fix --for` says of a runtime, in words and beside the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from equiaudit.models.runtimes import RUNTIMES
from equiaudit.results.repair import Verification

_WRITTEN = (
    "written for {label}: circular padding by Slice and Concat; sums and choices of origins in"
    " float32, of whole numbers below 2^24, as it has no 64 bits; set {settings}"
)


def subject_in(label: str) -> str:
    """What the record of a file in another runtime is about."""
    return f"saved file in {label}"


def judged(found: Verification) -> Verification:
    """What is not exact in another runtime is a measurement as long as no label changes."""
    measured = not found.passed and not found.faults and not found.figures.label_changes
    return found.model_copy(update={"claimed": False}) if measured else found


def add_tables(companions: Sequence[Path], names: Sequence[str]) -> None:
    """Say in the preprocessing file among `companions` what the runtimes have to be told."""
    tables = []
    for name in names:
        settings = RUNTIMES[name].settings()
        lines = [f'{key} = "{value}"' for key, value in settings.items()]
        tables.append("\n".join(["", f"[runtimes.{name}]", *lines, ""]))
    for path in companions if tables else ():
        if ".toml" in path.suffixes[-2:]:  # the last may be .unverified
            text = path.read_text(encoding="utf-8")
            path.write_text("".join([text, *tables]), encoding="utf-8")


def runtime_notes(names: Sequence[str], records: Sequence[Verification]) -> Iterator[str]:
    """What was chosen for each runtime, and what was found there."""
    for name in names:
        runtime = RUNTIMES[name]
        settings = ", ".join(f"{k}={v}" for k, v in runtime.settings().items())
        yield _WRITTEN.format(label=runtime.label, settings=settings)
        yield from (
            f"in {runtime.said()}: {_found(record)}"
            for record in records
            if record.subject == subject_in(runtime.label)
        )


def _found(record: Verification) -> str:
    figures = record.figures
    exact = f"{figures.comparisons_exact} of {figures.comparisons} comparisons bit-equal"
    if figures.comparisons_exact == figures.comparisons:
        return exact
    return (
        f"{exact}; worst error {figures.worst_relative:.1e} of the output range,"
        f" {figures.label_changes} labels changed"
    )
