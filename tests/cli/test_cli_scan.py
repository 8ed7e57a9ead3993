"""equiaudit scan: what reaches the engine, what comes out, and every exit code."""

import json
import shlex
import signal
import subprocess
import sys
import time

import pytest
from results import make_result

from equiaudit.config import Settings
from equiaudit.errors import InputError, NothingToDo, RunError
from equiaudit.results import GateVerdict


def verdict(outcome: str) -> GateVerdict:
    return GateVerdict(
        expression="circular.consistency>=0.9",
        metric="circular.consistency",
        verdict=outcome,
        estimate=None,
        reason="as it happens",
    )


def judged(*outcomes):
    return make_result(n=64).model_copy(update={"gates": tuple(map(verdict, outcomes))})


def fails(error):
    def do(options):
        raise error

    return do


def test_flags_reach_the_engine_parsed(run, scanned, tmp_path):
    calls = scanned()
    argv = "--size 32 --mean .5,.5,.5 --shifts crop --offsets full --batch-size 8 --no-resume"
    gates = ["--gate", "a>=1", "--gate", "b>=2"]
    assert run("scan", "m.onnx", "data", *argv.split(), *gates, "-o", "out")[0] == 0
    ((model, data, options),) = calls
    assert (model, data) == ("m.onnx", "data")
    assert options["size"] == (32, 32)
    assert options["mean"] == (0.5, 0.5, 0.5)
    assert (options["shifts"], options["offsets"]) == (("crop",), "full")
    assert (options["batch_size"], options["resume"]) == (8, False)
    assert list(options["gates"]) == ["a>=1", "b>=2"]
    assert str(options["output"]) == "out"


def test_every_setting_but_the_format_reaches_the_engine(run, scanned):
    calls = scanned()
    run("scan", "m", "d")
    ((_, _, options),) = calls
    assert set(options) == (set(Settings.model_fields) - {"format", "gate"}) | {
        "gates",
        "observer",
    }


@pytest.mark.parametrize(
    ("model", "folder"),
    [
        ("some/where/net.v2.onnx", "reports/net.v2"),
        ("torchvision:resnet18", "reports/resnet18"),
        ("torchvision:resnet18/IMAGENET1K_V1", "reports/resnet18-IMAGENET1K_V1"),
        ("timm:resnet18.a1_in1k", "reports/resnet18.a1_in1k"),
        ("..", "reports/model"),
        ("evil\n\x1b[2J name.pt", "reports/evil-2J-name"),
    ],
)
def test_the_reports_go_to_a_folder_named_after_the_model(run, scanned, model, folder):
    calls = scanned()
    run("scan", model, "d")
    assert str(calls[0][2]["output"]) == folder


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("format", ["text", "json", "junit", "github"])
@pytest.mark.parametrize(
    ("outcomes", "code", "strict_code"),
    [
        ((), 0, 0),
        (("pass",), 0, 0),
        (("pass", "fail"), 1, 1),
        (("inconclusive",), 0, 4),
        (("fail", "inconclusive"), 1, 1),
        (("not judged",), 0, 0),
    ],
)
def test_verdicts_settle_the_exit_code(run, scanned, outcomes, code, strict_code, strict, format):
    scanned(judged(*outcomes))
    argv = ["--strict"] if strict else []
    assert run("scan", "m", "d", "--format", format, *argv)[0] == (strict_code if strict else code)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("x"), 2),
        (RunError("x"), 3),
        (MemoryError(), 3),
        (ValueError("x"), 3),
        (SystemExit(0), 3),
        (NothingToDo("x"), 5),
        (KeyboardInterrupt(), 130),
    ],
)
def test_failures_settle_the_exit_code(run, scanned, error, code):
    scanned(does=fails(error))
    found, out, err = run("scan", "m", "d")
    assert (found, out) == (code, "")
    assert "Traceback (" not in err
    assert err.splitlines()[-1].startswith("equiaudit: error: ")


def test_an_interruption_says_what_is_kept_and_how_to_go_on(run, scanned, tmp_path):
    scanned(does=fails(KeyboardInterrupt()))
    assert "before any image" in run("scan", "m", "d", "-o", "out")[2]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "partial-0.jsonl").touch()
    assert "before any image" in run("scan", "m", "d", "-o", "out")[2]
    (tmp_path / "out" / "partial-0.jsonl").write_text("{}")
    err = run("scan", "m", "d", "-o", "out")[2]
    assert "kept in out" in err
    assert "the same command goes on from there" in err
    assert "--resume" in run("scan", "m", "d", "-o", "out", "--no-resume")[2]


