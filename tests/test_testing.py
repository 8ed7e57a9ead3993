"""The assertion for test suites: judged on the bound, readable when it fails."""

import pytest
from dense_results import make_dense_result
from results import make_result

from equiaudit import api
from equiaudit.api import python  # noqa: F401  before a fake stands in its place
from equiaudit.errors import InputError
from equiaudit.results import Estimate
from equiaudit.testing import assert_shift_consistent


@pytest.fixture
def scanned(monkeypatch):
    """Set what the scan finds; returns what it was called with."""
    calls = []

    def becomes(**estimate):
        found = make_result(n=200)
        circular = found.shifts["circular"]
        metrics = circular.metrics | {"consistency": Estimate(n=200, method="bca", **estimate)}
        shift = circular.model_copy(update={"metrics": metrics})
        result = found.model_copy(update={"shifts": found.shifts | {"circular": shift}})
        monkeypatch.setattr(api, "scan", lambda *a, **k: calls.append((a, k)) or result)
        return result

    becomes.calls = calls
    return becomes


def message(*args, **how) -> str:
    with pytest.raises(AssertionError) as caught:
        assert_shift_consistent("m.pt", "data", *args, **how)
    return str(caught.value)


def test_passes_when_the_lower_bound_meets_the_minimum(scanned):
    result = scanned(value=0.97, low=0.95, high=0.99)
    assert assert_shift_consistent("m.pt", "data") is result
    assert scanned.calls == [(("m.pt", "data"), {"shifts": ("circular",)})]


def test_fails_with_value_interval_and_worst_images(scanned):
    scanned(value=0.91, low=0.88, high=0.93)
    said = message(min=0.95)
    assert "circular.consistency is 0.91, 95% interval [0.88, 0.93], over 200 images" in said
    assert "at least 0.95" in said
    assert "too low" in said
    assert "Least stable:" in said
    assert "(dy, dx) = (" in said


def test_an_inconclusive_interval_fails_unless_allowed(scanned):
    scanned(value=0.96, low=0.94, high=0.98)
    assert "inconclusive" in message(min=0.95)
    assert_shift_consistent("m.pt", "data", min=0.95, allow_inconclusive=True)


def test_allowing_the_inconclusive_still_fails_what_is_clearly_too_low(scanned):
    scanned(value=0.90, low=0.88, high=0.92)
    assert "too low" in message(min=0.95, allow_inconclusive=True)


def test_judging_the_value_ignores_the_interval(scanned):
    scanned(value=0.96, low=0.94, high=0.98)
    assert_shift_consistent("m.pt", "data", min=0.95, judge="value")
    assert "the value: too low" in message(min=0.97, judge="value")


def test_the_value_counts_where_there_is_no_interval(scanned):
    scanned(value=0.96)
    assert_shift_consistent("m.pt", "data", min=0.95)
    message(min=0.97)


def test_nothing_measured_fails(scanned):
    scanned(value=None)
    assert "no value" in message(min=0.0)


def test_options_reach_the_scan_and_protocols_choose_their_own_shifts(scanned):
    scanned(value=1.0, low=1.0, high=1.0)
    assert_shift_consistent("m.pt", "data", max_shift=4, shifts=("circular", "crop"))
    assert_shift_consistent("m.pt", "data", protocol="mass")
    assert [k for _, k in scanned.calls] == [
        {"max_shift": 4, "shifts": ("circular", "crop")},
        {"protocol": "mass"},
    ]


@pytest.mark.parametrize(
    "how", [{"metric": "logit_error"}, {"metric": "consistancy"}, {"kind": "cut"}, {"judge": "a"}]
)
def test_a_question_that_makes_no_sense_is_refused(scanned, how):
    scanned(value=1.0, low=1.0, high=1.0)
    with pytest.raises(InputError):
        assert_shift_consistent("m.pt", "data", **how)
    assert "kind" in how or not scanned.calls


def test_of_objects_that_shifts_lose_what_is_left_is_held_against_the_minimum(monkeypatch):
    found = make_dense_result()
    lost = Estimate(value=0.03, low=0.01, high=0.04, n=200, method="cluster-wilson")
    circular = found.shifts["circular"]
    metrics = circular.metrics | {"lost_object": lost}
    shift = circular.model_copy(update={"metrics": metrics})
    result = found.model_copy(update={"shifts": {"circular": shift}})
    monkeypatch.setattr(api, "scan", lambda *a, **k: result)
    assert assert_shift_consistent("m.pt", "data", min=0.95) is result
    said = message(min=0.97)
    assert "1 - circular.lost_object is 0.97, 95% interval [0.96, 0.99]" in said
    assert "inconclusive" in said
