"""Killed at any moment and started again, a scan says what it would have said."""

import multiprocessing
import random
import time

import pytest
from dense_small import write_masks
from faults import killed_scan, outcome, scan
from small import write_images

GATES = {
    "classification": "circular.consistency>=0.2",
    "segmentation": "circular.agreement>=0.3",
}
PAUSE = 0.01
FAST, SOAK = 3, 50


@pytest.fixture(scope="module")
def context():
    """Processes that are copies of one that has imported torch already."""
    chosen = multiprocessing.get_context("forkserver")
    chosen.set_forkserver_preload(["faults"])
    return chosen


@pytest.fixture(scope="module", params=["classification", "segmentation"])
def task(request):
    return request.param


@pytest.fixture(scope="module")
def data(task, tmp_path_factory):
    folder = tmp_path_factory.mktemp(task)
    return write_masks(folder, 160) if task == "segmentation" else write_images(folder, 200)


@pytest.fixture(scope="module", params=["whole", "early-stop"])
def settings(request, task):
    if request.param == "whole":
        return {}
    return {"gates": [GATES[task]], "early_stop": True}


def check(context, task, data, settings, folder, kills):
    """Kill scans of one folder until `kills` have been, with a resumed one now and then."""
    scan(task, data, folder / "undisturbed", settings)
    expected = outcome(folder / "undisturbed")
    begun = context.Event()
    arguments = (task, data, folder / "killed", settings, PAUSE, begun)
    since = time.monotonic()
    assert not killed_scan(context.Process, arguments, None)
    longest = time.monotonic() - since
    assert outcome(folder / "killed") == expected
    moments, done, run = random.Random(task + str(settings)), 0, 0
    while done < kills:
        run += 1
        place = folder / f"killed-{run}"
        arguments = (task, data, place, settings, PAUSE, begun)
        while done < kills and killed_scan(context.Process, arguments, moments.uniform(0, longest)):
            done += 1
        if not (place / "result.json").exists():
            assert not killed_scan(context.Process, arguments, None)
        assert outcome(place) == expected


def test_a_killed_scan_goes_on_to_the_same_result(context, task, data, settings, tmp_path):
    check(context, task, data, settings, tmp_path, FAST)


@pytest.mark.soak
def test_a_scan_killed_often_goes_on_to_the_same_result(context, task, data, settings, tmp_path):
    check(context, task, data, settings, tmp_path, SOAK)
