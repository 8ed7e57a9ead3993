"""No node, layer, output, method or image name in a report on a repair becomes markup or steers."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from pydantic import BaseModel

sys.path.insert(0, str(Path(__file__).parent))

from hostile import NAMES

from equiaudit.report.repair import render_fix, render_inspection, render_verification
from equiaudit.results import Estimate, Skipped
from equiaudit.results.repair import (
    Borders,
    Candidate,
    Choice,
    Claim,
    Cost,
    FixReport,
    Inspection,
    Mismatch,
    OpRow,
    ShiftErrors,
    TrainingRecord,
    TrainingStage,
    Verification,
)

WORD = "harmless"
# One of a few words that the types fix; no file states them.
FIXED = {"outcome", "shifts", "goal"}
NAMED = [name for name in NAMES if name.strip()]
EACH = pytest.mark.parametrize("name", NAMED, ids=lambda name: ascii(name[:24]))


def full_report() -> FixReport:
    """A report with something in every part."""
    row = OpRow(
        node="n", where="", op="conv2d", stride=(2, 2), padding=(1, 1, 1, 1), effect="e",
        fixable=False, reason="r", remedy="m",
    )  # fmt: skip
    named = row.model_copy(update={"where": "layer1.conv1", "reason": None})
    inspection = Inspection(
        tool_version="1", model="m", route="r", input_size=(32, 32), total_stride=(4, 4),
        size_multiple=(4, 4), dense=True, ops=(row, named),
        refusals=(Skipped(name="a", reason="b"),), notes=("n", "o"), model_sha256="0",
    )  # fmt: skip
    errors = ShiftErrors(
        comparisons=9, comparisons_exact=8, values=9, values_exact=8, worst_absolute=1.0,
        worst_relative=1.0, worst_at=Mismatch(image="i", shift=(1, 0)), labels=9, label_changes=1,
    )  # fmt: skip
    borders = Borders(both=1, rows_only=1, columns_only=1, neither=1, without=("a", "b"))
    checked = Verification(
        subject="s", passed=False, figures=errors, control=errors, periodic=errors,
        periodic_images=("p",), total_stride=(4, 4), phases=1, phases_total=16, coverage="c",
        images=("a", "b"), borders=borders, dense=True, dtype="d", device="v", torch_version="t",
        threads=1, settings=("s",), warnings=("w",),
    )  # fmt: skip
    claim = Claim(exact=True, shifts="circular", condition="c", training="t", needs_training=True)
    share = Estimate(value=0.5, low=0.4, high=0.6, n=9, method="m")
    stage = TrainingStage(name="s", images=3, seconds=1.0, details={"d": "e"})
    cost = Cost(latency_ms=1.0, batch_size=1, threads=1, device="c", parameters=1, bytes=9)
    return FixReport(
        tool_version="1", outcome="unverified", method="m", select="s", claim=claim,
        left_out=("l",), inspection=inspection, output="o", companions=("c", "d"), reason="r",
        verifications=(checked,), cost_before=cost, cost_after=cost,
        training=TrainingRecord(stages=(stage,), seed=0, device="d", notes=("n",)),
        borders=borders, candidates=(Candidate(method="m", claim=claim, reason="r", remedy="y"),),
        choice=Choice(goal="crop", rule="r", method="m", because="b"),
        before={"circular.consistency": share}, after={"circular.consistency": share}, notes=("n",),
    )  # fmt: skip


def renamed(value: Any, name: str, key: str = "") -> Any:
    """`value` with every text in it replaced by `name`."""
    if isinstance(value, BaseModel):
        fields = {each: getattr(value, each) for each in type(value).model_fields}
        return value.model_copy(update={k: renamed(v, name, k) for k, v in fields.items()})
    if isinstance(value, dict):
        return {k: renamed(v, name) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(renamed(each, name) for each in value)
    return name if isinstance(value, str) and key not in FIXED else value


def rendered(name: str, form: str, **options: Any) -> list[str]:
    """Every report on a repair, with `name` for every text."""
    report = renamed(full_report(), name)
    return [
        render_fix(report, form, explain=True, **options),
        render_fix(report.model_copy(update={"outcome": "compared"}), form, **options),
        render_inspection(report.inspection, form, **options),
        render_verification(report.verifications[0], form, **options),
    ]


def kinds_of(text: str) -> Counter[str]:
    """Token types of GitHub-flavoured Markdown, with inline ones."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens = parser.parse(text)
    inline = [child for token in tokens for child in token.children or []]
    plain = {"text", "text_special", "softbreak"}
    found = Counter(t.type for t in [*tokens, *inline] if t.type not in plain)
    # Parsers drop what a bar too many puts behind the last column, so bars are counted.
    bars = [len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line[:1] == "|"]
    return found + Counter(f"{count} bars" for count in bars)


def controls(text: str) -> set[str]:
    return {c for c in text if c != "\n" and unicodedata.category(c) in {"Cc", "Cf", "Cs"}}


@EACH
def test_markdown_has_the_structure_it_has_for_a_harmless_name(name: str) -> None:
    for text, expected in zip(rendered(name, "md"), rendered(WORD, "md"), strict=True):
        assert kinds_of(text) == kinds_of(expected)
        assert not controls(text)


def test_the_structure_would_notice_a_raw_name() -> None:
    text = rendered(WORD, "md")[0]
    for name in ("a|b", "<b>x</b>", "[x](https://evil.example/)", "*x*"):
        assert kinds_of(text.replace(WORD, name)) != kinds_of(text)


def test_every_text_is_replaced() -> None:
    report = renamed(full_report(), WORD)
    assert report.inspection.ops[0].node == WORD
    assert report.verifications[0].figures.worst_at.image == WORD
    assert report.candidates[0].claim.condition == WORD
    assert WORD in rendered(WORD, "text")[0]


@EACH
def test_text_steers_neither_a_terminal_nor_a_log(name: str) -> None:
    for color in (False, True):
        for text in rendered(name, "text", color=color):
            plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
            assert not controls(plain)
            assert "##[" not in plain
            assert not any(line.lstrip().startswith("::") for line in plain.splitlines())
            assert "\x1b[31mred" not in text


def test_rich_markup_in_a_name_is_shown_as_it_is() -> None:
    text = rendered("[bold]x[/bold][link=https://evil.example]y", "text", color=True)[2]
    assert "[bold]x[/bold]" in re.sub(r"\s*\n\s*", "", re.sub(r"\x1b\[[0-9;]*m", "", text))
