"""A scan that ends early: where, with which intervals, and what cannot end one."""

from dataclasses import replace

import numpy as np
import pytest
from small import dataset, small_model, write_images

from equiaudit.audit.engine import run_scan
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.setup import plan_of
from equiaudit.audit.stopping import Stopping
from equiaudit.errors import InputError, RunError
from equiaudit.gates import judge, parse_gate
from equiaudit.metrics.anytime import betting_bounds

OPTIONS = ScanOptions(
    shifts=("circular", "zero-pad"), max_shift=2, offsets=4, images=False, accuracy_check=False
)
IMAGES = 320


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = write_images(tmp_path_factory.mktemp("many"), IMAGES, size=(16, 16))
    return dataset(folder)


def stopping(*gates, early=True, precision=None):
    parsed = [parse_gate(gate) for gate in gates]
    return Stopping.prepare(parsed, early=early, precision=precision), parsed


def scanned(images, *gates, folder=None, model=None, **how):
    stop, parsed = stopping(*gates, **how)
    scan, journal = run_scan(model or small_model(), images, OPTIONS, folder=folder, stopping=stop)
    return scan.result, judge(scan.result, parsed), journal


@pytest.fixture(scope="module")
def whole(images):
    scan, _ = run_scan(small_model(), images, OPTIONS)
    return scan.result


def gate_on(whole, name, gap):
    """A gate that asks for `gap` less than the truth."""
    return f"{name}>={whole.metric(name).value - gap:.4f}"


@pytest.mark.parametrize(("gap", "verdict"), [(0.2, "pass"), (-0.2, "fail")])
def test_a_clear_gate_ends_the_scan_early(images, whole, gap, verdict):
    result, (judged,), _ = scanned(images, gate_on(whole, "circular.consistency", gap))
    assert judged.verdict == verdict
    assert result.fingerprint.n_images < IMAGES / 2
    estimate = result.metric("circular.consistency")
    assert (estimate.method, estimate.n) == ("betting-cs", result.fingerprint.n_images)


def test_it_ends_at_the_first_look_that_settles_every_gate(images, whole):
    gates = [gate_on(whole, f"{kind}.consistency", 0.12) for kind in OPTIONS.shifts]
    result, verdicts, journal = scanned(images, *gates)
    assert {v.verdict for v in verdicts} == {"pass"}
    seen = list(journal.records.values())
    assert len(seen) == result.fingerprint.n_images < IMAGES
    earlier = seen[:-64]  # two blocks before: the images are looked at every 5%, or block
    lows = [
        betting_bounds(np.array([_pairs(r.of(kind).predicted) for r in earlier]))[0]
        for kind in OPTIONS.shifts
    ]
    wanted = [float(v.expression.partition(">=")[2]) for v in verdicts]
    assert any(low < threshold for low, threshold in zip(lows, wanted, strict=True))


def _pairs(labels):
    equal = [a == b for i, a in enumerate(labels) for b in labels[i + 1 :]]
    return np.mean(equal)


def test_only_bounds_that_hold_at_any_time_are_left(images, whole):
    result, _, _ = scanned(images, gate_on(whole, "circular.consistency", 0.2))
    for shift in result.shifts.values():
        methods = {name: e.method for name, e in shift.metrics.items()}
        assert set(methods.values()) == {"betting-cs", "none"}
        assert methods["agreement"] == methods["flipped"] == "betting-cs"
        assert methods["flip_radius"] == methods["logit_error"] == "none"
        assert all(point.agreement.low is None for point in shift.by_distance)
    assert all(part.estimate is None or part.estimate.low is None for part in result.boundary)
    assert "when every gate was settled" in result.notes[-1]


def test_a_scan_that_is_never_settled_says_so_and_has_the_figures_of_any_other(images, whole):
    full, _, _ = scanned(images, early=False, precision=1e-6)
    assert "before the intervals reached 1e-06" in full.notes[-1]
    for name, shift in whole.shifts.items():
        for metric, estimate in shift.metrics.items():
            assert full.shifts[name].metrics[metric].value == pytest.approx(estimate.value)
            low, high = full.shifts[name].metrics[metric].low, estimate.low
            assert low is None or low < high


@pytest.mark.parametrize("precision", [0.2, 0.1])
def test_precision_ends_it_when_the_intervals_are_that_narrow(images, precision):
    result, _, _ = scanned(images, early=False, precision=precision)
    assert result.fingerprint.n_images < IMAGES
    for kind in OPTIONS.shifts:
        estimate = result.metric(f"{kind}.consistency")
        assert estimate.high - estimate.low <= 2 * precision
    assert f"reached {precision:g} to either side" in result.notes[-1]


def test_a_stopped_run_goes_on_to_the_same_end(images, whole, tmp_path):
    gate = gate_on(whole, "circular.consistency", 0.12)
    calls = []

    def failing(batch):
        calls.append(len(batch))
        if len(calls) > 14:
            raise RunError("enough")
        return small_model().run(batch)

    with pytest.raises(RunError):
        scanned(images, gate, folder=tmp_path, model=small_model(failing))
    resumed, _, _ = scanned(images, gate, folder=tmp_path)
    fresh, _, _ = scanned(images, gate)
    assert resumed.timings.resumed
    assert resumed.model_dump(exclude={"timings"}) == fresh.model_dump(exclude={"timings"})


@pytest.mark.parametrize(
    ("gates", "how", "said"),
    [
        ((), {}, "--early-stop needs a gate"),
        (
            ("circular.consistency drop<=0.01",),
            {},
            "a drop is judged on the images of the baseline",
        ),
        ((), {"early": False, "precision": 0.0}, "--precision is 0;"),
        ((), {"early": False, "precision": 1.5}, "--precision is 1.5;"),
    ],
)
def test_what_cannot_end_a_scan_is_refused_before_it(gates, how, said):
    with pytest.raises(InputError, match=said):
        stopping(*gates, **how)


def test_a_gate_without_such_bounds_is_refused(images):
    with pytest.raises(InputError, match="logit_error is no mean of figures in"):
        scanned(images, "circular.logit_error<=0.5")


def test_without_either_nothing_ends_early():
    assert stopping("circular.consistency>=0.9", early=False)[0] is None


@pytest.mark.parametrize("asked", [{"early_stop": True}, {"precision": 0.01}])
def test_shifts_that_only_decompose_are_left_out(asked):
    whole, ends_early = (plan_of(small_model(), replace(OPTIONS, **a)) for a in ({}, asked))
    assert (whole.passes_per_image(), ends_early.passes_per_image()) == (13, 9)
    assert whole.hash != ends_early.hash
    circular = whole.series[0]
    assert np.array_equal(whole.offsets(circular, 5), ends_early.offsets(circular, 5))
