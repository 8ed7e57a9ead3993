"""A pytest plugin: `shift_consistency` asserts, and keeps the reports of what it scanned.

Nothing of torch is imported before a test asks for the fixture.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from equiaudit.results import Result

_SUMMARY = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """--equiaudit-reports DIR."""
    parser.getgroup("equiaudit").addoption(
        "--equiaudit-reports",
        metavar="DIR",
        help="Keep the reports of every scan that a test makes, one folder per test.",
    )


@pytest.fixture
def shift_consistency(request: pytest.FixtureRequest) -> Callable[..., Result]:
    """`equiaudit.testing.assert_shift_consistent`, whose figures end up in pytest's summary.

    With ``--equiaudit-reports DIR`` the reports lie in a folder of the test's name, also of a
    test that fails.
    """
    from equiaudit.report.findings import leading_metric
    from equiaudit.testing import assert_shift_consistent

    folder = request.config.getoption("--equiaudit-reports")
    said = request.config.stash.setdefault(_SUMMARY, [])

    def assert_consistent(model: Any, data: Any, **options: Any) -> Result:
        if folder is not None:
            options.setdefault("output", Path(folder) / _as_file(request.node.nodeid))
        result = assert_shift_consistent(model, data, **options)
        for kind in result.shifts:
            name = f"{kind}.{options.get('metric') or leading_metric(result, kind)}"
            found = result.metric(name).value
            if found is not None:
                said.append(f"{request.node.nodeid}: {name} {found:.3f}")
        return result

    return assert_consistent


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The figures of the tests that passed; a failed assertion says its own."""
    said = terminalreporter.config.stash.get(_SUMMARY, [])
    if said:
        terminalreporter.section("shift consistency")
        for line in said:
            terminalreporter.line(line)


def _as_file(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-")
