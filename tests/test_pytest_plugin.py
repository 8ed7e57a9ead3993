"""The fixture in a test suite of somebody else."""

import pytest
from results import make_result

from equiaudit import api

pytest_plugins = ["pytester"]

SUITE = """
    def test_kept(shift_consistency):
        shift_consistency("m.pt", "data", min={min})
"""


@pytest.fixture
def outcome(pytester, monkeypatch):
    """Run a suite of one test; returns pytest's result and what was scanned."""
    calls = []
    monkeypatch.setattr(api, "scan", lambda *a, **k: calls.append(k) or make_result(n=200))
    plugin = [] if _installed() else ["-p", "equiaudit.pytest_plugin"]

    def run(minimum, *flags):
        pytester.makepyfile(SUITE.format(min=minimum))
        return pytester.runpytest_inprocess(*plugin, *flags), calls

    return run


def _installed():
    from importlib.metadata import entry_points

    return any(each.name == "equiaudit" for each in entry_points(group="pytest11"))


def test_figures_stand_in_the_summary_and_reports_in_a_folder(outcome):
    result, calls = outcome(0.01, "--equiaudit-reports", "kept")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*shift consistency*", "*test_kept: circular.consistency 0.*"])
    assert str(calls[0]["output"]).startswith("kept/")
    assert "test_kept" in calls[0]["output"].name


def test_a_drop_of_consistency_fails_the_test(outcome):
    result, calls = outcome(0.9999)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*too low*"])
    assert "output" not in calls[0]
