"""A task is added from outside: registered, scanned, reported, gated, compared and merged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from counting import Counting
from PIL import Image
from torch import nn

import equiaudit
from equiaudit.api.merging import merge, scan_shard
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.setup import plan_of
from equiaudit.comparison import compare_files, render_comparison
from equiaudit.errors import InputError
from equiaudit.report import FORMATS, render
from equiaudit.tasks import TASKS, register

SIZE, MEAN, STD = (16, 16), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
OF_MODEL = {"size": SIZE, "mean": MEAN, "std": STD, "stride": (2, 2)}
HOW = OF_MODEL | {"max_shift": 4, "offsets": 3}


class Bright(nn.Module):
    """The sum of every other pixel, which answers to shifts."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :, :: self.step, :: self.step].mean((1, 2, 3))[:, None]


@pytest.fixture
def task():
    register(Counting())
    yield
    TASKS.remove("counting")


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    for i in range(9):
        pixels = rng.integers(0, 255, (26, 26, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "data" / f"{i}.png")
    return tmp_path / "data"


def scan(data, step=2, **settings):
    return equiaudit.scan(Bright(step).eval(), data, task="counting", **(HOW | settings))


def test_it_is_scanned_and_every_format_speaks_of_it(task, data, tmp_path):
    result = scan(data, output=tmp_path / "out", gates=["circular.drift<=1", "crop.drift<=1e-9"])
    assert result.fingerprint.task == "counting"
    assert [gate.verdict for gate in result.gates] == ["pass", "fail"]
    assert {part.name for part in result.boundary} > {"crop: border", "zero-pad: black"}
    assert "one number per image" in result.notes
    texts = {name: render(result, name) for name in FORMATS}
    assert "drift" in texts["csv"]
    assert "It drifts by" in texts["github"]
    assert all("Drift" in texts[name] for name in ("text", "md", "html"))
    assert "What changes the number" in texts["html"]
    assert "how far the number moves" in texts["html"]
    assert "Images counted" in texts["text"]
    assert "### Images counted" in texts["md"]
    assert "circular.drift" in texts["junit"]


def test_its_figures_are_those_of_a_slow_loop(task, data):
    found = scan(data, shifts=("circular",)).metric("circular.drift")
    options = ScanOptions(shifts=("circular",), max_shift=4, offsets=3)
    plan = plan_of(equiaudit.load_model(Bright(2).eval(), task="counting", **OF_MODEL), options)
    drifts = []
    for i, file in enumerate(sorted(data.iterdir())):
        pixels = np.asarray(Image.open(file))[5:21, 5:21] / 255  # the middle 16 of 26 px
        for dy, dx in plan.offsets(plan.series[0], i).tolist():
            moved = np.roll(pixels, (dy, dx), (0, 1))
            drifts.append(abs(moved[::2, ::2].mean() - pixels[::2, ::2].mean()))
    assert float(found) == pytest.approx(np.mean(drifts), abs=1e-7)
    still = scan(data, step=1, shifts=("circular",)).metric("circular.drift")
    assert float(still) < 1e-6 < float(found)


def test_two_results_are_compared_by_image(task, data, tmp_path):
    scan(data, output=tmp_path / "a")
    later = scan(
        data,
        step=1,
        output=tmp_path / "b",
        baseline=tmp_path / "a" / "result.json",
        gates=["circular.drift drop<=0.5"],
    )
    assert "paired by image" in later.gates[0].reason
    assert later.gates[0].verdict == "pass"
    found = compare_files(tmp_path / "a", tmp_path / "b")
    row = next(row for row in found.rows if row.metric == "circular.drift")
    assert row.paired
    assert row.verdict == "better"
    assert "circular.drift" in render_comparison(found, "md")


def test_shards_come_to_what_one_scan_does(task, data, tmp_path):
    whole = scan(data)
    for part in ("1/2", "2/2"):
        scan_shard(Bright(2).eval(), data, part, output=tmp_path, task="counting", **HOW)
    merged = merge([tmp_path])
    assert merged.shifts == whole.shifts
    assert merged.boundary == whole.boundary
    assert merged.notes == whole.notes


def test_a_metric_of_another_task_is_refused(task, data):
    with pytest.raises(InputError, match="is on a metric of classification") as error:
        scan(data, gates=["circular.consistency>=0.5"])
    assert error.value.tip == "There are circular.drift."


def test_without_the_row_the_name_is_unknown(data):
    with pytest.raises(InputError, match="no task 'counting'"):
        scan(data)


def test_a_name_is_taken_once(task):
    with pytest.raises(InputError, match="already"):
        register(Counting())


def test_a_model_of_another_shape_is_refused(task, data):
    with pytest.raises(InputError, match=r"no one number \(N, 1\)"):
        equiaudit.scan(nn.Flatten(), data, task="counting", **HOW)


def test_reports_of_every_task_need_no_torch():
    script = (
        "import sys; from results import make_result; from dense_results import make_dense_result\n"
        "from equiaudit.report import FORMATS, render\n"
        "from equiaudit.gates import parse_gate\n"
        "from equiaudit.comparison import parse_samples\n"
        "for made in (make_result(), make_dense_result()):\n"
        "    [render(made, name) for name in FORMATS]\n"
        "parse_gate('circular.nmse<=0.1')\n"
        "parse_samples('file,kind,nmse,nonfinite\\na.png,crop,0.5,0\\n')\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    tests = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", script], cwd=tests, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
