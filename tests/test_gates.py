from __future__ import annotations

import math

import pytest
from results import make_result

from equiaudit.errors import InputError
from equiaudit.gates import Gate, check_names, exit_code, judge, judged_against, parse_gate
from equiaudit.results import Estimate, GateVerdict, Result


def with_metric(name: str, estimate: Estimate) -> Result:
    base = make_result(radius=1, period=1)
    kind, metric = name.split(".")
    shift = base.shifts[kind]
    changed = shift.model_copy(update={"metrics": shift.metrics | {metric: estimate}})
    return base.model_copy(update={"shifts": base.shifts | {kind: changed}})


def an(value: float | None, low: float | None, high: float | None, n: int = 100) -> Estimate:
    return Estimate(value=value, low=low, high=high, n=n, method="bca")


def verdict_of(expr: str, estimate: Estimate) -> GateVerdict:
    gate = parse_gate(expr)
    (found,) = judge(with_metric(gate.name, estimate), [gate])
    return found


# -- reading


@pytest.mark.parametrize(
    ("expr", "name", "op", "threshold", "drop"),
    [
        ("circular.consistency>=0.95", "circular.consistency", ">=", 0.95, False),
        (" crop . accuracy_worst >= 60 % ", "crop.accuracy_worst", ">=", 0.6, False),
        ("zero-pad.consistency drop<=0.01", "zero-pad.consistency", "<=", 0.01, True),
        ("zero-pad.consistency  drop  <  1%", "zero-pad.consistency", "<", 0.01, True),
        ("circular.flip_radius>3", "circular.flip_radius", ">", 3.0, False),
        ("circular.logit_error<=.5", "circular.logit_error", "<=", 0.5, False),
        ("Circular.Consistency>=9.5e-1", "circular.consistency", ">=", 0.95, False),
        ("circular.consistency drop<=-0.02", "circular.consistency", "<=", -0.02, True),
    ],
)
def test_a_gate_is_read(expr: str, name: str, op: str, threshold: float, drop: bool) -> None:
    gate = parse_gate(expr)
    assert (gate.name, gate.op, gate.threshold, gate.drop) == (name, op, threshold, drop)


@pytest.mark.parametrize(
    ("expr", "said"),
    [
        ("circular.consistancy>=0.95", "nearest are consistency"),
        ("circular.consistency=0.95", "A gate is KIND.METRIC"),
        ("circular.consistency>=", "A gate is KIND.METRIC"),
        ("consistency>=0.95", "A gate is KIND.METRIC"),
        ("circular.consistancy=0.95", "Did you mean the metric consistency"),
        ("circular.consistency>=0.95; rm", "is not a gate"),
        ("circular.consistency dropp<=0.1", "is not a gate"),
        ("circular.consistency>=nan", "is not a gate"),
        ("", "is not a gate"),
        ("circular.consistency>=95", "0.95 or 95%"),
        ("circular.consistency>=-0.1", "between 0 and 1"),
        ("circular.consistency drop<=5", "between -1 and 1"),
        ("circular.flip_radius>=3%", "Leave the % out"),
    ],
)
def test_a_slip_is_an_input_error(expr: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_gate(expr)
    assert said in str(caught.value)


def test_names_are_checked_before_the_run() -> None:
    kinds = ("circular", "crop")
    check_names([parse_gate("crop.accuracy_worst>=0.6")], kinds, labelled=True)
    check_names([parse_gate("crop.consistency>=0.6")], kinds, labelled=False)
    with pytest.raises(InputError, match=r"circular\.consistency"):
        check_names([parse_gate("circulr.consistency>=0.6")], kinds, labelled=True)
    for metric in ("accuracy_worst", "accuracy_clean", "consistency_correct"):
        with pytest.raises(InputError, match="needs labels"):
            check_names([parse_gate(f"crop.{metric}>=0.6")], kinds, labelled=False)


# -- judging


@pytest.mark.parametrize(
    ("expr", "low", "high", "verdict"),
    [
        ("circular.consistency>=0.9", 0.90, 0.95, "pass"),
        ("circular.consistency>0.9", 0.90, 0.95, "inconclusive"),
        ("circular.consistency>=0.96", 0.90, 0.95, "fail"),
        ("circular.consistency>=0.95", 0.90, 0.95, "inconclusive"),
        ("circular.consistency>0.95", 0.90, 0.95, "fail"),
        ("circular.flipped<=0.1", 0.05, 0.10, "pass"),
        ("circular.flipped<0.1", 0.05, 0.10, "inconclusive"),
        ("circular.flipped<=0.04", 0.05, 0.10, "fail"),
        ("circular.flipped<0.05", 0.05, 0.10, "fail"),
        ("circular.consistency<=0.96", 0.90, 0.95, "pass"),
    ],
)
def test_the_conservative_bound_passes_and_the_optimistic_fails(
    expr: str, low: float, high: float, verdict: str
) -> None:
    assert verdict_of(expr, an((low + high) / 2, low, high)).verdict == verdict


def test_93_of_100_neither_passes_nor_fails_95() -> None:
    found = verdict_of("circular.consistency>=95%", an(0.93, 0.86, 0.97))
    assert found.verdict == "inconclusive"
    assert found.images_needed in (400, 410)  # 100 * (0.04 / 0.02)^2, rounded up
    assert found.reason == "cannot tell yet: 95% lies within the interval"


def test_so_many_images_do_settle_it() -> None:
    """With the half width that the promised n gives, the verdict is no longer open."""
    value, half, n = 0.93, 0.05, 100
    needed = verdict_of("crop.agreement>=0.94", an(value, value - half, value + half, n))
    assert needed.images_needed is not None
    for share, verdict in ((1.0, "fail"), (0.8, "inconclusive")):
        shrunk = half * math.sqrt(n / (share * needed.images_needed))
        again = an(value, value - shrunk, value + shrunk)
        assert verdict_of("crop.agreement>=0.94", again).verdict == verdict


def test_a_value_on_the_threshold_needs_no_number_of_images() -> None:
    assert verdict_of("crop.agreement>=0.94", an(0.94, 0.9, 0.97)).images_needed is None


def test_a_figure_without_interval_is_judged_on_its_value_and_says_so() -> None:
    extreme = Estimate(value=0.8, n=100, method="none")
    assert verdict_of("circular.logit_error_max<=0.9", extreme).verdict == "pass"
    found = verdict_of("circular.logit_error_max<=0.7", extreme)
    assert found.verdict == "fail"
    assert "no interval" in found.reason


def test_nothing_averaged_neither_passes_nor_fails() -> None:
    found = verdict_of("circular.flip_radius>=2", an(None, None, None, 0))
    assert (found.verdict, found.images_needed) == ("inconclusive", None)


def test_a_gate_on_what_the_result_lacks_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"no metric 'aps\.consistency'"):
        judge(make_result(radius=1, period=1), [parse_gate("aps.consistency>=0.5")])


