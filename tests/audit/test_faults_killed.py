"""Killed at any moment and started again, a scan says what it would have said."""

import multiprocessing
import random
import time

import pytest
from dense_small import write_masks
from faults import killed_scan, outcome, scan
from small import write_images

PRECISION = {"classification": 0.15, "segmentation": 0.06}
PAUSE = 0.003
IMAGES = 192
FAST, SOAK = 1, 50


@pytest.fixture(scope="module")
def context():
    """Processes that are copies of this one, which has imported and run everything already."""
    return multiprocessing.get_context("fork")


@pytest.fixture(scope="module", params=["classification", "segmentation"])
def task(request):
    return request.param


@pytest.fixture(scope="module")
def data(task, tmp_path_factory):
    folder = tmp_path_factory.mktemp(task)
    return write_masks(folder, IMAGES) if task == "segmentation" else write_images(folder, IMAGES)


@pytest.fixture(scope="module", params=["whole", "ends early"])
def settings(request, task):
    return {} if request.param == "whole" else {"precision": PRECISION[task]}


def check(context, task, data, settings, folder, kills):
    """Kill scans of one folder until `kills` have been, with a resumed one now and then."""
    scan(task, data, folder / "undisturbed", settings)
    expected = outcome(folder / "undisturbed")
    seen = expected[0]["fingerprint"]["n_images"]
    assert 32 < seen < IMAGES if settings else seen == IMAGES
    arguments = (task, data, folder / "killed", settings, PAUSE)
    since = time.monotonic()
    assert not killed_scan(context.Process, arguments, None)
    longest = time.monotonic() - since
    assert outcome(folder / "killed") == expected
    moments, done, run = random.Random(task + str(settings)), 0, 0
    while done < kills:
        run += 1
        place = folder / f"killed-{run}"
        arguments = (task, data, place, settings, PAUSE)
        while done < kills and killed_scan(context.Process, arguments, moments.uniform(0, longest)):
            done += 1
        assert not killed_scan(context.Process, arguments, None)
        assert outcome(place) == expected


def test_a_killed_scan_goes_on_to_the_same_result(context, task, data, settings, tmp_path):
    check(context, task, data, settings, tmp_path, FAST)


@pytest.mark.soak
def test_a_scan_killed_often_goes_on_to_the_same_result(context, task, data, settings, tmp_path):
    check(context, task, data, settings, tmp_path, SOAK)
