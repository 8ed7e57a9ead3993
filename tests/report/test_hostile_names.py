"""No file, class or setting name becomes markup, a command or a control character."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import unicodedata
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from markdown_it import MarkdownIt

sys.path.insert(0, str(Path(__file__).parent))

from hostile import NAMES, hostile_result

from equiaudit.report import FORMATS, render, render_text, write_reports

HARMLESS = "harmless"
EACH = pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name[:24]))


class Outline(HTMLParser):
    """Elements and attributes of a page, and the text between."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: Counter[str] = Counter()
        self.attributes: Counter[str] = Counter()
        self.text: list[str] = []
        self.other: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self.attributes.update(f"{tag}.{key}" for key, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_comment(self, data: str) -> None:
        self.other.append(data)

    def handle_pi(self, data: str) -> None:
        self.other.append(data)


def controls(text: str) -> set[str]:
    """Control and invisible formatting characters other than line feeds."""
    return {c for c in text if c != "\n" and unicodedata.category(c) in {"Cc", "Cf", "Cs"}}


@EACH
def test_html_has_no_element_a_harmless_name_does_not_have(name: str) -> None:
    expected = Outline(render(hostile_result(HARMLESS), "html"))
    found = Outline(render(hostile_result(name), "html"))
    titles = ("title", "details")  # one more or less of these is a matter of layout
    for tag in found.elements.keys() | expected.elements.keys():
        if tag not in titles:
            assert found.elements[tag] == expected.elements[tag], tag
    assert found.attributes.keys() == expected.attributes.keys()
    assert not found.other


def test_the_outline_would_notice_an_injected_element() -> None:
    page = render(hostile_result(HARMLESS), "html")
    broken = page.replace(HARMLESS, "<img src=x onerror=alert(1)>")
    assert Outline(broken).elements != Outline(page).elements


@EACH
@pytest.mark.parametrize("format", sorted(FORMATS))
def test_no_control_character_in_any_format(name: str, format: str) -> None:
    assert not controls(render(hostile_result(name), format))


@EACH
def test_text_has_no_workflow_command(name: str) -> None:
    for line in render(hostile_result(name), "text").splitlines():
        assert not line.lstrip().startswith("::")
        assert "##[" not in line


def test_coloured_text_has_only_our_own_escapes() -> None:
    for name in NAMES:
        text = render_text(hostile_result(name), color=True)
        assert not controls(re.sub(r"\x1b\[[0-9;]*m", "", text))
        assert "\x1b[31mred" not in text


@EACH
def test_text_fits_80_columns(name: str) -> None:
    assert max(map(len, render(hostile_result(name), "text").splitlines())) <= 80


def kinds_of(text: str) -> Counter[str]:
    """Token types of GitHub-flavoured Markdown, with inline ones."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens = parser.parse(text)
    inline = [child for token in tokens for child in token.children or []]
    plain = {"text", "text_special", "softbreak"}
    return Counter(t.type for t in [*tokens, *inline] if t.type not in plain)


@EACH
def test_markdown_has_the_structure_it_has_for_a_harmless_name(name: str) -> None:
    expected = kinds_of(render(hostile_result(HARMLESS), "md"))
    assert kinds_of(render(hostile_result(name), "md")) == expected


def test_the_markdown_structure_would_notice_a_raw_name() -> None:
    text = render(hostile_result(HARMLESS), "md")
    for name in ("a|b", "<b>x</b>", "`", "[x](https://evil.example/)"):
        assert kinds_of(text.replace(HARMLESS, name)) != kinds_of(text)


def test_markdown_outside_code_has_nothing_that_github_links_by_itself() -> None:
    name = "https://evil.example www.evil.example me@evil.example @someone"
    text = re.sub(r"`[^`\n]*`", "", render(hostile_result(name), "md"))
    assert "@" not in text
    assert "://" not in text
    assert "www." not in text


@EACH
def test_junit_keeps_one_case_per_gate(name: str) -> None:
    root = ET.fromstring(render(hostile_result(name), "junit"))
    cases = root.findall("testsuite/testcase")
    assert len(cases) == 4
    assert len({case.get("name") for case in cases}) == 4
    assert {element.tag for element in root.iter()} <= {
        "testsuites",
        "testsuite",
        "testcase",
        "failure",
        "skipped",
        *("properties", "property", "system-out", "system-err"),
    }


@EACH
def test_github_lines_are_all_our_own_commands(name: str) -> None:
    lines = render(hostile_result(name), "github").splitlines()
    assert len(lines) <= 10
    for line in lines:
        assert re.fullmatch(r"::(error|warning|notice) title=[^:,]*::.*", line)


@EACH
def test_csv_rows_stay_whole(name: str) -> None:
    rows = list(csv.reader(io.StringIO(render(hostile_result(name), "csv"))))
    assert {len(row) for row in rows} == {7}


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1+cmd|x", "-2+3", "@SUM(A1)"])
def test_no_cell_of_the_csv_is_a_formula(name: str) -> None:
    rows = list(csv.reader(io.StringIO(render(hostile_result(name), "csv"))))
    assert any(name in row[0] for row in rows)
    assert not any(cell[:1] in ("=", "+", "-", "@") for row in rows for cell in (row[0], row[1]))


@EACH
def test_json_gives_the_name_back(name: str) -> None:
    result = hostile_result(name)
    assert type(result).model_validate(json.loads(render(result, "json"))) == result


@EACH
def test_reports_are_written(name: str, tmp_path: Path) -> None:
    paths = write_reports(hostile_result(name), tmp_path)
    assert {path.name for path in paths} == {"result.json", "report.md", "report.html"}
