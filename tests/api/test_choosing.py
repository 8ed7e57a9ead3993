"""Which method the stated rule picks, from made-up measurements."""

import pytest

from equiaudit.api.choosing import MethodComparison, pick
from equiaudit.errors import InputError, NothingToDo
from equiaudit.report.repair import render_fix
from equiaudit.results import Estimate
from equiaudit.results.repair import Candidate, Claim, FixReport, Inspection


def share(value, n=100):
    return Estimate(
        value=value, low=max(0, value - 0.05), high=min(1, value + 0.05), n=n, method="wilson"
    )


def candidate(name, circular=0.7, *, accuracy=0.8, slowdown=1.0, crop=0.75, same=1.0):
    metrics = {"circular.consistency": share(circular)}
    if crop is not None:
        metrics["crop.consistency"] = share(crop)
    if accuracy is not None:
        metrics["circular.accuracy_clean"] = share(accuracy)
    timed = Estimate(value=slowdown, low=slowdown, high=slowdown, n=21, method="order-statistics")
    exact = Claim(exact=True, shifts="circular", condition="everywhere", training="none")
    return Candidate(
        method=name, claim=exact, metrics=metrics, same_label=share(same), slowdown=timed
    )


NOW = candidate("unmodified")
UNFIT = Candidate(method="mass", reason="It does not fit.", remedy="Use another.")


def test_the_highest_consistency_within_the_accuracy():
    rows = (NOW, candidate("a", 1.0, accuracy=0.78), candidate("b", 0.9), candidate("c", 0.95))
    assert pick(rows, "circular", 0.01).method == "c"
    assert pick(rows, "circular", 0.02).method == "a"


def test_ties_go_to_the_faster():
    rows = (NOW, candidate("a", 1.0, slowdown=1.3), candidate("b", 1.0, slowdown=1.1))
    choice = pick(rows, "circular", 0.01)
    assert choice.method == "b"
    assert "1.10 times the latency" in choice.because


def test_the_goal_decides():
    rows = (NOW, candidate("a", 1.0, crop=0.7), candidate("b", 0.6, crop=0.9))
    assert pick(rows, "circular", 0.01).method == "a"
    assert pick(rows, "crop", 0.01).method == "b"


def test_what_gains_nothing_or_does_not_fit_is_not_picked():
    choice = pick((NOW, UNFIT, candidate("a", 0.7), candidate("b", 0.6)), "circular", 0.01)
    assert choice.method is None
    assert "none of 2" in choice.because


def test_auto_with_nothing_to_pick_is_nothing_to_do():
    left = compared().model_copy(update={"choice": pick((NOW, UNFIT), "circular", 0.01)})
    comparison = MethodComparison(*[None] * 6)
    with pytest.raises(NothingToDo, match="none is within that") as refusal:
        comparison.chosen(left)
    assert "--compare-methods" in str(refusal.value.tip)


def test_without_labels_those_of_the_unmodified_model_count():
    rows = (
        candidate("unmodified", accuracy=None),
        candidate("a", 1.0, accuracy=None, same=0.9),
        candidate("b", 0.8, accuracy=None, same=0.995),
    )
    choice = pick(rows, "circular", 0.01)
    assert choice.method == "b"
    assert "labels of unshifted images" in choice.rule


def test_a_goal_that_was_not_measured_is_an_input_error():
    with pytest.raises(InputError, match="no room for crop shifts"):
        pick((candidate("unmodified", crop=None),), "crop", 0.01)


def compared():
    rows = (NOW, candidate("canonical", 1.0, slowdown=1.04), UNFIT)
    inspection = Inspection(
        tool_version="0",
        model="net.pt",
        model_sha256="0" * 64,
        route="none",
        input_size=(8, 8),
        total_stride=None,
        size_multiple=None,
        dense=False,
        ops=(),
    )
    return FixReport(
        tool_version="0",
        outcome="compared",
        method="canonical",
        inspection=inspection,
        candidates=rows,
        choice=pick(rows, "circular", 0.01),
    )


def test_the_table_as_text_and_as_markdown():
    said = " ".join(render_fix(compared()).split())
    assert "Compared, nothing written." in said
    assert "canonical" in said
    assert "[95.0, 100.0]" in said
    assert "mass: It does not fit. Use another." in said
    assert "Choice: canonical" in said
    assert "ties by latency" in said
    rows = [line for line in render_fix(compared(), "md").splitlines() if line.startswith("| ")]
    assert rows[0].startswith("| method | accuracy | circular | crop | zero-pad | latency |")
    assert rows[1].count("---") == 6
    assert {line.count("|") for line in rows} == {7}
    assert "1.04x" in rows[3]


def test_the_report_comes_back_from_json():
    again = FixReport.model_validate_json(render_fix(compared(), "json"))
    assert again == compared()
