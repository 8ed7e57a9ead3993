"""Several labels per image: figures against a loop over sets, and all that a scan does."""

from __future__ import annotations

import csv
import io
import math
from itertools import combinations

import numpy as np
import pytest
import torch
from deciding import HOW, Steps, every_output, images

import equiaudit
from equiaudit.api.merging import merge, scan_shard
from equiaudit.comparison import compare_files
from equiaudit.errors import InputError
from equiaudit.report import FORMATS, render

CLASSES = 5
NAMES = ("scratch", "dent", "oil stain", "crack", "rust")


@pytest.fixture
def data(tmp_path):
    return images(tmp_path / "data")


@pytest.fixture
def table(data, tmp_path):
    """Labels of which most are what the unshifted net says."""
    rng = np.random.default_rng(1)
    outputs = every_output(Steps(CLASSES).eval(), data, "multilabel")["circular"]
    rows = []
    for i, (clean, _) in enumerate(outputs):
        own = (clean > 0) ^ (rng.random(CLASSES) < 0.2)
        rows.append(f"{i:02d}.png,{'|'.join(map(str, np.flatnonzero(own)))}")
    path = tmp_path / "labels.csv"
    path.write_text("file,labels\n" + "\n".join(rows) + "\n")
    return path


def truth_of(table):
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    return [{int(c) for c in row["labels"].split("|") if c} for row in rows]


def scan(data, net=None, **settings):
    net = net or Steps(CLASSES).eval()
    return equiaudit.scan(net, data, **({"task": "multilabel"} | HOW | settings))


def mean(values):
    return sum(values) / len(values)


def slow(rows, limit, truth, classes=CLASSES):
    """Every metric by a loop over sets."""
    every = range(classes)
    sets = [
        [{c for c in every if one[c] > limit} for one in (clean, *passes)] for clean, passes in rows
    ]

    def alike(a, b):
        return mean([(c in a) == (c in b) for c in every])

    found = {
        "set_consistency": mean([mean([a == b for a, b in combinations(s[1:], 2)]) for s in sets]),
        "label_consistency": mean(
            [mean([alike(a, b) for a, b in combinations(s[1:], 2)]) for s in sets]
        ),
        "set_agreement": mean([mean([a == s[0] for a in s[1:]]) for s in sets]),
        "label_agreement": mean([mean([alike(a, s[0]) for a in s[1:]]) for s in sets]),
        "jaccard": mean(
            [mean([len(a & s[0]) / len(a | s[0]) if a | s[0] else 1 for a in s[1:]]) for s in sets]
        ),
        "set_flipped": mean([any(a != s[0] for a in s[1:]) for s in sets]),
    }
    worst = []
    for s, t in zip(sets, truth, strict=True):
        bad, good = [len(a ^ t) for a in s[1:]], [len(a & t) for a in s[1:]]
        order = sorted(range(len(bad)), key=lambda k: (-bad[k], good[k], k))
        worst.append([s[1 + order[0]]])
    when = {"clean": [[s[0]] for s in sets], "shifted": [s[1:] for s in sets], "worst": worst}
    for name, decided in when.items():
        each, sums = [], np.zeros(2)
        for c in every:
            right = both = 0
            for own, t in zip(decided, truth, strict=True):
                for a in own:
                    right += c in a and c in t
                    both += (c in a) + (c in t)
            sums += (2 * right, both)
            each += [2 * right / both] if both else []
        found[f"f1_micro_{name}"] = sums[0] / sums[1]
        found[f"f1_macro_{name}"] = mean(each)
    return found


