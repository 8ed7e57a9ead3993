"""AP through a whole scan is that of pycocotools on files written out."""

import contextlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import equiaudit
from equiaudit.api.merging import merge, scan_shard
from equiaudit.errors import InputError
from equiaudit.metrics.precision import Matches, estimates
from equiaudit.shifts import make_plan

sys.path.append(str(Path(__file__).parent))
from squares import MARGIN, WINDOW, Squares, detect, found, scene, window_at

KINDS = ("circular", "crop", "zero-pad")
HOW = {
    "mean": (0, 0, 0),
    "std": (1, 1, 1),
    "size": (WINDOW, WINDOW),
    "detector": "squares:boxes_of,score_threshold=0.2",
    "device": "cpu",
    "images": False,
    "max_shift": 5,
    "offsets": 3,
}
COUNT = 30


def truth_of(seed, *, striped=True):
    """(x1, y1, x2, y2, category) of a scene, in its own px, by looking at it."""
    pixels = scene(seed, striped=striped).astype(np.float32).transpose(2, 0, 1) / 255
    boxes, _, labels = found(pixels, pixels.shape[1:])
    return [(*box, label) for box, label in zip(boxes.tolist(), labels.tolist(), strict=True)]


def annotated(folder, count, *, odd=False, striped=True):
    categories = ((0, "r"), (1, "g"), (2, "b"))
    folder.mkdir(parents=True)
    images, rows = [], []
    for i in range(count):
        pixels = scene(i, striped=striped)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
        images.append({"id": i + 7, "file_name": f"{i:02}.png", "height": 60, "width": 60})
        for x1, y1, x2, y2, label in truth_of(i, striped=striped):
            rows.append(
                {
                    "id": len(rows) + 1,
                    "image_id": i + 7,
                    "category_id": categories[int(label)][0],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "iscrowd": int(odd and len(rows) % 9 == 0),
                }
            )
    table = {"images": images, "annotations": rows}
    table["categories"] = [{"id": i, "name": name} for i, name in categories]
    (folder / "boxes.json").write_text(json.dumps(table))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return annotated(tmp_path_factory.mktemp("scenes") / "data", COUNT, odd=True)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    path = tmp_path_factory.mktemp("names") / "names.txt"
    path.write_text("r\ng\nb\n")
    return path


def seen_truth(index, kind, dy, dx, crowds):
    """Objects of a window by the slow way: pixels of a canvas of numbers."""
    rows = []
    for number, (x1, y1, x2, y2, label) in enumerate(truth_of(index)):
        mine = np.zeros((WINDOW + 2 * MARGIN,) * 2, np.uint8)
        mine[int(y1) : int(y2), int(x1) : int(x2)] = 1
        whole = int(mine.sum())
        view = window_at(mine[..., None], kind, dy, dx)[..., 0]
        first = window_at(mine[..., None], kind, 0, 0)[..., 0]
        for box in parts_of(view):
            area = (box[2] - box[0]) * (box[3] - box[1])
            cut = area < whole or (kind != "crop" and int(first.sum()) < whole)
            rows.append((*box, label, int(cut or crowds[number])))
    return rows


def parts_of(view):
    from scipy.ndimage import find_objects, label

    ends = find_objects(label(view)[0])
    return [(c.start, r.start, c.stop, r.stop) for r, c in ends]


def _rank(each):
    """Of equal scores the larger box comes first, then the first: COCO keeps that order."""
    (x1, y1, x2, y2), score, _ = each
    return -score, -(x2 - x1) * (y2 - y1)