# -- drops


def test_a_first_run_is_no_error() -> None:
    result = make_result(radius=1, period=1)
    (found,) = judge(result, [parse_gate("circular.consistency drop<=0.01")])
    assert found.verdict == "not judged"
    assert exit_code([found], strict=True) == 0


def against(
    result: Result, gate: Gate, baseline: Result, paired: dict[str, Estimate] | None = None
) -> GateVerdict:
    figures = judged_against(result, [gate], baseline, paired)
    (found,) = judge(result.model_copy(update={"baseline": figures}), [gate])
    return found


@pytest.mark.parametrize(
    ("name", "change", "verdict"),
    [
        ("circular.consistency", an(-0.001, -0.004, 0.002), "pass"),
        ("circular.consistency", an(-0.03, -0.04, -0.02), "fail"),
        ("circular.consistency", an(0.03, 0.02, 0.04), "pass"),
        ("circular.consistency", an(-0.01, -0.02, 0.0), "inconclusive"),
        ("circular.flipped", an(0.03, 0.02, 0.04), "fail"),
        ("circular.flipped", an(-0.03, -0.04, -0.02), "pass"),
    ],
)
def test_a_drop_is_for_the_worse_whichever_way_is_better(
    name: str, change: Estimate, verdict: str
) -> None:
    result = make_result(radius=1, period=1)
    found = against(result, parse_gate(f"{name} drop<=0.01"), result, {name: change})
    assert found.verdict == verdict
    assert "paired" in found.reason
    assert found.baseline == found.current == result.metric(name)
    assert found.estimate is not None
    assert found.estimate.low is not None
    assert found.estimate.high is not None
    assert found.estimate.low <= float(found.estimate) <= found.estimate.high


def test_a_drop_without_samples_is_taken_from_both_intervals() -> None:
    name = "circular.consistency"
    before, after = with_metric(name, an(0.95, 0.94, 0.96)), with_metric(name, an(0.90, 0.88, 0.92))
    found = against(after, parse_gate(f"{name} drop<=0.01"), before)
    assert found.verdict == "fail"
    assert "not paired" in found.reason
    assert found.estimate is not None
    assert float(found.estimate) == pytest.approx(0.05)
    assert found.estimate.high == pytest.approx(0.05 + math.hypot(0.01, 0.02))
    small = against(before, parse_gate(f"{name} drop<=0.01"), before)
    assert small.verdict == "inconclusive"


def test_a_baseline_of_other_images_is_refused() -> None:
    result = make_result(radius=1, period=1)
    mark = result.fingerprint.model_copy(update={"data_sha256": "0" * 64})
    other = result.model_copy(update={"fingerprint": mark})
    with pytest.raises(InputError, match="images differ"):
        against(result, parse_gate("circular.consistency drop<=0.01"), other)


def test_exit_codes() -> None:
    found = {gate.verdict: gate for gate in make_result(radius=1, period=1).gates}
    assert exit_code([]) == 0
    assert exit_code([found["pass"], found["not judged"]], strict=True) == 0
    assert exit_code([found["pass"], found["inconclusive"]]) == 0
    assert exit_code([found["pass"], found["inconclusive"]], strict=True) == 4
    assert exit_code([found["fail"], found["inconclusive"]], strict=True) == 1
