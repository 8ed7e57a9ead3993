"""equiaudit gate: saved results judged again."""

import json

import pytest
from results import make_result

PASSING, FAILING = "circular.consistency>=0.5", "circular.consistency>=0.99"


@pytest.mark.parametrize(
    ("gates", "code"),
    [([PASSING], 0), ([FAILING], 1), ([PASSING, FAILING], 1), (["zero-pad.flipped<=1"], 0)],
)
def test_the_verdicts_settle_the_exit_code(run, saved, gates, code):
    argv = [part for gate in gates for part in ("--gate", gate)]
    found, out, err = run("gate", saved(), *argv)
    assert found == code
    assert all(gate in out for gate in gates)
    assert all(gate in err for gate in gates)


def test_inconclusive_is_4_under_strict_only(run, saved):
    value = json.loads(saved().read_text())["shifts"]["circular"]["metrics"]["consistency"]["value"]
    gate = f"circular.consistency>={value}"
    assert run("gate", saved(), "--gate", gate)[0] == 0
    assert run("gate", saved(), "--gate", gate, "--strict")[0] == 4


def test_without_a_gate_those_of_the_scan_are_judged(run, saved):
    gates = tuple(gate for gate in make_result(n=1000).gates if "drop" not in gate.expression)
    code, out, _ = run("gate", saved(gates=gates), "--format", "json")
    assert code in (0, 1)
    assert json.loads(out)["gates"][0]["expression"] == "circular.consistency>=0.9"
    code, _, err = run("gate", saved(gates=()))
    assert code == 2
    assert "--gate" in err


def test_the_verdicts_are_new_in_every_format(run, saved):
    out = run("gate", saved(), "--gate", FAILING, "--format", "json")[1]
    assert [g["verdict"] for g in json.loads(out)["gates"]] == ["fail"]
    assert "<failure" in run("gate", saved(), "--gate", FAILING, "--format", "junit")[1]
    assert "::error" in run("gate", saved(), "--gate", FAILING, "--format", "github")[1]


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ("circular.consistancy>=0.9", "circular.consistency"),
        ("circular.consistency=>0.9", ">="),
        ("nonsense", "nonsense"),
    ],
)
def test_a_gate_with_a_typo_is_exit_2_and_names_the_nearest(run, saved, gate, said):
    code, out, err = run("gate", saved(), "--gate", gate)
    assert (code, out) == (2, "")
    assert said in err


def test_a_missing_baseline_warns_and_is_an_error_where_required(run, saved):
    argv = ["gate", saved(), "--gate", "circular.consistency drop<=0.01", "--baseline", "no.json"]
    code, out, err = run(*argv, "--format", "json")
    assert code == 0
    assert "warning: There is no baseline at no.json" in err
    assert [g["verdict"] for g in json.loads(out)["gates"]] == ["not judged"]
    assert "recorded as the baseline at no.json" in err
    assert "not judged" not in run(*argv)[2]
    argv[-1] = "none.json"
    assert run(*argv, "--require-baseline")[0] == 2


def test_a_result_that_was_held_against_another_is_recorded_too(run, saved):
    old = "circular.consistency drop<=0.5"
    argv = ["--gate", old, "--baseline", saved("base/result.json"), "--format", "json"]
    held = saved("held/result.json", gates=())
    held.write_text(run("gate", held, *argv)[1])
    new = "zero-pad.consistency drop<=0.5"
    assert "this run is recorded there" in run("gate", held, "--gate", new)[2]
    argv = ["gate", held, "--gate", old, "--gate", new, "--baseline", "first.json"]
    code, out, err = run(*argv, "--format", "json")
    assert code == 0
    assert [g["verdict"] for g in json.loads(out)["gates"]] == ["pass", "not judged"]
    assert "recorded as the baseline at first.json" in err
    assert "not judged" not in run(*argv)[2]


def test_what_the_kept_figures_judge_is_recorded_as_no_baseline_and_says_so(run, saved, tmp_path):
    gate = ["--gate", "circular.consistency drop<=-0.5"]
    held = saved("held/result.json", gates=())
    base = saved("base/result.json")
    held.write_text(run("gate", held, *gate, "--baseline", base, "--format", "json")[1])
    code, _, err = run("gate", held, *gate, "--baseline", "first.json")
    assert code == 1
    assert "not recorded" in err
    assert not (tmp_path / "first.json").exists()


def test_a_baseline_of_the_same_images_is_judged_against(run, saved):
    argv = ["--gate", "circular.consistency drop<=0.5", "--baseline", saved("base/result.json")]
    code, out, _ = run("gate", saved(), *argv, "--format", "json")
    assert code == 0
    assert [g["verdict"] for g in json.loads(out)["gates"]] == ["pass"]


def test_a_drop_without_a_named_baseline_is_exit_2(run, saved, tmp_path):
    argv = ("--gate", "circular.consistency drop<=0.01")
    for more in ((), ("--strict",)):
        code, out, err = run("gate", saved(gates=()), *argv, *more)
        assert (code, out) == (2, "")
        assert "--baseline" in err
    (tmp_path / "equiaudit.toml").write_text('gate = ["circular.consistency drop<=0.01"]')
    assert run("gate", saved(gates=()))[0] == 2


def test_a_failure_is_no_success_in_another_folder(run, saved, tmp_path, monkeypatch):
    drop = ["--gate", "circular.consistency drop<=-0.5", "--baseline", saved("base/result.json")]
    argv = ("gate", saved(gates=()), *drop, "--format", "json")
    code, out, _ = run(*argv)
    assert code == 1
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "result.json").write_text(out)
    monkeypatch.chdir(elsewhere)
    for more in ((), ("--baseline", "base/result.json")):
        code, out, err = run("gate", "result.json", *more)
        assert code == 1
        assert "fail" in err
        assert "not judged" not in out


def test_samples_that_no_gate_needs_are_not_read(run, saved):
    path = saved()
    path.with_name("samples.csv").write_text("not samples")
    assert run("gate", path, "--gate", PASSING)[0] == 0


def test_a_folder_is_as_good_as_the_file_in_it(run, saved):
    path = saved("out/result.json")
    assert run("gate", path.parent, "--gate", PASSING)[0] == 0


def test_gates_come_from_a_settings_file_but_formats_do_not(run, saved, tmp_path):
    (tmp_path / "equiaudit.toml").write_text(f'gate = ["{FAILING}"]\nformat = "html"')
    code, out, _ = run("gate", saved())
    assert code == 1
    assert "<html" not in out


@pytest.mark.parametrize("content", ["", "[]", '{"schema_version": 99}', '{"schema_version": 1}'])
def test_what_is_no_result_is_exit_2(run, tmp_path, content):
    (tmp_path / "r.json").write_text(content)
    code, out, err = run("gate", "r.json", "--gate", PASSING)
    assert (code, out) == (2, "")
    assert "r.json" in err


def test_the_baseline_moves_along_when_it_is_told_to_and_no_gate_fails(run, saved):
    base, now = saved("base/result.json", notes=("before",)), saved(notes=("now",))
    argv = ("gate", now, "--baseline", base, "--update-baseline", "--gate")
    assert run(*argv, FAILING)[0] == 1
    assert json.loads(base.read_text())["notes"] == ["before"]
    code, _, err = run(*argv, PASSING)
    assert code == 0
    assert "recorded as the baseline" in err
    assert json.loads(base.read_text())["notes"] == ["now"]
