"""An option that nothing would read is a fault on the command line, and none in the settings."""

import pytest

from equiaudit import fix
from equiaudit.errors import InputError

FIX = ("fix", "missing.pt", "-o", "x.pt")
AUTO = (*FIX, "--method", "auto", "--data", "images")
COMPARE = ("fix", "missing.pt", "--compare-methods", "--data", "images")
SCAN = ("scan", "missing.pt", "images")

UNREAD = [
    (FIX, ("--labels", "labels.csv"), ("--data", "images")),
    (FIX, ("--limit", 4), ("--data", "images")),
    (FIX, ("--max-shift", 4), ("--data", "images")),
    (FIX, ("--offsets", 4), ("--data", "images")),
    ((*FIX, "--train-data", "images", "--distil", 1), ("--labels", "l.csv"), ("--data", "images")),
    (FIX, ("--goal", "crop"), ("--method", "auto", "--data", "images")),
    *(
        ((*FIX, "--calibrate", "--data", "images"), option, ("--distil", 1))
        for option in (("--learning-rate", 0.1), ("--train-zero-pad", 0.1))
    ),
    (("verify", "missing.pt"), ("--limit", 4), ("images",)),
    (SCAN, ("--address", "local"), ("--engine", "ray")),
    (SCAN, ("--fraction", 2), ("--shifts", "crop,fractional")),
    (SCAN, ("--resampler", "bilinear"), ("--shifts", "subpixel")),
]
CONTRADICTORY = [
    (COMPARE, ("--method", "mass")),
    (COMPARE, ("-o", "x.pt")),
    (COMPARE, ("--dry-run",)),
    (COMPARE, ("--explain",)),
    (COMPARE, ("--pad", "slices")),
    (COMPARE, ("--seconds", 1)),
    ((*FIX, "--format", "json"), ("--explain",)),
    ((*SCAN, "--protocol", "mass"), ("--shifts", "crop")),
    ((*SCAN, "--protocol", "mass"), ("--max-shift", 4)),
    ((*SCAN, "--protocol", "mass"), ("--offsets", 4)),
    ((*SCAN, "--protocol", "alias-free"), ("--fraction", 2)),
    ((*SCAN, "--shifts", "fractional"), ("--resampler", "bilinear")),
    ((*SCAN, "--protocol", "caps"), ("--labels", "labels.csv")),
    ((*SCAN, "--shard", "1/2"), ("--baseline", "result.json")),
    ((*SCAN, "--shard", "1/2"), ("--require-baseline",)),
    ((*SCAN, "--shard", "1/2"), ("--format", "json")),
]
LONG = {"-o": "--output"}


@pytest.mark.parametrize(("call", "option"), [row[:2] for row in UNREAD] + CONTRADICTORY)
def test_an_option_that_nothing_reads_is_refused_by_name(run, call, option):
    code, out, err = run(*call, *option)
    assert code == 2
    assert err.startswith(f"equiaudit: error: {LONG.get(option[0], option[0])} ")
    assert len(err.splitlines()) == 1
    assert out == ""


@pytest.mark.parametrize(("call", "option", "reader"), UNREAD)
def test_it_is_not_refused_beside_what_reads_it(run, call, option, reader):
    _, _, err = run(*call, *option, *reader)
    assert not err.splitlines()[-1].startswith(f"equiaudit: error: {option[0]} ")


@pytest.mark.parametrize(("call", "option"), CONTRADICTORY)
def test_a_call_without_the_option_is_not_refused_for_it(run, call, option):
    _, _, err = run(*call)
    assert option[0] not in err.splitlines()[-1]


def test_a_default_that_is_named_is_refused_too(run):
    assert "--max-shift" in run(*FIX, "--max-shift", 16)[2]
    assert "--method" in run(*COMPARE, "--method", "mass")[2]
    assert "--method" not in run(*COMPARE, "--method", "auto")[2]


def test_demo_refuses_what_scan_refuses(run):
    code, _, err = run("demo", "--protocol", "mass", "--shifts", "crop")
    assert code == 2
    assert err.startswith("equiaudit: error: --shifts ")


def test_settings_that_serve_several_verbs_are_no_fault(run, monkeypatch, tmp_path):
    (tmp_path / "equiaudit.toml").write_text('labels = "labels.csv"\nlimit = 4\naddress = "local"')
    monkeypatch.setenv("EQUIAUDIT_OFFSETS", "4")
    for call in (FIX, ("verify", "missing.pt"), SCAN, (*SCAN, "--protocol", "mass")):
        code, _, err = run(*call)
        assert code == 2
        assert "missing.pt" in err.splitlines()[-1], err


@pytest.mark.parametrize("unread", [{"labels": "l.csv"}, {"limit": 4}, {"max_accuracy_drop": 0.1}])
def test_python_says_the_same_before_the_model_is_read(unread):
    with pytest.raises(InputError, match=r"images of data|needs images"):
        fix("missing.pt", None, dry_run=True, **unread)
    with pytest.raises(InputError, match=r"missing\.pt"):
        fix("missing.pt", None, dry_run=True, data="images", **unread)