def test_stdout_is_the_payload_alone_and_the_rest_is_stderr(run, scanned):
    def chatty(options):
        print("the model prints")
        options["observer"].settings({"window": "16x16"})
        options["observer"].note("one file was not readable")
        return judged("pass")

    scanned(does=chatty)
    argv = ["--max-shift", "4", "--size", "16", "--no-images", "--shifts", "crop,circular"]
    code, out, err = run("scan", "m", "d", "--format", "json", *argv)
    assert code == 0
    assert json.loads(out)["schema_version"] == 1
    for said in (
        "the model prints",
        "max-shift 4 (--max-shift)",
        "size 16x16 (--size)",
        "images off (--images)",
        "shifts crop, circular (--shifts)",
        "window 16x16",
        "one file was not readable",
        "pass  circular.consistency>=0.9",
        "report.html",
    ):
        assert said in err


def test_quiet_leaves_stderr_empty(run, scanned):
    scanned(judged("fail"))
    code, out, err = run("scan", "m", "d", "-q")
    assert (code, err) == (1, "")
    assert out


def test_one_format_goes_to_stdout_only(run, scanned, tmp_path):
    scanned()
    out = run("scan", "m", "d", "-o", "out", "--format", "md")[1]
    assert out.startswith("#")
    assert not (tmp_path / "out").exists()


def test_several_formats_are_files_and_the_first_is_stdout(run, scanned, tmp_path):
    scanned()
    formats = "csv,text,json,md,html,junit,github"
    out = run("scan", "m", "d", "-o", "out", "--format", formats)[1]
    names = "metrics.csv report.txt result.json report.md report.html junit.xml github.txt"
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(names.split())
    assert (tmp_path / "out" / "metrics.csv").read_text() == out


def test_a_folder_that_cannot_be_written_is_exit_2(run, scanned, tmp_path):
    scanned()
    (tmp_path / "out").write_text("a file")
    code, _, err = run("scan", "m", "d", "-o", "out", "--format", "text,json")
    assert code == 2
    assert "out" in err


def test_settings_of_a_file_apply_and_their_origin_is_said(run, scanned, tmp_path):
    calls = scanned()
    (tmp_path / "equiaudit.toml").write_text('max-shift = 3\nformat = "csv"')
    _, out, err = run("scan", "m", "d")
    assert calls[0][2]["max_shift"] == 3
    assert "max-shift 3 (max-shift in equiaudit.toml)" in err
    assert out.startswith("kind,")


def test_the_step_summary_is_appended(run, scanned, tmp_path, monkeypatch):
    scanned()
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    run("scan", "m", "d")
    text = path.read_text()
    assert text.startswith("before\n")
    assert "consistency" in text.lower()


@pytest.mark.parametrize("full", [True, False])
def test_a_step_summary_that_cannot_be_written_is_a_warning(
    run, scanned, tmp_path, monkeypatch, full
):
    scanned()
    path = tmp_path / "summary.md"
    if full:
        path.write_bytes(b"x" * 1024 * 1024)
    else:
        path.mkdir()
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    code, _, err = run("scan", "m", "d")
    assert code == 0
    assert "warning: The step summary" in err
    assert not full or path.stat().st_size == 1024 * 1024


def test_hostile_names_do_not_reach_the_terminal(run, scanned):
    def tell(options):
        options["observer"].note("bad\x1b[2J\nname.png was left out")
        raise InputError("no such file: a\x1b]0;x\x07.pt")

    scanned(does=tell)
    err = run("scan", "m\x1b[31m", "d")[2]
    assert "\x1b" not in err
    assert "\x07" not in err


INTERRUPTED = """
import sys, time
from pathlib import Path
from equiaudit import api
from equiaudit.cli import main

def scan(model, data, **options):
    options["output"].mkdir(parents=True)
    (options["output"] / "partial-0.jsonl").write_text("{}")
    Path("started").touch()
    time.sleep(60)

api.scan = scan
sys.exit(main(["scan", "m", "d", "-o", "out"]))
"""


