"""Regression: every figure is that of a slow loop; files of numbers; reports, gates, shards."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from loops import KINDS, Whole, check_shards, offsets_of, outputs, scan, write_images

from equiaudit.comparison import compare_files
from equiaudit.errors import InputError
from equiaudit.report import FORMATS, render


class Sums(Whole):
    """Two sums of the image."""

    def answer(self, x):
        return self.mixed(x).sum((2, 3))[:, :2]


class One(Whole):
    """One number (N,)."""

    def answer(self, x):
        return self.mixed(x).sum((1, 2, 3))


@pytest.fixture
def data(tmp_path):
    return write_images(tmp_path / "data")


def write_labels(path, data, columns=("yaw", "pitch"), seed=1):
    rng = np.random.default_rng(seed)
    truth = {f.name: rng.normal(0, 9000, len(columns)).tolist() for f in sorted(data.iterdir())}
    lines = [",".join((name, *map(repr, row))) for name, row in truth.items()]
    path.write_text("\n".join([",".join(("file", *columns)), *lines]) + "\n")
    return truth


def test_every_figure_is_that_of_a_slow_loop(data, tmp_path):
    truth = write_labels(tmp_path / "labels.csv", data)
    result = scan(Sums(), data, "regression", labels=tmp_path / "labels.csv")
    assert result.labelled
    for kind in KINDS:
        seen = {name: [] for name in ("change", "spread", "clean", "shifted", "worst")}
        squares = {name: [] for name in ("clean", "shifted", "worst")}
        single = []
        for i, file in enumerate(sorted(data.iterdir())):
            offsets = offsets_of(Sums(), "regression", kind, i)
            clean, shifted = outputs(Sums(), file, kind, offsets)
            right = truth[file.name]
            changes = [[abs(y[k] - clean[k]) for k in range(2)] for y in shifted]
            single += [each for row in changes for each in row]
            seen["change"].append(sum(map(sum, changes)) / (2 * len(changes)))
            each = [max(y[k] for y in shifted) - min(y[k] for y in shifted) for k in range(2)]
            seen["spread"].append(sum(each) / 2)
            errors = [[abs(y[k] - right[k]) for k in range(2)] for y in (clean, *shifted)]
            means = [sum(row) / 2 for row in errors]
            roots = [sum(e * e for e in row) / 2 for row in errors]
            for found, values in ((seen, means), (squares, roots)):
                found["clean"].append(values[0])
                found["shifted"].append(sum(values[1:]) / len(values[1:]))
                found["worst"].append(max(values[1:]))
        expected = {
            "change": np.mean(seen["change"]),
            "change_max": max(single),
            "change_p95": np.quantile(single, 0.95),
            "spread": np.mean(seen["spread"]),
        }
        for name in squares:
            expected[f"mae_{name}"] = np.mean(seen[name])
            expected[f"rmse_{name}"] = math.sqrt(np.mean(squares[name]))
        found = {name: float(e) for name, e in result.shifts[kind].metrics.items()}
        assert found == pytest.approx(expected, rel=1e-14)
        assert found["change"] > 0
        parts = {part.name: part.metrics for part in result.shifts[kind].parts}
        assert set(parts) == {"yaw", "pitch"}
        halves = [float(part["change"]) for part in parts.values()]
        assert np.mean(halves) == pytest.approx(expected["change"])
        assert halves == sorted(halves, reverse=True)


def test_a_sum_of_all_pixels_does_not_change_and_one_of_every_other_does(data):
    assert float(scan(Sums(1), data, "regression").metric("circular.change")) == 0
    assert float(scan(Sums(1), data, "regression").metric("circular.spread")) == 0
    assert float(scan(Sums(2), data, "regression").metric("circular.change")) > 0
    causes = {part.name: part.estimate for part in scan(Sums(2), data, "regression").boundary}
    assert float(causes["circular: seam and padding"]) == 0
    assert float(causes["circular: sampling"]) > 0


def test_one_number_per_image_needs_no_axis(data, tmp_path):
    write_labels(tmp_path / "labels.csv", data, ("age",))
    result = scan(One(), data, "regression", labels=tmp_path / "labels.csv", shifts=("circular",))
    assert not result.shifts["circular"].parts
    assert float(result.metric("circular.mae_clean")) > 0


def test_every_format_speaks_of_it_and_gates_judge_it(data, tmp_path):
    gates = ["circular.change<=1e9", "crop.change_max<=0"]
    result = scan(Sums(), data, "regression", output=tmp_path / "a", gates=gates)
    assert [gate.verdict for gate in result.gates] == ["pass", "fail"]
    texts = {name: render(result, name) for name in FORMATS}
    assert "change_p95" in texts["csv"]
    assert "The output changes by" in texts["github"]
    for name in ("text", "md", "html"):
        assert "95th percentile" in texts[name]
        assert "output 0" in texts[name]
        assert "What changes the output" in texts[name]
    with pytest.raises(InputError, match="needs numbers"):
        scan(Sums(), data, "regression", gates=["circular.mae_clean<=1"])
    later = scan(
        Sums(1),
        data,
        "regression",
        output=tmp_path / "b",
        baseline=tmp_path / "a" / "result.json",
        gates=["circular.change drop<=0"],
    )
    assert "paired by image" in later.gates[0].reason
    row = next(
        row
        for row in compare_files(tmp_path / "a", tmp_path / "b").rows
        if row.metric == "circular.change"
    )
    assert row.paired
    assert row.verdict == "better"


def test_shards_and_an_interrupted_scan_come_to_what_one_scan_does(tmp_path):
    data = write_images(tmp_path / "data", 40)
    write_labels(tmp_path / "labels.csv", data)
    whole = check_shards(Sums, data, "regression", tmp_path, labels=tmp_path / "labels.csv")
    assert whole.fingerprint.n_images == 40


def test_numbers_that_do_not_fit_are_refused(data, tmp_path):
    labels = tmp_path / "labels.csv"

    def said(text, tip=None):
        labels.write_text(text)
        with pytest.raises(InputError) as caught:
            scan(Sums(), data, "regression", labels=labels)
        return str(caught.value)

    assert "has 'old', which is no number" in said("file,a,b\n0.png,1,2\n1.png,3,old\n")
    assert "has 'nan', which is no number" in said("file,a,b\n0.png,1,nan\n")
    assert "1 number per image, and Sums returns 2" in said("file,a\n0.png,1\n")
    assert "None of the 1 files" in said("file,a,b\nelse.png,1,2\n")
    assert "labels '0.png' twice" in said("file,a,b\n0.png,1,2\n0.png,1,3\n")
    assert "lacks a file or a number" in said("file,a,b\n0.png,1,2\n1.png,3\n")
    with pytest.raises(InputError, match="class_order is of classes"):
        scan(Sums(), data, "regression", class_order="string")
    with pytest.raises(InputError, match="The protocol mass compares labels"):
        scan(Sums(), data, "regression", protocol="mass")
    with pytest.raises(InputError, match="output_range is of images"):
        scan(Sums(), data, "regression", output_range=(0.0, 1.0))
    with pytest.raises(InputError, match="early_stop=True and precision are for"):
        scan(Sums(), data, "regression", precision=0.1)


def test_images_without_a_row_are_left_out_and_a_header_is_not_needed(data, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("3.png,1,2\n5.png,3,4\n")
    result = scan(Sums(), data, "regression", labels=labels, shifts=("circular",))
    assert result.fingerprint.n_images == 2
    assert any("7 images have no row" in note for note in result.notes)
    assert {part.name for part in result.shifts["circular"].parts} == {"output 0", "output 1"}


def test_an_image_without_a_finite_output_is_left_out(data):
    class Broken(Sums):
        def answer(self, x):
            found = super().answer(x)
            return torch.where(found[:, :1] == self.lost, torch.nan, found)

    clean, _ = outputs(Sums(), data / "4.png", "crop", [(0, 0)])
    net = Broken()
    net.lost = float(clean[0])
    assert scan(net, data, "regression").shifts["crop"].nonfinite == ("4.png",)
