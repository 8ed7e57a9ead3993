"""Detectors through a whole scan: the figures are those of a slow loop, and controls fail."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

import equiaudit
from equiaudit.audit.observer import Silent
from equiaudit.comparison import parse_samples
from equiaudit.comparison.fingerprints import differences
from equiaudit.errors import InputError, NothingToDo
from equiaudit.kinds import KINDS as REGISTRY
from equiaudit.kinds import register
from equiaudit.kinds.builtin import Circular
from equiaudit.report import FORMATS, render
from equiaudit.shifts import make_plan

sys.path.append(str(Path(__file__).parent))
from squares import WINDOW, Squares, loop, quantile, scene, write

KINDS = ("circular", "crop", "zero-pad")
HOW = {
    "mean": (0, 0, 0),
    "std": (1, 1, 1),
    "size": (WINDOW, WINDOW),
    "detector": "squares:boxes_of,score_threshold=0.2",
    "device": "cpu",
    "images": False,
}


def scanned(net, folder, shifts=KINDS, max_shift=5, offsets=4, **more):
    how = HOW | {"shifts": shifts, "max_shift": max_shift, "offsets": offsets} | more
    return equiaudit.scan(net, folder, **how)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_figures_are_those_of_a_slow_loop(stride, tmp_path):
    count, striped = 30, stride == 4
    folder = write(tmp_path / "images", count, striped=striped)
    result = scanned(Squares(stride), folder, stride=(stride, stride))
    plan = make_plan(
        KINDS, window=(WINDOW, WINDOW), max_shift=5, offsets=4, seed=0, stride=(stride, stride)
    )
    images = [scene(i, striped=striped) for i in range(count)]
    for series in plan.series:

        def offsets_of(index, series=series):
            return [tuple(map(int, d)) for d in plan.offsets(series, index)]

        sums, jitter, centres, sizes, consistency, wobbles = loop(
            Squares(stride), images, series.kind, offsets_of
        )
        own = {name: each.value for name, each in result.shifts[series.name].metrics.items()}
        assert min(sums["counted"] - 200, sums["apart"] - 20) > 0
        for name in ("kept", "lost", "relabelled", "appeared"):
            assert own[f"boxes_{name}"] == sums[name] / sums["counted"], name
        assert own["jitter_median"] == quantile(jitter, 0.5)
        assert own["jitter_p95"] == quantile(jitter, 0.95)
        assert own["jitter_max"] == max(jitter)
        assert own["jitter_centre_p95"] == quantile(centres, 0.95)
        assert own["jitter_size_p95"] == quantile(sizes, 0.95)
        assert own["box_consistency"] == pytest.approx(np.mean(consistency), abs=1e-15)
        assert own["score_wobble"] == pytest.approx(np.mean(wobbles), abs=1e-12)
        if stride == 4:
            assert min(sums["relabelled"], sums["lost"], max(jitter)) > 0


def test_an_exact_detector_keeps_every_box(tmp_path):
    inside = write(tmp_path / "inside", 12, inside=True)
    for kind in KINDS:
        folder = inside if kind == "circular" else write(tmp_path / "images", 12)
        result = scanned(Squares(1), folder, (kind,))
        own = result.shifts[kind].metrics
        assert own["boxes_kept"].value == own["box_consistency"].value == 1
        assert own["boxes_appeared"].value == own["boxes_lost"].value == 0
        assert own["jitter_max"].value == own["jitter_centre_p95"].value == 0


def test_a_coarse_one_does_not(tmp_path):
    result = scanned(Squares(4), write(tmp_path / "images", 12))
    for kind in KINDS:
        own = result.shifts[kind].metrics
        assert own["jitter_max"].value >= 1
        assert own["boxes_kept"].value < 1


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_moved_back_the_wrong_way_are_lost(kind, tmp_path, monkeypatch):
    from equiaudit.metrics.boxes import Detections
    from equiaudit.tasks.detection import block

    def wrong(found, offset):
        dy, dx = offset
        return Detections(found.boxes + np.array([dx, dy, dx, dy]), found.scores, found.labels)

    monkeypatch.setattr(block, "moved_back", wrong)
    own = scanned(Squares(1), write(tmp_path / "images", 6), (kind,)).shifts[kind].metrics
    assert own["boxes_kept"].value < 1
    assert own["jitter_max"].value > 0


def test_a_wrap_where_a_cut_is_due_shows(tmp_path, monkeypatch):
    """An object that the unshifted window cuts is whole in the shifted one."""
    from equiaudit.metrics import boxes
    from equiaudit.tasks.detection import block

    folder = write(tmp_path / "images", 12)
    assert scanned(Squares(1), folder, ("crop",)).metric("crop.jitter_max").value == 0
    monkeypatch.setattr(
        block, "common", lambda kind, window, at: boxes.field_of(window, ((0, 0), *at), None)
    )
    assert scanned(Squares(1), folder, ("crop",)).metric("crop.jitter_max").value > 0


def test_reports_gates_samples_and_comparison(tmp_path):
    folder = write(tmp_path / "images", 8)
    gates = ("crop.box_consistency>=0.5", "crop.jitter_p95<=9", "circular.boxes_kept>=0.999")
    done = scanned(Squares(4), folder, output=tmp_path / "a", gates=gates)
    verdicts = {gate.metric: gate.verdict for gate in done.gates}
    assert verdicts["crop.jitter_p95"] == "pass"
    assert verdicts["circular.boxes_kept"] == "fail"
    for form in FORMATS:
        assert render(done, form)
    assert "is lost when moved by up to 5 px" in render(done, "text")
    with open(tmp_path / "a" / "samples.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 * len(KINDS)
    kept = sum(int(r["n_kept"]) for r in rows if r["kind"] == "crop")
    compared = sum(int(r["n_compared"]) for r in rows if r["kind"] == "crop")
    assert kept / compared == done.metric("crop.boxes_kept").value
    scanned(Squares(1), folder, output=tmp_path / "b", stride=(4, 4))
    results = [equiaudit.load_result(tmp_path / name) for name in "ab"]
    tables = [(tmp_path / name / "samples.csv").read_text("utf-8") for name in "ab"]
    found = str(equiaudit.compare(*results, *map(parse_samples, tables)))
    assert "crop.box_consistency" in found
    assert "crop.jitter_p95" in found


def test_records_are_read_back_as_they_were(tmp_path):
    folder = write(tmp_path / "images", 10)
    whole = scanned(Squares(4), folder, ("circular",), output=tmp_path / "whole")
    from equiaudit.tasks.detection.records import BoxRecord

    text = (tmp_path / "whole" / "samples.csv").read_text("utf-8")
    assert text.count("\n") == 11
    from equiaudit.api import load_model
    from equiaudit.audit.forward import run_block
    from equiaudit.audit.geometry import geometry
    from equiaudit.audit.task import Source
    from equiaudit.data import decode, open_bare_dataset
    from equiaudit.tasks import TASKS

    model = load_model(Squares(4), **{k: v for k, v in HOW.items() if k != "images"})
    plan = make_plan(("circular",), window=(WINDOW, WINDOW), max_shift=5, offsets=4, seed=0)
    data = open_bare_dataset(folder, "detection")
    task = TASKS["detection"].audit(model, data, plan, None)
    sources = [
        Source(i, d.sha256, d.pixels)
        for i in data.items
        for d in [decode(i, geometry(model.preprocess, 0))]
    ]
    for record in run_block(task, model, plan, sources, 4):
        assert BoxRecord.from_json(record.to_json()) == record
    assert whole.metric("circular.boxes_kept").n == 10


class _Stop(Silent):
    """Ends the run once the first block is done."""

    def advance(self, passes):
        if passes:
            raise KeyboardInterrupt


def test_an_interrupted_scan_goes_on_where_it_was(tmp_path):
    folder = write(tmp_path / "images", 34)
    how = {"shifts": ("crop",), "offsets": 2}
    with pytest.raises(KeyboardInterrupt):
        scanned(Squares(4), folder, **how, output=tmp_path / "out", observer=_Stop())
    resumed = scanned(Squares(4), folder, **how, output=tmp_path / "out")
    assert resumed.timings.resumed
    assert resumed.timings.passes == 2 * 6  # the unshifted window, two shifts, three of causes
    assert resumed.shifts == scanned(Squares(4), folder, **how).shifts


def test_bad_outputs_get_a_sentence_each(tmp_path):
    folder = write(tmp_path / "images", 3)
    with pytest.raises(InputError, match="finds nothing on any of 3 images"):
        scanned(Squares(1, bias=-9.0), folder)
    with pytest.raises(InputError, match=r"says that Squares returns .* it returns output \(2, 3,"):
        scanned(Squares(1), folder, detector="yolov8")
    with pytest.raises(InputError, match="Nothing says how boxes are made"):
        scanned(Squares(1), folder, detector=None, task="detection")
    with pytest.raises(InputError, match='reads boxes, and task="segmentation" does not'):
        scanned(Squares(1), folder, task="segmentation")


def test_kinds_that_mirror_have_no_boxes(tmp_path):
    class Mirrored(Circular):
        name = "mirrored"

        def back(self, shifted, offset, common):
            return super().back(shifted, offset, common).flip(-1)

    register(Mirrored())
    try:
        with pytest.raises(InputError, match="How boxes move back under mirrored shifts"):
            scanned(Squares(1), write(tmp_path / "images", 3), ("mirrored",))
    finally:
        REGISTRY.remove("mirrored")


def test_other_thresholds_are_not_compared(tmp_path):
    """How a box is made decides how many there are to lose."""
    folder = write(tmp_path / "images", 4)
    how = "squares:boxes_of,score_threshold="
    runs = {
        name: scanned(Squares(4), folder, ("circular",), detector=how + value)
        for name, value in {
            "a": "0.2",
            "b": "0.5",
            "c": "0.2,nms_iou=0.5",
            "d": "0.2,box=xyxy,units=share",
        }.items()
    }
    assert runs["a"].fingerprint.detector["score_threshold"] == 0.2
    assert runs["c"].fingerprint.detector["nms_iou"] == 0.5
    assert runs["a"].fingerprint.detector["decoder"] == "squares:boxes_of"
    assert "source" not in runs["a"].fingerprint.detector
    with pytest.raises(InputError, match=r"\(score_threshold 0\.2 against 0\.5\)"):
        equiaudit.compare(runs["a"], runs["b"], {}, {})
    with pytest.raises(InputError, match=r"\(nms_iou 0\.0 against 0\.5\)"):
        equiaudit.compare(runs["a"], runs["c"], {}, {})
    notes = list(differences(runs["a"].fingerprint, runs["d"].fingerprint))
    assert "units of the detector differs: px against share" in notes


def test_a_baseline_of_another_threshold_is_refused(tmp_path):
    folder = write(tmp_path / "images", 4)
    gates = ("circular.boxes_kept drop<=0.01",)
    kept = {"baseline": tmp_path / "base.json", "gates": gates}
    scanned(Squares(4), folder, ("circular",), output=tmp_path / "a", **kept)
    with pytest.raises(InputError, match="score_threshold"):
        scanned(
            Squares(4),
            folder,
            ("circular",),
            output=tmp_path / "b",
            detector="squares:boxes_of,score_threshold=0.5",
            **kept,
        )


def test_inverted_boxes_are_counted_as_lost_and_noted(tmp_path, monkeypatch):
    import squares

    upright = squares.boxes_of

    def turned(returned, window):
        return [(b[:, [2, 3, 0, 1]], s, c) for b, s, c in upright(returned, window)]

    monkeypatch.setattr(squares, "turned", turned, raising=False)
    folder = write(tmp_path / "images", 3)
    upright_count = scanned(Squares(1), folder, ("circular",)).notes
    result = scanned(Squares(1), folder, ("circular",), detector="squares:turned")
    assert result.metric("circular.boxes_kept").value == 0
    assert any("have x2 < x1" in note for note in result.notes)
    count = next(n for n in result.notes if "unshifted; " in n)
    assert count in upright_count, "none was dropped"


def test_boxes_outside_of_their_window_are_counted_and_noted(tmp_path, monkeypatch):
    import squares

    inside = squares.boxes_of

    def beyond(returned, window):
        return [(b + 100, s, c) for b, s, c in inside(returned, window)]

    monkeypatch.setattr(squares, "beyond", beyond, raising=False)
    folder = write(tmp_path / "images", 3, inside=True)
    result = scanned(Squares(1), folder, ("circular",), detector="squares:beyond")
    count = next(n for n in result.notes if "unshifted; " in n)
    assert count in scanned(Squares(1), folder, ("circular",)).notes, "none was dropped"
    assert any("lie outside their window" in note for note in result.notes)


def test_nan_scores_leave_an_image_out(tmp_path, monkeypatch):
    import squares

    upright, calls = squares.boxes_of, []

    def odd(returned, window):
        calls.append(len(returned))
        found = upright(returned, window)
        if len(calls) == 3:
            found[0][1][:1] = float("nan")
        return found

    monkeypatch.setattr(squares, "odd", odd, raising=False)
    folder = write(tmp_path / "images", 3, inside=True)
    result = scanned(Squares(1), folder, ("circular",), detector="squares:odd")
    kept = result.metric("circular.boxes_kept")
    assert (kept.value, kept.n) == (1, 2)
    assert len(result.shifts["circular"].nonfinite) == 1


def test_fix_does_not_move_what_a_decoder_makes_and_verify_compares_its_boxes(tmp_path):
    how = {key: HOW[key] for key in ("mean", "std", "size", "detector")}
    assert not equiaudit.verify(Squares(4), seconds=0.1, **how).passed
    with pytest.raises(NothingToDo, match="nothing says which outputs hold positions"):
        equiaudit.fix(Squares(1), tmp_path / "out.pt", **how)
    assert not (tmp_path / "out.pt").exists()