def heed_interrupts():
    """A child of a background job starts with SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_with_130_and_a_sentence(tmp_path, stop):
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    try:
        for _ in range(600):
            if (tmp_path / "started").exists() or process.poll() is not None:
                break
            time.sleep(0.05)
        process.send_signal(stop)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    assert "what was done is kept in out" in err
    assert "Traceback" not in err


def test_what_is_secret_in_a_url_is_not_said(run, scanned):
    calls = scanned()
    url = "https://me:hunter2@host/d"
    code, out, err = run("scan", "m.pt", url, "--labels", f"{url}/labels.csv?X-Signature=abc")
    assert code == 0
    assert calls[0][1] == url
    assert calls[0][2]["labels"] == f"{url}/labels.csv?X-Signature=abc"
    assert "https://host/d/labels.csv" in err
    assert "hunter2" not in out + err
    assert "X-Signature" not in out + err


def test_a_table_named_by_a_settings_file_may_be_a_url(run, scanned, tmp_path):
    calls = scanned()
    (tmp_path / "equiaudit.toml").write_text('labels = "s3://b/l.csv"\nclasses = "c.csv"\n')
    assert run("scan", "m.pt", "photos")[0] == 0
    assert calls[0][2]["labels"] == "s3://b/l.csv"
    assert calls[0][2]["classes"] == "c.csv"


def test_the_command_that_repairs_is_said_with_what_is_known_of_the_model(run, scanned):
    scanned()
    argv = ("my net.onnx", "d", "--size", "16x24", "--mean", "0.5,0,-1", "--input", "a=1")
    err = run("scan", *argv, "--gate", "circular.consistency>=0")[2]
    last = err.splitlines()[-1]
    assert shlex.split(last.removeprefix("Next: ")) == [
        *("equiaudit", "fix", "my net.onnx", "-o", "my net-fixed.onnx", "--data", "d"),
        *("--size=16x24", "--mean=0.5,0,-1", "--input", "a=1"),
    ]
    assert "Next:" not in run("scan", "m", "d", "--protocol", "caps")[2]


def test_what_would_mend_a_refusal_is_said_as_the_whole_command(run, scanned):
    def refused(options):
        raise InputError("It is not known.", tip="Add it.", flags=("--size HxW", "--mean V"))

    scanned(does=refused)
    argv = ("my net.onnx", "https://me:hunter2@host/d", "-o", "out", "--no-resume", "--strict")
    code, out, err = run("scan", *argv, "--gate", "a>=1", "--gate", "b>=2", "--mask-offset", "-1")
    assert (code, out) == (2, "")
    *_, error, last = err.splitlines()
    assert error == "equiaudit: error: It is not known. Add it."
    assert sorted(shlex.split(last.removeprefix("Next: "))) == sorted(
        [
            *("equiaudit", "scan", "my net.onnx", "https://host/d", "--output", "out"),
            *("--no-resume", "--strict", "--gate", "a>=1", "--gate", "b>=2", "--mask-offset=-1"),
            *("--size", "HxW", "--mean", "V"),
        ]
    )
    assert last.startswith("Next: equiaudit scan 'my net.onnx' https://host/d --")
    assert last.endswith(" --size HxW --mean V")


def test_where_rolls_change_nothing_a_method_for_the_border_is_next(run, scanned):
    kinds = ("circular", "crop", "zero-pad")
    found = make_result(n=64, kinds=kinds).model_copy(update={"gates": ()})
    one = found.shifts["circular"]
    stable = unmoved(one)
    assert "crop-select" not in run_next(run, scanned, found)
    exact = found.model_copy(update={"shifts": found.shifts | {"circular": stable}})
    assert "--method crop-select" in run_next(run, scanned, exact)
    at_rest = exact.shifts | {"crop": unmoved(found.shifts["crop"])}
    assert "Next" not in run_next(run, scanned, found.model_copy(update={"shifts": at_rest}))


def unmoved(shift):
    """The same, where no label changed."""
    figures = {"agreement": 1.0, "flipped": 0.0}
    still = {n: shift.metrics[n].model_copy(update={"value": v}) for n, v in figures.items()}
    return shift.model_copy(update={"metrics": shift.metrics | still})


def run_next(run, scanned, result):
    scanned(result)
    return run("scan", "m", "d")[2].splitlines()[-1]


def test_nothing_is_to_be_repaired_where_nothing_changes(run, scanned):
    found = make_result(n=64, kinds=("circular",)).model_copy(update={"gates": ()})
    one = found.shifts["circular"]
    stable = unmoved(one)
    scanned(found.model_copy(update={"shifts": {"circular": stable}}))
    assert "Next:" not in run("scan", "m", "d")[2]
