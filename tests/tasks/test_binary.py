"""Yes or no by a threshold: figures against a loop, and those of classification where T is 0.5."""

from __future__ import annotations

import math

import numpy as np
import pytest
from deciding import HOW, KINDS, Steps, every_output, images

import equiaudit
from equiaudit.api.merging import merge, scan_shard
from equiaudit.errors import InputError
from equiaudit.metrics.binary import auroc, balanced_accuracy
from equiaudit.report import FORMATS, render


@pytest.fixture
def data(tmp_path):
    return images(tmp_path / "data", count=18)


@pytest.fixture
def table(data, tmp_path):
    rng = np.random.default_rng(2)
    rows = [f"{i:02d}.png,{int(rng.random() < 0.4)}\n" for i in range(18)]
    path = tmp_path / "labels.csv"
    path.write_text("file,label\n" + "".join(rows))
    return path


def scan(data, net, **settings):
    how = {"task": "binary", "accuracy_check": False} | HOW
    return equiaudit.scan(net.eval(), data, **(how | settings))


def score_of(output, sigmoid):
    if len(output) == 1:
        return output[0]
    return output[1] if sigmoid else float(np.float32(output[1]) - np.float32(output[0]))


@pytest.mark.parametrize("threshold", [None, 0.3, 0.8])
@pytest.mark.parametrize("net", [Steps(1), Steps(1, sigmoid=True), Steps(1, flat=True), Steps(2)])
def test_its_figures_are_those_of_a_slow_loop(data, table, net, threshold):
    result = scan(data, net, labels=table, threshold=threshold)
    truth = [int(line.split(",")[1]) for line in table.read_text().splitlines()[1:]]
    share = threshold or 0.5
    limit = share if net.sigmoid else math.log(share / (1 - share))
    for kind, rows in every_output(net, data, "binary", threshold).items():
        clean = [score_of(one, net.sigmoid) for one, _ in rows]
        moved = [[score_of(one, net.sigmoid) for one in passes] for _, passes in rows]
        own = result.shifts[kind].metrics
        right = [
            [(s > limit) == bool(t) for s in each] for each, t in zip(moved, truth, strict=True)
        ]
        kept = [
            [(s > limit) == (c > limit) for s in each] for each, c in zip(moved, clean, strict=True)
        ]
        own = result.shifts[kind].metrics
        assert float(own["agreement"]) == pytest.approx(np.mean(kept), abs=1e-12)
        assert float(own["flipped"]) == np.mean([not all(each) for each in kept])
        assert float(own["accuracy_shifted"]) == pytest.approx(np.mean(right), abs=1e-12)
        sides = [
            np.mean([r for r, t in zip(right, truth, strict=True) if t == side]) for side in (0, 1)
        ]
        assert float(own["balanced_accuracy_shifted"]) == pytest.approx(np.mean(sides), abs=1e-12)
        for name, scores in (("clean", [[c] for c in clean]), ("shifted", moved)):
            wins = [
                (a > b) + 0.5 * (a == b)
                for yes, t in zip(scores, truth, strict=True)
                if t
                for no, u in zip(scores, truth, strict=True)
                if not u
                for a in yes
                for b in no
            ]
            assert float(own[f"auroc_{name}"]) == pytest.approx(np.mean(wins), abs=1e-12)
    assert float(result.metric("circular.agreement")) < 1  # else nothing is tested


@pytest.mark.parametrize("net", [Steps(1), Steps(1, sigmoid=True), Steps(2)])
def test_at_a_half_its_figures_are_those_of_classification(data, table, net):
    binary, labels = (
        scan(data, net, labels=table, task=task) for task in ("binary", "classification")
    )
    for kind in KINDS:
        own, other = binary.shifts[kind], labels.shifts[kind]
        assert {name: own.metrics[name] for name in other.metrics} == other.metrics
        assert own.agreement_map == other.agreement_map
    assert binary.boundary == labels.boundary
    moved = scan(data, net, labels=table, threshold=0.9)
    assert moved.shifts["circular"].metrics != binary.shifts["circular"].metrics


def test_a_threshold_asks_for_the_task(data):
    with pytest.raises(InputError, match="threshold decides yes or no") as error:
        scan(data, Steps(1), task="auto", threshold=0.3)
    assert 'task="binary"' in error.value.tip


def test_three_scores_are_no_yes_or_no(data):
    with pytest.raises(InputError, match="one score"):
        scan(data, Steps(3))


def test_reports_shards_and_gates(data, table, tmp_path):
    how = {"labels": table, "threshold": 0.3}
    result = scan(data, Steps(1), output=tmp_path / "out", gates=["crop.auroc_shifted>=0"], **how)
    assert result.gates[0].verdict == "pass"
    assert "label 1 is decided for above 0.3, a logit of -0.847298" in " ".join(result.notes)
    texts = {name: render(result, name) for name in FORMATS}
    assert all("AUROC" in texts[name] for name in ("text", "md", "html"))
    assert "--threshold 0.3" in texts["html"]
    settings = {"task": "binary", "accuracy_check": False} | HOW | how
    for part in ("1/2", "2/2"):
        scan_shard(Steps(1).eval(), data, part, output=tmp_path, **settings)
    merged = merge([tmp_path])
    assert merged.shifts == result.shifts
    assert merged.notes == result.notes


def test_intervals_of_two_samples():
    rng = np.random.default_rng(0)
    truth = np.arange(200) < 80
    scores = rng.normal(size=(200, 3)) + truth[:, None]
    found = auroc(scores, truth)
    assert found.low < found.value < found.high
    assert 0.7 < found.value < 0.85  # Phi(1 / sqrt 2) is 0.76
    whole = auroc(truth[:, None].astype(float), truth)
    assert (whole.value, whole.high) == (1, 1)
    assert 0.9 < whole.low < 1
    assert auroc(scores[:5], truth[:5]).value is None
    right = (rng.random(200) < np.where(truth, 0.9, 0.7)).astype(float)
    both = balanced_accuracy(right, truth)
    assert float(both) == pytest.approx((right[truth].mean() + right[~truth].mean()) / 2)
    assert both.low < both.value < both.high
