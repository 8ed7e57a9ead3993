"""What a report on a repair is made of, before it is text for a terminal or Markdown."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from equiaudit.report.escape import prose, terminal

Part: TypeAlias = Text | Table | Padding


class _PlainTable(Table):
    """A table whose cells are text: no markup, and nothing that steers a terminal."""

    def add_row(self, *cells: object, **options: Any) -> None:
        super().add_row(*(Text(_harmless(str(cell))) for cell in cells), **options)


def table(*columns: str) -> Table:
    """An empty table with these headers."""
    made = _PlainTable(box=box.SIMPLE, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def _harmless(words: str) -> str:
    """`words` with nothing that steers a terminal or a log, line by line and uncut."""
    lines = words.split("\n")
    return "\n".join(terminal(line, len(line) * 10) if line.strip() else line for line in lines)


def bullets(title: str, lines: Sequence[str]) -> Iterable[Part]:
    """A title and indented lines; nothing where there are none."""
    if lines:
        yield Text(f"{title}:", style="bold")
        for line in lines:
            yield Padding(Text(sentence(line)), (0, 0, 0, 2))


def sentence(words: str) -> str:
    """`words` made harmless one by one, so that a long sentence keeps its middle."""
    return " ".join(terminal(word) for word in words.split())


def counted(count: int, one: str, many: str) -> str:
    """``1 image``, ``1,000 images``."""
    return f"{count:,} {one if count == 1 else many}"


def pair(sizes: tuple[int, int]) -> str:
    """``224x224``."""
    return f"{sizes[0]}x{sizes[1]}"


def text(parts: Iterable[Part], *, color: bool, width: int) -> str:
    """For a terminal, whatever lines hold; lines have no trailing blanks."""
    harmless = (
        Text(_harmless(part.plain), part.style) if isinstance(part, Text) else part
        for part in parts
    )
    return printed(harmless, color=color, width=width)


def printed(parts: Iterable[Part], *, color: bool, width: int) -> str:
    """For a terminal, of parts that are harmless; lines have no trailing blanks."""
    console = Console(
        file=io.StringIO(),
        width=width,
        color_system="standard" if color else None,
        force_terminal=color,
        no_color=not color,
        legacy_windows=False,
        highlight=False,
        _environ={},
    )
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()).strip("\n") + "\n"


def markdown(parts: Iterable[Part]) -> str:
    """GitHub Markdown: tables as tables, indented lines as bullets, bold lines as such."""
    blocks = [(type(part), _block(part)) for part in parts]
    lines: list[str] = []
    for i, (kind, block) in enumerate(blocks):
        listed = kind is Padding and i > 0 and blocks[i - 1][0] is Padding
        if block:
            lines += [block] if listed else ["", block]
    return "\n".join(lines).strip("\n") + "\n"


def _block(part: Part) -> str:
    if isinstance(part, Table):
        header = [str(column.header) for column in part.columns]
        rows = zip(*(column.cells for column in part.columns), strict=True)
        lines = [header, ["---"] * len(header), *([_cell(cell) for cell in row] for row in rows)]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    if isinstance(part, Padding):
        return f"- {prose(str(part.renderable))}"
    plain = part.plain.strip()
    if not plain:
        return ""
    return f"**{prose(plain)}**" if "bold" in str(part.style) else prose(plain)


def _cell(cell: object) -> str:
    # Behind a letter no number or dash is a list mark, as in a cell none is.
    return " ".join(prose(f"x{line}")[1:] for line in str(cell).splitlines() if line)
