"""`--protocol manfredi2020`: AP at the shifts of each image that make it least and largest."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

import equiaudit
from equiaudit.errors import InputError
from equiaudit.metrics.precision import Matches
from equiaudit.report import render
from equiaudit.report.words import reproduce
from equiaudit.shifts import make_plan
from equiaudit.tasks.detection.bounds import _Search

sys.path.append(str(Path(__file__).parent))
from squares import WINDOW, Squares, detect, scene, window_at
from test_precision import HOW, _rank, annotated, coco_run, seen_truth

PROTOCOL = "manfredi2020"
COUNT, OFFSETS = 3, 2


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bounds")
    (folder / "names.txt").write_text("r\ng\nb\n")
    return annotated(folder / "data", COUNT), folder / "names.txt"


@pytest.fixture(scope="module")
def result(scenes):
    how = HOW | {"shifts": ("crop",), "offsets": OFFSETS, "protocol": PROTOCOL}
    gates = ("crop.ap_lower>=0.001",)
    return equiaudit.scan(Squares(2), scenes[0], class_names=scenes[1], gates=gates, **how)


def test_bounds_are_those_of_all_choices_by_pycocotools(result, tmp_path):
    plan = make_plan(("crop",), window=(WINDOW, WINDOW), max_shift=5, offsets=OFFSETS)
    views = []
    for i in range(COUNT):
        pixels, crowds = scene(i, striped=True), [0] * 99
        offsets = [(0, 0), *(tuple(map(int, d)) for d in plan.offsets(plan.series[0], i))]
        views.append(
            [
                (
                    sorted(detect(Squares(2), window_at(pixels, "crop", *d)), key=_rank),
                    seen_truth(i, "crop", *d, crowds),
                )
                for d in offsets
            ]
        )
    every = [coco_run(chosen, tmp_path)[0] for chosen in itertools.product(*views)]
    low, high = (result.metric(f"crop.ap_{name}") for name in ("lower", "upper"))
    assert low.value == pytest.approx(min(every), abs=1e-12)
    assert high.value == pytest.approx(max(every), abs=1e-12)
    clean, worst, best = (result.metric(f"crop.ap_{n}").value for n in ("clean", "worst", "best"))
    assert low.value <= min(clean, worst) < max(clean, best) <= high.value


def one(image, label, scores, hits, count):
    """A view with boxes of one class, right or wrong at every IoU."""
    n = len(scores)
    hit = np.repeat(np.array(hits, bool)[:, None], 10, axis=1).reshape(n, 10)
    found = np.full(n, image), np.full(n, label), np.array(scores, float)
    true = np.array([image]), np.array([label]), np.array([count])
    return Matches(*found, hit, np.zeros((n, 10), bool), *true)


def test_an_image_is_chosen_by_what_it_does_to_all():
    """Alone both views of the second image have an AP of 1; among others one has a rival."""
    first = [one(0, 0, [0.9, 0.5], [True, False], 1)]
    second = [one(1, 0, [0.8], [True], 1), one(1, 0, [0.4], [True], 1)]
    low, chosen = _Search([first, second], 1).end([0, 0])
    assert chosen == [0, 1]
    assert low < 1
    assert _Search([first, second], -1).end([0, 1])[1] == [0, 0]


def test_a_class_that_a_view_no_longer_finds_counts():
    """A box of a class that the second image shows at one of its views alone is wrong there."""
    first = [one(0, 1, [0.5], [True], 1)]
    second = [one(1, 1, [0.9], [False], 0), one(1, 2, [0.9], [True], 1)]
    high, chosen = _Search([first, second], -1).end([0, 0])
    assert (high, chosen) == (pytest.approx(-1), [0, 1])
    assert _Search([first, second], 1).end([0, 1])[1] == [0, 0]


def test_the_report_says_what_was_tried(result):
    text = render(result, "text")
    assert "AP, lower bound" in text
    assert "2 offsets per image" in text
    flags = reproduce(result)
    assert "--protocol manfredi2020" in flags
    assert "--offsets 2" in flags
    assert "--shifts crop" in flags
    assert result.gates[0].metric == "crop.ap_lower"


def test_what_it_does_not_fit_is_refused(scenes):
    data, names = scenes
    how = HOW | {"shifts": ("crop",)}
    with pytest.raises(InputError, match="bounds AP, and no boxes are annotated"):
        equiaudit.scan(Squares(2), data, layout="images", protocol=PROTOCOL, **how)
    with pytest.raises(InputError, match="zhang2019 compares labels of whole images"):
        equiaudit.scan(Squares(2), data, class_names=names, protocol="zhang2019", **how)
    with pytest.raises(InputError, match="bounds the AP of boxes, and Squares returns none"):
        equiaudit.scan(
            Squares(1), data, protocol=PROTOCOL, **how | {"detector": None, "task": "image"}
        )
