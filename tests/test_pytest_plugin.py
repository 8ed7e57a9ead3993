"""The fixture in a test suite of somebody else."""

from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

SUITE = """
    def test_kept(shift_consistency):
        shift_consistency("m.pt", "data", min={min})
"""
FAKE = """
    import sys

    sys.path.insert(0, {tests!r})
    from results import make_result

    from equiaudit import api

    def scan(model, data, **options):
        print("output:", options.get("output"))
        return make_result(n=200)

    api.scan = scan
"""


@pytest.fixture
def outcome(pytester):
    """Run a suite of one test, in a process of its own: pytest forgets what is imported in it."""
    plugin = [] if _installed() else ["-p", "equiaudit.pytest_plugin"]

    def run(minimum, *flags):
        pytester.makeconftest(FAKE.format(tests=str(Path(__file__).parent)))
        pytester.makepyfile(SUITE.format(min=minimum))
        return pytester.runpytest_subprocess("-s", *plugin, *flags)

    return run


def _installed():
    return any(each.name == "equiaudit" for each in entry_points(group="pytest11"))


def test_figures_stand_in_the_summary_and_reports_in_a_folder(outcome):
    result = outcome(0.01, "--equiaudit-reports", "kept")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*shift consistency*", "*test_kept: circular.consistency 0.*"])
    result.stdout.fnmatch_lines(["*output: kept/*test_kept"])


def test_a_drop_of_consistency_fails_the_test(outcome):
    result = outcome(0.9999)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*too low*"])
    result.stdout.fnmatch_lines(["*output: None"])
