"""The operations of a net as a table: by kind, by the stage that they are in, or one by one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from equiaudit.report.parts import pair, sentence, table
from equiaudit.results.repair import OpRow

__all__ = ["by_kind", "by_stage", "one_by_one"]

_WIDEST = 32
"""Characters of a path that are shown; the end tells which."""


def one_by_one(rows: Sequence[OpRow]) -> Table:
    """A line for each, under the names that --only and --skip take, whole."""
    shown = table("where", "op", "stride", "padding", "what it does", "fixable")
    for row in rows:
        padding = _padding(row.padding) + (" uneven" if row.uneven_padding else "")
        cells = (row.where or row.node, row.op, pair(row.stride), padding, row.effect, _fare(row))
        shown.add_row(*(Text(sentence(cell)) for cell in cells))
    return shown


def by_kind(rows: Sequence[OpRow]) -> Table:
    """A line for all of one kind that fare alike."""
    shown = table("op", "count", "what it does", "fixable")
    for (op, effect, fare), count in Counter((r.op, r.effect, _fare(r)) for r in rows).items():
        shown.add_row(*(Text(sentence(cell)) for cell in (op, f"{count:,}", effect, fare)))
    return shown


def by_stage(rows: Sequence[OpRow]) -> Table:
    """A line for all of a stage that are of one kind and fare alike, in the order of the net."""
    shown = table("stage", "op", "count", "what it does", "fixable")
    alike = Counter((_stage(row), row.op, row.effect, _fare(row)) for row in rows)
    before = ""
    for (stage, op, effect, fare), count in alike.items():
        cells = ("" if stage == before else _shortened(stage), op, f"{count:,}", effect, fare)
        shown.add_row(*(Text(sentence(cell)) for cell in cells))
        before = stage
    return shown


def _stage(row: OpRow) -> str:
    """The path of its module up to the second number or name: ``encoder.layer2``, ``features.3``.

    Where a path says nothing it is "-".
    """
    parts = row.where.split(".") if row.where else []
    if not parts:
        return "-"
    if re.search(r"\d$", parts[0]) or len(parts) == 1:
        return parts[0]
    numbered = next((i for i, part in enumerate(parts[:3]) if re.search(r"\d$", part)), 0)
    return ".".join(parts[: max(1, numbered + 1)])


def _fare(row: OpRow) -> str:
    return "yes" if row.fixable else f"no: {row.reason or row.effect}"


def _shortened(stage: str) -> str:
    return stage if len(stage) <= _WIDEST else f"…{stage[1 - _WIDEST :]}"


def _padding(padding: tuple[int, int, int, int]) -> str:
    """One number where all sides agree, else top, bottom, left, right."""
    return str(padding[0]) if len(set(padding)) == 1 else " ".join(map(str, padding))
