"""A baseline is held against the run before any gate is judged."""

import pytest
from results import make_result

from equiaudit.errors import InputError
from equiaudit.judging import Judge
from equiaudit.report import record_baseline, render
from equiaudit.results import load_result

PLAIN, DROP = "circular.consistency>=0.1", "circular.consistency drop<=0.5"


@pytest.fixture
def baseline(tmp_path):
    """A saved result, without its samples."""
    path = tmp_path / "base.json"
    path.write_text(render(make_result(), "json"))
    return path


def judged(judge, result):
    notes = []
    return judge.judged(result, None, notes.append).gates, notes


@pytest.mark.parametrize("gate", [PLAIN, DROP])
def test_a_baseline_of_other_images_is_refused_whatever_the_gate(baseline, gate):
    judge = Judge.prepare([gate], baseline)
    result = make_result()
    other = result.fingerprint.model_copy(update={"data_sha256": "f" * 64})
    with pytest.raises(InputError, match="images differ"):
        judged(judge, result.model_copy(update={"fingerprint": other}))
    assert judged(judge, result)[0][0].verdict == "pass"


def test_a_drop_without_samples_is_judged_unpaired_and_said(baseline):
    gates, notes = judged(Judge.prepare([DROP], baseline), make_result())
    assert gates[0].verdict == "pass"
    assert "not paired" in notes[0]


def test_a_missing_baseline_is_no_error_unless_required(tmp_path):
    path = tmp_path / "none.json"
    judge = Judge.prepare([DROP], path)
    assert judge.lacks_baseline
    gates, notes = judged(judge, make_result())
    assert gates[0].verdict == "not judged"
    assert str(path) in notes[0]
    with pytest.raises(InputError, match="no result"):
        Judge.prepare([DROP], path, require=True)
    with pytest.raises(InputError, match="--baseline"):
        Judge.prepare([DROP], None, require=True)


# -- what was judged once


def saved_drop(baseline, drop="circular.consistency drop<=-0.5"):
    """A result that failed a drop gate against `baseline`, as it is saved."""
    found = Judge.prepare([drop], baseline).judged(make_result(gates=()), None, print)
    assert found.gates[0].verdict == "fail"
    return load_result_of(found)


def load_result_of(result):
    return type(result).model_validate_json(render(result, "json"))


@pytest.mark.parametrize("path", [None, "gone/base.json"])
def test_a_failed_drop_stays_failed_where_the_baseline_is_gone(baseline, path):
    saved = saved_drop(baseline)
    judge = Judge.prepare([saved.gates[0].expression], path, kept=saved)
    gates, _ = judged(judge, saved)
    assert gates == saved.gates


def test_another_threshold_is_judged_by_the_figures_kept(baseline):
    saved = saved_drop(baseline)
    gates, _ = judged(Judge.prepare([DROP], kept=saved), saved)
    assert gates[0].verdict == "pass"
    assert gates[0].baseline == saved.gates[0].baseline


def test_figures_are_kept_when_other_gates_are_judged(baseline):
    saved = saved_drop(baseline)
    other = Judge.prepare([PLAIN], kept=saved).judged(saved, None, print)
    gates, _ = judged(Judge.prepare([saved.gates[0].expression], kept=other), other)
    assert gates == saved.gates


def test_pairs_are_not_lost_with_the_samples(baseline):
    """The same baseline without its samples.csv says less than what the scan found with it."""
    saved = saved_drop(baseline)
    kept = saved.baseline.drops["circular.consistency"].model_copy(update={"paired": True})
    figures = saved.baseline.model_copy(update={"drops": {"circular.consistency": kept}})
    saved = saved.model_copy(update={"baseline": figures})
    judge = Judge.prepare([DROP], baseline, kept=saved)
    assert "(paired by image)" in judged(judge, saved)[0][0].reason


@pytest.mark.parametrize("require", [False, True])
def test_a_drop_without_a_named_baseline_is_an_error(require):
    with pytest.raises(InputError, match="--baseline"):
        Judge.prepare([PLAIN, DROP], require=require)
    with pytest.raises(InputError, match="--baseline"):
        Judge.prepare([DROP], kept=make_result())
    Judge.prepare([PLAIN])
    Judge.prepare([DROP], later=True)


def test_a_baseline_without_the_figure_is_an_error_before_the_run(tmp_path):
    result = make_result()
    shift = result.shifts["circular"]
    fewer = {k: v for k, v in shift.metrics.items() if k != "consistency"}
    shifts = {**result.shifts, "circular": shift.model_copy(update={"metrics": fewer})}
    path = tmp_path / "base.json"
    path.write_text(render(result.model_copy(update={"shifts": shifts}), "json"))
    judge = Judge.prepare([DROP], path)
    with pytest.raises(InputError, match=r"has no circular\.consistency"):
        judge.check(("circular",))


# -- keeping a run as the baseline


@pytest.mark.parametrize(
    ("gate", "kept"), [(PLAIN, True), ("circular.consistency>=0.9999", False), (None, True)]
)
def test_a_run_takes_the_place_of_the_baseline_unless_a_gate_fails(baseline, gate, kept):
    gates = [gate] if gate else []
    judge = Judge.prepare(gates, baseline, update=True)
    found = judge.judged(make_result(gates=()), None, print)
    assert judge.keeps(found) == (baseline if kept else None)
    assert Judge.prepare(gates, baseline).keeps(found) is None


def test_what_is_to_be_updated_is_named():
    with pytest.raises(InputError, match="none is named"):
        Judge.prepare([PLAIN], None, update=True)


def test_a_recorded_baseline_is_small_and_judges_alike(tmp_path):
    whole = make_result(gates=())
    heavy = "data:image/png;base64," + "A" * 100_000
    worst = tuple(w.model_copy(update={"thumbnail_clean": heavy}) for w in whole.worst)
    path = tmp_path / "base.json"
    record_baseline(whole.model_copy(update={"worst": worst}), None, path)
    assert worst
    assert path.stat().st_size < 50_000
    kept = load_result(path)
    assert kept.shifts == whole.shifts
    assert kept.fingerprint == whole.fingerprint
    gates, _ = judged(Judge.prepare([DROP], path), whole)
    assert gates[0].verdict == "pass"
