"""equiaudit fix: methods compared on data, crop-select, and the one that auto takes."""

import json
import zipfile

import pytest

from equiaudit.api import load_model
from equiaudit.demo import DEMO_ARCH, images_path, weights_path

ARCH = ("--arch", DEMO_ARCH)
QUICK = ("--seconds", "0.3")
DATA = ("--data", images_path(), "--limit", 24, "--max-shift", 4, "--margin", 4)


def test_methods_are_compared_and_nothing_is_written(run, tmp_path):
    code, text, err = run("fix", weights_path(), *ARCH, *DATA, "--compare-methods")
    assert code == 0, err
    for name in ("unmodified", "mass", "canonical", "crop-select"):
        assert name in text
    assert "Choice: " in text
    assert "24 images, 4 shifts of up to 4 px" in " ".join(text.split())
    assert list(tmp_path.iterdir()) == []


def test_auto_writes_what_the_rule_picks_and_the_table(run, tmp_path):
    out = tmp_path / "a.pt"
    code, text, err = run(
        "fix", weights_path(), *ARCH, *DATA, *QUICK, "--method", "auto", "-o", out, "--format", "md"
    )
    assert code == 0, err
    report = json.loads((tmp_path / "reports/a-fix/fix.json").read_text())
    rows = {row["method"]: row for row in report["candidates"]}
    chosen = rows[report["choice"]["method"]]
    assert report["method"] == chosen["method"]
    assert chosen["metrics"]["circular.consistency"]["value"] == 1
    assert chosen["slowdown"]["low"] <= chosen["slowdown"]["value"] <= chosen["slowdown"]["high"]
    best = max(row["metrics"]["circular.consistency"]["value"] for row in rows.values())
    assert best == 1
    assert "| method | accuracy |" in text
    assert (tmp_path / "reports/a-fix/fix.md").read_text() == text
    assert out.exists()


def test_crop_select_measures_real_shifts_and_says_what_the_file_takes(run, tmp_path):
    out = tmp_path / "a.pt"
    code, text, err = run(
        "fix", weights_path(), *ARCH, *DATA, *QUICK, "--method", "crop-select", "-o", out
    )
    assert code == 0, err
    said = " ".join(text.split())
    assert "takes 36x36 px" in said
    assert "same crop: bound" in said
    report = json.loads((tmp_path / "reports/a-fix/fix.json").read_text())
    first = report["agreement"][0]
    assert first["shift"] == [0, 1]
    assert first["bound"] < first["expected"]
    assert first["same_choice"]["n"] == 24
    assert first["label_changes_before"]["n"] == first["label_changes_after"]["n"] == 24
    assert load_model(out).preprocess.size == (36, 36)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--compare-methods",), "--data"),
        (("--method", "auto", "-o", "x.pt"), "--data"),
        (("--method", "auto", "--data", "."), "-o OUT"),
        (("--method", "auto", "--data", ".", "-o", "x.bin"), "suffix"),
        (("--method", "auto", "--goal", "up", "-o", "x.pt"), "--goal"),
        (("--method", "crop-select", "--skip", "a", "-o", "x.pt"), "--skip"),
        (("--method", "mass+canonical", "-o", "x.pt"), "no combination"),
        (("--format", "html", "-o", "x.pt"), "html"),
    ],
)
def test_bad_calls_are_one_sentence(run, argv, words):
    code, out, err = run("fix", weights_path(), *ARCH, *argv)
    assert code == 2, err
    assert words in err.splitlines()[-1]
    assert out == ""


def test_images_smaller_than_the_larger_input_are_named(run, tmp_path):
    argv = ("--data", images_path(), "--limit", 8, "--method", "crop-select", "--margin", 40)
    code, _, err = run("fix", weights_path(), *ARCH, *argv, *QUICK, "-o", tmp_path / "a.pt")
    assert code == 2
    assert "With --margin 40, crop-select takes 72x72 px" in err
    assert not (tmp_path / "a.pt").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("-o", "x.zip"), "no suffix"),
        (("-o", "no/x.pt"), "no folder no"),
        ((), "needs a file to write"),
        (("--train-limit", 4, "-o", "x.pt"), "--train-limit is read by training alone"),
        (("--learning-rate", 0.1, "-o", "x.pt"), "--learning-rate is read by training alone"),
        (
            ("--method", "auto", "--calibrate", "--data", images_path(), "-o", "x.pt"),
            "compared as they are, without training",
        ),
    ],
)
def test_what_cannot_work_is_said_before_the_model_is_read(run, tmp_path, flags, words):
    code, _, err = run("fix", "missing.pt", *flags)
    assert code == 2
    assert words in " ".join(err.split())
    assert "missing.pt" not in err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--method", "magic"), "no method 'magic'"),
        (("--method", "mass", "--margin", 4), "no use for --margin"),
        (
            ("--method", "canonical", "--calibrate", "--train-data", images_path()),
            "nothing to train",
        ),
    ],
)
def test_what_a_method_cannot_do_is_said_before_the_file_is_read(run, tmp_path, flags, words):
    """The file has the members of a TorchScript archive, and is damaged."""
    path = tmp_path / "damaged.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("constants.pkl", "data.pkl", "code/__torch__.py", "version"):
            archive.writestr(f"damaged/{name}", "no model")
    known = ("--size", 32, "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5", "-o", tmp_path / "x.pt")
    code, _, err = run("fix", path, *flags, *known)
    assert code == 2
    assert words in " ".join(err.split())
    code, _, err = run("fix", path, *known)
    assert code == 2
    assert words not in " ".join(err.split())