@pytest.mark.parametrize(
    ("sigmoid", "threshold"), [(False, None), (False, 0.7), (True, None), (True, 0.2)]
)
def test_its_figures_are_those_of_a_slow_loop(data, table, sigmoid, threshold):
    net = Steps(CLASSES, sigmoid=sigmoid).eval()
    result = scan(data, net, labels=table, threshold=threshold, accuracy_check=False)
    share = threshold or 0.5
    limit = share if sigmoid else math.log(share / (1 - share))
    for kind, rows in every_output(net, data, "multilabel", threshold).items():
        wanted = slow(rows, limit, truth_of(table))
        shown = {name: float(e) for name, e in result.shifts[kind].metrics.items()}
        assert shown == pytest.approx(wanted, abs=1e-12)
        assert wanted["set_consistency"] < 1  # else nothing is tested
        by_class = {one.index: one for one in result.shifts[kind].classes}
        for c in range(CLASSES):
            pairs = [
                np.mean([(a[c] > limit) == (b[c] > limit) for a, b in combinations(passes, 2)])
                for _, passes in rows
            ]
            assert float(by_class[c].consistency) == pytest.approx(np.mean(pairs), abs=1e-12)
            assert by_class[c].true == sum(c in own for own in truth_of(table))
    order = [float(one.consistency) for one in result.shifts["circular"].classes]
    assert order == sorted(order)


def test_the_f1_is_that_of_scikit_learn(data, table):
    metrics = pytest.importorskip("sklearn.metrics")
    net = Steps(CLASSES).eval()
    result = scan(data, net, labels=table, shifts=("circular",))
    rows = every_output(net, data, "multilabel")["circular"]
    decided = np.array([clean > 0 for clean, _ in rows])
    true = np.array([[c in own for c in range(CLASSES)] for own in truth_of(table)])
    for average in ("micro", "macro"):
        wanted = metrics.f1_score(true, decided, average=average)
        found = result.metric(f"circular.f1_{average}_clean")
        assert float(found) == pytest.approx(wanted, abs=1e-12)


def test_a_net_that_sees_means_alone_never_wavers(data):
    class Mean(torch.nn.Module):
        def forward(self, x):
            return torch.stack([x.double().mean((1, 2, 3)) - t for t in (0.4, 0.6)], 1).float()

    still = scan(data, Mean().eval(), shifts=("circular",))
    assert float(still.metric("circular.set_consistency")) == 1
    assert float(scan(data).metric("circular.set_consistency")) < 1


def test_a_sigmoid_is_read_as_several_labels_and_says_so(data):
    result = scan(data, Steps(CLASSES, sigmoid=True).eval(), task="auto")
    assert result.fingerprint.task == "multilabel"
    notes = " ".join(result.notes)
    assert "scores of 5 classes, several of which may be right" in notes
    assert "outputs are probabilities" in notes
    assert "above 0.5" in notes
    logits = scan(data, threshold=0.9)
    assert "outputs are logits; a class is decided for above 0.9, a logit of 2.19722" in " ".join(
        logits.notes
    )


def test_class_folders_contradict_a_sigmoid(data):
    for name in ("cat", "dog"):
        (data / name).mkdir()
    for i, file in enumerate(sorted(data.glob("*.png"))):
        file.rename(data / ("cat", "dog")[i % 2] / file.name)
    with pytest.raises(InputError, match="class folders") as error:
        scan(data, Steps(2, sigmoid=True).eval(), task="auto")
    assert 'task="multilabel"' in error.value.tip
    assert 'task="classification"' in error.value.tip
    assert "cat, dog" in str(error.value)
    assert scan(data, Steps(2, sigmoid=True).eval()).labelled is False


