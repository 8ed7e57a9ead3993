"""The real thing on a tiny net: scan, compare, gate, bad input, and a run that is stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import equiaudit
from equiaudit.cli import main

NET = """
import time
import torch
from torch import nn

class Net(nn.Module):
    pause = 0.0

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        print("chatter of the model")
        time.sleep(self.pause)
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))

class Slow(Net):
    pause = 0.02
"""
FLAGS = ["--size", "16", "--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25"]
SHORT = ["--max-shift", "2", "--offsets", "4", "--workers", "1", "--no-accuracy-check"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with two state dicts, the module of their net, and 24 images of noise."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "tiny_net.py").write_text(NET)
    scope = {}
    exec(NET, scope)
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        torch.save(scope["Net"]().state_dict(), folder / f"{name}.pt")
    rng = np.random.default_rng(0)
    for index in range(24):
        path = folder / "data" / "xy"[index % 2] / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(path)
    return folder


@pytest.fixture
def here(place, monkeypatch):
    """The current folder is `place`."""
    monkeypatch.chdir(place)
    return place


def scan_argv(model, *more, arch="tiny_net:Net"):
    return ["scan", model, "data", "--arch", arch, *FLAGS, *SHORT, *more]


@pytest.fixture(scope="module")
def scans(place):
    """Both models scanned into the folders a and b."""
    before = Path.cwd()
    os.chdir(place)
    try:
        assert [main([*scan_argv(f"{n}.pt", "-o", n), "-q"]) for n in "ab"] == [0, 0]
    finally:
        os.chdir(before)
    return place


def test_a_scan_writes_its_reports_and_its_payload(here, run):
    code, out, err = run(*scan_argv("a.pt", "-o", "out", "--format", "json"))
    assert code == 0
    names = {path.name for path in (here / "out").iterdir()}
    assert names == {"result.json", "samples.csv", "report.md", "report.html"}
    assert json.loads(out) == json.loads((here / "out" / "result.json").read_text())
    assert "chatter of the model" in err
    assert "(--max-shift)" in err
    assert "100%" in err


def test_a_scan_in_words(here, run):
    code, out, err = run(*scan_argv("a.pt", "-o", "words"), "-q")
    assert (code, err.replace("chatter of the model\n", "")) == (0, "")
    assert "image" in out.splitlines()[0]
    assert "chatter" not in out


@pytest.mark.parametrize("format", ["text", "json", "csv", "md"])
def test_compare(scans, here, run, format):
    code, out, err = run("compare", "a/result.json", "b/result.json", "--format", format)
    assert (code, err) == (0, "")
    assert "consistency" in out.lower()


def test_compare_refuses_other_data_and_other_formats(scans, here, run):
    run(*scan_argv("b.pt", "-o", "fewer", "--limit", "8"), "-q")
    code, out, err = run("compare", "a", "fewer")
    assert (code, out) == (2, "")
    code, out, err = run("compare", "a", "b", "--format", "pdf")
    assert (code, out) == (2, "")
    assert "md" in err


def test_compare_and_a_paired_gate_load_no_torch(scans, here):
    code = (
        "import sys\nfrom equiaudit.cli import main\ncode = main(sys.argv[1:])\n"
        "heavy = {'torch', 'torchvision', 'pandas', 'onnxruntime'} & set(sys.modules)\n"
        "print(code, sorted(heavy), file=sys.stderr)"
    )
    drop = ["gate", "b", "--gate", "circular.consistency drop<=1", "--baseline", "a"]
    for argv in (["compare", "a", "b"], drop):
        command = [sys.executable, "-c", code, *argv]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.stderr.splitlines()[-1] == "0 []", done.stderr


def test_a_drop_is_judged_image_by_image(scans, here, run):
    gate = ["--gate", "circular.consistency drop<=1", "--baseline", "a/result.json"]
    code, out, err = run("gate", "b", *gate, "--format", "json")
    assert code == 0
    assert "not paired" not in err
    assert json.loads(out)["gates"][0]["verdict"] == "pass"


BAD = {
    "no such model": (["scan", "none.pt", "data"], 2),
    "text named .pt": (["scan", "text.pt", "data"], 2),
    "no arch": (["scan", "a.pt", "data", *FLAGS], 2),
    "no such factory": (["scan", "a.pt", "data", "--arch", "tiny_net:Nut", *FLAGS], 2),
    "no preprocessing": (["scan", "a.pt", "data", "--arch", "tiny_net:Net"], 2),
    "no such data": ([*scan_argv("a.pt"), "--labels", "none.csv"], 2),
    "empty data": (["scan", "a.pt", "empty", "--arch", "tiny_net:Net", *FLAGS], 2),
    "images too small": ([*scan_argv("a.pt"), "--size", "64"], 2),
    "gate with a typo": ([*scan_argv("a.pt"), "--gate", "circular.consistancy>=0.5"], 2),
    "required baseline": (
        [*scan_argv("a.pt"), "--require-baseline", "--baseline", "none.json"],
        2,
    ),
    "output is a file": (scan_argv("a.pt", "-o", "text.pt"), 2),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence_and_the_right_code(here, run, name):
    (here / "text.pt").write_text("not a model")
    (here / "empty").mkdir(exist_ok=True)
    argv, code = BAD[name]
    found, out, err = run(*argv)
    assert (found, out) == (code, ""), err
    said = [line for line in err.splitlines() if not line.startswith("Next: ")]
    assert said[-1].startswith("equiaudit: error: ")
    assert "Traceback" not in err
    assert "should not have" not in err
    assert not (here / "reports" / "a" / "result.json").exists()


def interrupted(place, argv, signal_number):
    """Run a slow scan, stop it at its second tenth; returns (code, stdout, stderr)."""
    command = [sys.executable, "-u", "-m", "equiaudit", *argv]
    env = os.environ | {"PYTHONPATH": str(Path(equiaudit.__file__).parents[1])}
    process = subprocess.Popen(
        command,
        cwd=place,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A child of a background job starts with SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    said = []
    try:
        for line in process.stderr:
            said.append(line)
            if "images through the model" in line and not line.startswith(" 10%"):
                break
        time.sleep(0.02)
        process.send_signal(signal_number)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    return process.returncode, out, "".join(said) + err


def test_a_stopped_scan_says_so_and_goes_on_to_the_same_result(here, run):
    def argv(folder):
        return scan_argv("a.pt", "--batch-size", "8", "-o", folder, arch="tiny_net:Slow")

    code, out, err = interrupted(here, argv("stopped"), signal.SIGINT)
    assert (code, out) == (130, ""), err
    assert "what was done is kept in stopped" in err
    assert "Traceback" not in err
    assert run(*argv("whole"), "-q")[0] == 0
    assert run(*argv("stopped"), "-q")[0] == 0
    results = [
        json.loads((here / name / "result.json").read_text()) for name in ("whole", "stopped")
    ]
    assert results[1]["timings"]["resumed"] is True
    for result in results:
        del result["timings"]
    assert results[0] == results[1]