def coco_run(views, tmp_path):
    """pycocotools on two files: annotations and results."""
    images, truth, results = [], [], []
    for i, (objects, boxes) in enumerate(views, 1):
        images.append({"id": i, "width": WINDOW, "height": WINDOW})
        for x1, y1, x2, y2, label, crowd in boxes:
            bbox = [float(x1), float(y1), float(x2 - x1), float(y2 - y1)]
            row = {"id": len(truth) + 1, "image_id": i, "category_id": label, "bbox": bbox}
            truth.append(row | {"area": bbox[2] * bbox[3], "iscrowd": crowd})
        for (x1, y1, x2, y2), score, label in objects:
            bbox = [x1, y1, x2 - x1, y2 - y1]
            results.append({"image_id": i, "category_id": label, "bbox": bbox, "score": score})
    categories = [{"id": i} for i in range(3)]
    table = {"images": images, "annotations": truth, "categories": categories}
    (tmp_path / "truth.json").write_text(json.dumps(table))
    (tmp_path / "found.json").write_text(json.dumps(results))
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO(str(tmp_path / "truth.json"))
        run = COCOeval(known, known.loadRes(str(tmp_path / "found.json")), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats[:3].tolist()


def test_ap_is_that_of_pycocotools_on_files(data, names, tmp_path):
    table = json.loads((data / "boxes.json").read_text())["annotations"]
    crowd = {i: [r["iscrowd"] for r in table if r["image_id"] == i + 7] for i in range(COUNT)}
    net = Squares(2)
    result = equiaudit.scan(net, data, class_names=names, shifts=KINDS, stride=(2, 2), **HOW)
    plan = make_plan(KINDS, window=(WINDOW, WINDOW), max_shift=5, offsets=3, stride=(2, 2))
    for series in plan.series:
        views = {"clean": [], "shifted": []}
        for i in range(COUNT):
            pixels = scene(i, striped=True)
            for part, offsets in (("clean", [(0, 0)]), ("shifted", plan.offsets(series, i))):
                for dy, dx in (map(int, d) for d in offsets):
                    boxes = sorted(detect(net, window_at(pixels, series.kind, dy, dx)), key=_rank)
                    views[part].append((boxes, seen_truth(i, series.kind, dy, dx, crowd[i])))
        for part, own in views.items():
            for name, value in zip(("ap", "ap50", "ap75"), coco_run(own, tmp_path), strict=True):
                assert result.metric(f"{series.kind}.{name}_{part}").value == value
                assert 0.1 < value < 1


def test_worst_and_best_hold_the_others_between(data, names):
    result = equiaudit.scan(Squares(2), data, class_names=names, shifts=("crop",), **HOW)
    low, mean, high = (
        result.metric(f"crop.ap_{part}").value for part in ("worst", "shifted", "best")
    )
    assert low < mean < high
    clean = result.metric("crop.ap_clean")
    assert clean.low < clean.value < clean.high
    assert clean.method == "jackknife"
    assert result.labelled


@pytest.mark.parametrize("kind", KINDS[1:])
def test_an_exact_detector_finds_all_that_is_whole(kind, names, tmp_path):
    plain = annotated(tmp_path / "plain", 8, striped=False)
    exact = equiaudit.scan(Squares(1), plain, class_names=names, shifts=(kind,), **HOW)
    for part in ("clean", "shifted", "worst", "best"):
        assert exact.metric(f"{kind}.ap_{part}").value == 1


def test_labels_counted_otherwise_are_found_out(data, tmp_path):
    (tmp_path / "names.txt").write_text("g\nb\nr\n")
    with pytest.raises(InputError, match="none under its class: its labels are counted otherwise"):
        equiaudit.scan(
            Squares(1), data, class_names=tmp_path / "names.txt", shifts=("crop",), **HOW
        )
    with pytest.raises(InputError, match="finds none: the preprocessing"):
        equiaudit.scan(
            Squares(1),
            data,
            class_names=tmp_path / "names.txt",
            shifts=("crop",),
            **HOW | {"detector": "squares:boxes_of,score_threshold=0.2,units=share"},
        )


def test_without_pycocotools_a_sentence_says_what_to_do(data, names, monkeypatch):
    from equiaudit.tasks.detection import task

    monkeypatch.setattr(task, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pycocotools, which is not installed.*layout images"):
        equiaudit.scan(Squares(1), data, class_names=names, shifts=("crop",), **HOW)


def test_shards_merge_to_the_whole_and_gates_judge_ap(data, names, tmp_path):
    how = HOW | {"class_names": names, "shifts": ("crop",), "limit": 20}
    gates = ("crop.ap_shifted>=0.999", "crop.ap50_shifted>=0.1")
    whole = equiaudit.scan(Squares(2), data, gates=gates, output=tmp_path / "whole", **how)
    assert [gate.verdict for gate in whole.gates] == ["fail", "pass"]
    for i in (1, 2):
        scan_shard(Squares(2), data, f"{i}/2", output=tmp_path / "shards", **how)
    merged = merge([tmp_path / "shards"])
    assert merged.shifts == whole.shifts
    assert merged.fingerprint == whole.fingerprint


def test_an_early_stop_asks_the_images_that_have_boxes(data):
    how = HOW | {"shifts": ("crop",), "layout": "images"}
    done = equiaudit.scan(
        Squares(1), data, gates=("crop.box_consistency>=0.5",), early_stop=True, **how
    )
    assert done.gates[0].verdict == "pass"
    assert done.metric("crop.box_consistency").method == "betting-cs"
    assert done.metric("crop.jitter_p95").low is None


def test_the_interval_covers():
    """A class whose scores say nothing, and boxes that are right with one chance in two."""
    rng = np.random.default_rng(0)

    def drawn(images):
        n = 3 * images
        hit = np.repeat(rng.random(n) < 0.5, 10).reshape(n, 10)
        image = np.repeat(np.arange(images), 3)
        label, counts = np.zeros(n, np.int64), np.full(images, 3)
        none = np.zeros((n, 10), bool)
        true = np.arange(images), np.zeros(images, np.int64), counts
        return Matches(image, label, rng.random(n), hit, none, *true)

    truth = estimates(drawn(4_000), 4_000)["ap"].value
    held = sum(
        e.low <= truth <= e.high for e in (estimates(drawn(40), 40)["ap"] for _ in range(40))
    )
    assert held >= 35
