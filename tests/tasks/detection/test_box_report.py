"""The least stable boxes, where jitter comes from, and pictures, against the slow loop."""

import base64
import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import equiaudit
from equiaudit.report import render
from equiaudit.shifts import make_plan

sys.path.append(str(Path(__file__).parent))
from squares import WINDOW, Squares, back, detect, outcome, scene, side_moves, window_at, write

COUNT, STRIDE = 12, 4


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = write(tmp_path_factory.mktemp("report") / "images", COUNT, striped=True)
    return equiaudit.scan(
        Squares(STRIDE),
        folder,
        mean=(0, 0, 0),
        std=(1, 1, 1),
        size=(WINDOW, WINDOW),
        detector="squares:boxes_of,score_threshold=0.2",
        device="cpu",
        stride=(STRIDE, STRIDE),
        shifts=("crop", "circular"),
        max_shift=5,
        offsets=6,
    )


@pytest.fixture(scope="module")
def seen():
    """Kind -> a row per unshifted box and shift that does not cut it."""
    plan = make_plan(
        ("crop", "circular"), window=(WINDOW, WINDOW), max_shift=5, offsets=6, stride=(4, 4)
    )
    rows, net = {}, Squares(STRIDE)
    for series in plan.series:
        for i in range(COUNT):
            pixels = scene(i, striped=True)
            clean = detect(net, window_at(pixels, series.kind, 0, 0))
            for d in (tuple(map(int, d)) for d in plan.offsets(series, i)):
                moved = back(detect(net, window_at(pixels, series.kind, *d)), *d)
                found = outcome(clean, moved, series.kind, [(0, 0), d])
                for k, (box, _, _) in enumerate(clean):
                    jitter = None
                    if k in found["kept"]:
                        pair = found["a"][k], found["b"][found["kept"][k]]
                        jitter = max(map(abs, side_moves(*pair, series.kind)))
                    elif k in found["cut"]:
                        continue
                    rows.setdefault(series.name, []).append((i, tuple(box), d, jitter))
    return rows


@pytest.mark.parametrize("kind", ["crop", "circular"])
def test_jitter_by_offset_phase_and_distance(kind, result, seen):
    own = result.shifts[kind].boxes
    kept = [(d, j) for _, _, d, j in seen[kind] if j is not None]
    assert max(j for _, j in kept) > 0

    def mean(chosen):
        values = [j for d, j in kept if chosen(d)]
        return pytest.approx(sum(values) / len(values)) if values else None

    for point in own.jitter_by_distance:
        assert point.jitter.value == mean(lambda d, p=point: max(map(abs, d)) == p.distance)
        assert point.jitter.low <= point.jitter.value <= point.jitter.high
    for found, turn in ((own.jitter_map, lambda v: v), (own.jitter_phase_map, lambda v: v % 4)):
        for dy, row in zip(found.rows, found.values, strict=True):
            for dx, value in zip(found.cols, row, strict=True):
                assert value == mean(lambda d, at=(dy, dx), t=turn: (t(d[0]), t(d[1])) == at)


@pytest.mark.parametrize("kind", ["crop", "circular"])
def test_the_least_stable_boxes_come_first(kind, result, seen):
    fates = {}
    for i, box, _, jitter in seen[kind]:
        fates.setdefault((f"{i:02}.png", box), []).append(jitter)
    shares = {key: sum(j is not None for j in own) / len(own) for key, own in fates.items()}
    objects = result.shifts[kind].boxes.objects
    assert [o.kept / o.compared for o in objects] == sorted(o.kept / o.compared for o in objects)
    assert objects[0].kept / objects[0].compared == min(shares.values()) < 1
    for one in objects:
        own = fates[one.file, one.box]
        known = [j for j in own if j is not None]
        assert (one.kept, one.compared) == (len(known), len(own))
        assert one.jitter_max == (max(known) if known else None)


def test_pictures_mark_what_is_lost(result):
    assert 2 <= len(result.box_examples) <= 8
    for example in result.box_examples:
        assert example.lost + example.relabelled > 0
        for uri in (example.unshifted, example.shifted, example.both):
            image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
            assert max(image.size) == 192
            lost = (np.asarray(image.convert("RGB")) == (213, 94, 0)).all(axis=2).any()
            assert lost == (example.lost > 0 and uri != example.shifted)


def test_the_report_has_it_all(result):
    page, text = render(result, "html"), render(result, "md")
    assert len(re.findall("<img src=.data:image/png", page)) == 3 * len(result.box_examples)
    for title in ("Least stable objects", "Least stable images"):
        assert title in page
    assert "Mean jitter by phase" in text
    assert "Mean jitter by distance" in text
    assert any("kept boxes move against their object" in n for n in result.shifts["crop"].notes)
