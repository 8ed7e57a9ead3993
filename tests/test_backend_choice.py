"""`scan` from files, with the backend left to choose: what is run, said and recorded."""

import sys
from pathlib import Path

import pytest

import equiaudit
from equiaudit.audit.observer import Silent
from equiaudit.models import backends

sys.path.insert(0, str(Path(__file__).parent / "audit"))
from small import MEAN, STD, small_net, write_images

HOW = {"size": (16, 16), "mean": MEAN, "std": STD, "device": "cpu"}
PLAN = {"shifts": ("circular",), "max_shift": 2, "offsets": 4, "images": False}


class Heard(Silent):
    def __init__(self):
        self.said = []

    def note(self, sentence):
        self.said.append(sentence)


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images", 64, size=(20, 20))


@pytest.fixture
def _folded_is_fast(monkeypatch):
    """Trying costs nothing, and folded torch is four times as fast as any other."""
    pace = {"torch": 1.0, "torch-folded": 0.25}
    monkeypatch.setattr(backends, "_seconds", lambda model, *_: pace[model.backend])
    monkeypatch.setattr(backends, "_SCALED", {"torch-folded": 0.0})


def scanned(model, images, **more):
    heard = Heard()
    result = equiaudit.scan(model, images, observer=heard, **PLAN, **more)
    return result, [line for line in heard.said if line.startswith("Backend")]


@pytest.mark.usefixtures("_folded_is_fast")
def test_the_fastest_is_run_said_and_recorded(images):
    result, said = scanned(small_net(), images, **HOW)
    assert result.fingerprint.backend == "torch-folded"
    assert said == [
        "Backend: torch-folded, 32 images per call, 4.0 times as fast as the file as it is."
    ]
    assert {t.backend for t in result.timings.trials} == {"torch", "torch-folded"}
    plain, said = scanned(small_net(), images, backend="torch", **HOW)
    assert (plain.fingerprint.backend, said, plain.timings.trials) == ("torch", [], ())
    ours, theirs = (r.shifts["circular"].agreement_map for r in (result, plain))
    assert ours == theirs


@pytest.mark.usefixtures("_folded_is_fast")
def test_a_model_that_was_loaded_before_runs_as_it_is(images):
    loaded = equiaudit.load_model(small_net(), **HOW)
    result, said = scanned(loaded, images)
    assert (result.fingerprint.backend, said) == ("torch", [])
