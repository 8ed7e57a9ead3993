"""How reports say what was asked, found and decided."""

from __future__ import annotations

import html
import re
from xml.etree import ElementTree as ET

import pytest
from markdown_it import MarkdownIt
from results import estimate, make_result

from equiaudit.report import render
from equiaudit.results import Estimate, GateVerdict, Result


@pytest.fixture(scope="module")
def result() -> Result:
    return make_result()


def test_markdown_shows_gates_as_they_were_written(result: Result) -> None:
    """As GitHub renders it: in a code span nothing is an entity or markup but its end."""
    page = MarkdownIt("commonmark").enable("table").render(render(result, "md"))
    shown = html.unescape(re.sub(r"</?[a-z][^>]*>", "", page))
    for gate in result.gates:
        assert gate.expression in shown
    assert r"\x3" not in shown
    assert "&gt;" not in shown


def drop_of(result: Result, value: float, low: float, high: float) -> Result:
    found = Estimate(value=value, low=low, high=high, n=100, method="paired-wilson")
    before, now = (estimate(value, 5000) for value in (0.955, 0.925))
    gate = GateVerdict(
        expression="circular.consistency drop<=1%",
        metric="circular.consistency",
        verdict="inconclusive",
        estimate=found,
        baseline=before,
        current=now,
        reason="cannot tell yet: 1 point lies within the interval",
        images_needed=420,
    )
    return result.model_copy(update={"gates": (gate,)})


@pytest.mark.parametrize("format", ["text", "md", "html", "junit", "github"])
def test_a_drop_is_said_in_before_and_after(result: Result, format: str) -> None:
    page = render(drop_of(result, 0.03, 0.011, 0.049), format)
    shown = " ".join(re.sub(r"\\(.)", r"\1", html.unescape(page)).replace("%25", "%").split())
    assert "95.5% -> 92.5%, 3.0 points worse [1.1, 4.9]" in shown
    assert "about 420 images would tell" in shown


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((0.0, -0.009, 0.009), "no worse [-0.9, 0.9]"),
        ((-0.03, -0.049, -0.011), "3.0 points better [1.1, 4.9]"),
    ],
)
def test_no_drop_is_said_as_such(
    result: Result, ends: tuple[float, float, float], said: str
) -> None:
    assert said in render(drop_of(result, *ends), "text")


def test_junit_has_all_that_the_strict_schemas_ask_for(result: Result) -> None:
    """Ant's wants each attribute, each element in its place, and a time without a zone."""
    root = ET.fromstring(render(result, "junit"))
    assert root.attrib == {}
    (suite,) = root
    required = ("name", "package", "id", "timestamp", "hostname", "tests", "failures", "errors")
    assert all(suite.get(name) for name in (*required, "time"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp") or "")
    assert re.fullmatch(r"\d+\.\d+", suite.get("time") or "")
    tags = [child.tag for child in suite]
    assert tags == ["properties", *["testcase"] * 4, "system-out", "system-err"]
    for case in suite.iter("testcase"):
        assert case.keys() == ["classname", "name", "time"]
        assert len(case) <= 1
    assert all(len(p.get("name") or "") and p.get("value") for p in suite.iter("property"))
    assert all(failure.get("type") for failure in suite.iter("failure"))


@pytest.mark.parametrize(
    ("started", "shown"),
    [
        ("2026-03-01T10:00:00+02:00", "2026-03-01T08:00:00"),
        ("2026-03-01T10:00:00Z", "2026-03-01T10:00:00"),
        ("no time", "1970-01-01T00:00:00"),
    ],
)
def test_junit_times_are_in_utc(result: Result, started: str, shown: str) -> None:
    timings = result.timings.model_copy(update={"started": started})
    found = render(result.model_copy(update={"timings": timings}), "junit")
    suite = ET.fromstring(found).find("testsuite")
    assert suite is not None
    assert suite.get("timestamp") == shown