def test_every_format_speaks_of_it(data, table, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("\n".join(NAMES))
    result = scan(
        data,
        labels=table,
        class_names=names,
        output=tmp_path / "out",
        gates=["circular.set_consistency>=0.99", "crop.f1_micro_worst>=0"],
        accuracy_check=False,
    )
    assert [gate.verdict for gate in result.gates] == ["fail", "pass"]
    texts = {name: render(result, name) for name in FORMATS}
    assert all("Set consistency" in texts[name] for name in ("text", "md", "html"))
    assert all("oil stain" in texts[name] for name in ("text", "md", "html"))
    assert "change their set of labels" in texts["text"] or "changes its set" in texts["text"]
    assert "What changes the set of labels" in texts["html"]
    assert {part.name for part in result.boundary} > {"crop: border", "zero-pad: black"}
    rows = list(csv.DictReader((tmp_path / "out" / "samples.csv").open()))
    mean = np.mean([float(r["set_consistency"]) for r in rows if r["kind"] == "crop"])
    assert mean == pytest.approx(float(result.metric("crop.set_consistency")), abs=1e-12)
    assert {int(c) for c in rows[0]["labels"].split("|") if c} == truth_of(table)[0]


def test_shards_resume_and_comparison(data, table, tmp_path):
    settings = {"labels": table, "accuracy_check": False}
    whole = scan(data, output=tmp_path / "a", **settings)
    for part in ("1/2", "2/2"):
        scan_shard(
            Steps(CLASSES).eval(),
            data,
            part,
            output=tmp_path,
            **({"task": "multilabel"} | HOW | settings),
        )
    merged = merge([tmp_path])
    assert merged.shifts == whole.shifts
    assert merged.boundary == whole.boundary
    assert merged.notes == whole.notes
    later = scan(
        data,
        Steps(CLASSES, sigmoid=True).eval(),
        output=tmp_path / "b",
        baseline=tmp_path / "a" / "result.json",
        gates=["circular.set_agreement drop<=0.5"],
        **settings,
    )
    assert "paired by image" in later.gates[0].reason
    found = compare_files(tmp_path / "a", tmp_path / "b")
    assert next(row for row in found.rows if row.metric == "circular.jaccard").paired


def test_a_scan_may_end_early(data, table):
    result = scan(data, gates=["circular.set_consistency<=1"], early_stop=True)
    assert result.metric("circular.set_consistency").method == "betting-cs"
    assert result.shifts["circular"].classes[0].consistency.low is None
    with pytest.raises(InputError, match="cannot end a scan early"):
        scan(data, labels=table, gates=["circular.f1_micro_clean>=0"], early_stop=True)


def test_labels_of_other_images_are_no_better_than_chance(tmp_path):
    data = images(tmp_path / "many", count=40)
    net = Steps(CLASSES).eval()
    outputs = every_output(net, data, "multilabel")["circular"]
    own = ["|".join(map(str, np.flatnonzero(clean > 0))) for clean, _ in outputs]

    def labels(order):
        path = tmp_path / f"{order[0]}.csv"
        path.write_text("file,labels\n" + "".join(f"{i:02d}.png,{own[j]}\n" for i, j in order[1]))
        return path

    right = labels(("right", [(i, i) for i in range(40)]))
    wrong = labels(("wrong", [(i, (i + 7) % 40) for i in range(40)]))
    assert float(scan(data, labels=right, shifts=("circular",)).metric("circular.f1_micro_clean"))
    with pytest.raises(InputError, match="no more to do with the true ones"):
        scan(data, labels=wrong, shifts=("circular",))
    scan(data, labels=wrong, shifts=("circular",), accuracy_check=False)


def test_a_threshold_is_for_tasks_that_decide(data):
    with pytest.raises(InputError, match="read as classification") as error:
        scan(data, task="classification", threshold=0.3)
    assert 'task="binary" or multilabel' in error.value.tip
    with pytest.raises(InputError, match="between 0 and 1"):
        scan(data, threshold=1.5)


def test_outputs_that_are_not_finite_are_left_out(data):
    class Broken(Steps):
        def forward(self, x):
            found = super().forward(x)
            return torch.where(x[:, :1, 0, 0] > 0.9, torch.nan, found)

    result = scan(data, Broken(CLASSES).eval(), shifts=("crop",))
    lost = result.shifts["crop"].nonfinite
    assert lost
    assert result.metric("crop.set_consistency").n == 14 - len(lost)
