"""A table of labels as it is found: delimiter, header and encoding are told from the text.

Comma, semicolon, tab or spaces; UTF-8 or, by its byte order mark, UTF-16; JSON lines; parquet.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from equiaudit.data.places import Place, read_bytes
from equiaudit.errors import InputError

_MOST_BYTES = 1 << 30
_LOOKED_AT = 64
"""Lines that tell the delimiter."""
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", " ": "spaces"}
_MARKS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig"))


@dataclass(frozen=True)
class Table:
    """Rows of cells, all of them text; the first may be a header."""

    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    """Where in the file each row ends."""
    header: tuple[str, ...] | None = None
    """Column names, where the format has them for certain."""


def read_table(path: Place) -> Table:
    """Read a table; InputError names the file, and the line of what is wrong with it."""
    try:
        content = read_bytes(path, _MOST_BYTES)
        if content[:4] == b"PAR1":
            return _parquet(content, path)
        text = _text(content)
        if path.name.lower().endswith((".jsonl", ".ndjson")):
            return _json_lines(text, path)
        return _delimited(text, path)
    except FileNotFoundError:
        raise InputError(f"There is no labels file at {path}.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        tip = "Save it as UTF-8." if isinstance(error, UnicodeDecodeError) else None
        raise InputError(f"The labels file {path} cannot be read: {error}.", tip=tip) from None


def _text(content: bytes) -> str:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding)
    nulls = [content[start : 2 * _LOOKED_AT : 2].count(0) for start in (0, 1)]
    if not min(nulls) and 4 * max(nulls) > len(content[: 2 * _LOOKED_AT]):  # UTF-16, no mark
        return content.decode("utf-16-be" if nulls[0] > nulls[1] else "utf-16-le")
    return content.decode("utf-8")


def _delimited(text: str, path: Place) -> Table:
    start, _, rest = text.partition("\n")
    if start.strip().lower() in {f"sep={sign}" for sign in _DELIMITERS}:  # of Excel
        text = f"\n{rest}"
    head = [line for line in text.splitlines()[:_LOOKED_AT] if line.strip()]
    delimiter = _delimiter(head)
    if delimiter is None:
        found = f"its first line is {head[0][:80]!r}" if head else "it is empty"
        raise InputError(
            f"The labels file {path} has no columns that can be told apart: {found}.",
            tip="Put commas, semicolons, tabs or spaces between file and label.",
        )
    rows, lines = [], []
    for line, cells in _split(text, delimiter):
        if any(cells):
            rows.append(tuple(cells))
            lines.append(line)
    return Table(tuple(rows), tuple(lines))


def _delimiter(head: Sequence[str]) -> str | None:
    """The first that gives all lines the same number of cells, at least two."""
    ragged = None
    for delimiter in _DELIMITERS:
        widths = [len(cells) for _, cells in _split("\n".join(head), delimiter)]
        if widths and min(widths) == max(widths) > 1:
            return delimiter
        if ragged is None and widths and widths[0] > 1:
            ragged = delimiter  # a line that lacks a cell is named when it is read
    return ragged


def _split(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and stripped cells; what follows the first of several spaces is one cell."""
    if delimiter == " ":
        for number, line in enumerate(text.splitlines(), 1):
            yield number, line.split(maxsplit=1)
        return
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    for cells in reader:
        yield reader.line_num, [_bare(cell) for cell in cells]


def _bare(cell: str) -> str:
    """Without blanks, and without quotes that blanks kept from being read as such."""
    cell = cell.strip()
    quoted = len(cell) > 1 and cell[0] == cell[-1] == '"'
    return cell[1:-1].replace('""', '"') if quoted else cell


def _json_lines(text: str, path: Place) -> Table:
    header: dict[str, None] = {}
    found, lines = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"Line {number} of {path} is not JSON: {error}.") from None
        if not isinstance(row, dict):
            raise InputError(f"Line {number} of {path} is no JSON object.")
        header.update(dict.fromkeys(map(str, row)))
        found.append(row)
        lines.append(number)
    names = tuple(header)
    rows = tuple(tuple(_cell(row.get(name)) for name in names) for row in found)
    return Table(rows, tuple(lines), names)


def _parquet(content: bytes, path: Place) -> Table:
    import pandas as pd

    try:
        frame = pd.read_parquet(io.BytesIO(content))
    except ImportError:
        raise InputError(
            f"{path} is a parquet file, and pyarrow, which reads those, is not installed.",
            tip="pip install pyarrow, or save the table as CSV.",
        ) from None
    except Exception as error:  # damaged files raise whatever the reader may
        raise InputError(f"The labels file {path} cannot be read: {error}.") from None
    names = tuple(map(str, frame.columns))
    rows = tuple(tuple(map(_cell, row)) for row in frame.itertuples(index=False, name=None))
    return Table(rows, tuple(range(1, len(rows) + 1)), names)


def _cell(value: object) -> str:
    """Text as a CSV would have it; lists and objects as JSON, which no label is."""
    if value is None or value != value:  # NaN is a missing cell
        return ""
    if isinstance(value, str):
        return value.strip()
    return json.dumps(value) if isinstance(value, list | dict) else str(value)
