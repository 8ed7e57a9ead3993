"""`--backend auto` in a scan: what it is tried on, and what a continued run keeps."""

from dataclasses import replace

import pytest
import torch
from small import dataset, small_model, write_images

from equiaudit.audit import backend as module
from equiaudit.audit.backend import pick, trials_of
from equiaudit.audit.engine import run_scan
from equiaudit.audit.options import ScanOptions
from equiaudit.errors import RunError
from equiaudit.models.backends import Choice, Trial

OPTIONS = ScanOptions(shifts=("circular",), max_shift=2, offsets=4, images=False)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return dataset(write_images(tmp_path_factory.mktemp("some"), 96, size=(20, 20)))


def never(_):
    raise AssertionError


def test_a_scan_of_few_passes_is_not_tried(tmp_path):
    few = dataset(write_images(tmp_path, 4))
    choice = pick(small_model(never), few, OPTIONS, None)
    assert "the scan is short (36 passes)" in choice.sentence


def test_ways_are_tried_on_the_images_as_the_model_wants_them(images, monkeypatch):
    seen = {}

    def choose(model, batch, **given):
        seen.update(given, batch=batch)
        return Choice(model, 8, "said", (Trial("torch", 8, seconds=0.0012345678),))

    monkeypatch.setattr(module, "choose", choose)
    choice = pick(small_model(), images, OPTIONS, None)
    assert seen["batch"].shape == (64, 3, 16, 16)
    assert abs(seen["batch"].mean()) < 1.5  # normalised
    assert (seen["passes"], seen["batch_size"]) == (96 * 9, 32)
    assert [t.milliseconds for t in trials_of(choice)] == [1.2346]


def test_a_given_batch_size_is_kept_on_an_accelerator(images):
    model = small_model(never, device=torch.device("cuda:0"))
    choice = pick(model, images, replace(OPTIONS, batch_size=17), None)
    assert (choice.model, choice.batch_size) == (model, 17)


def test_the_choice_is_run_and_told(images):
    trial = Trial("onnxruntime", 8, seconds=0.5)
    other = replace(small_model(), backend="onnxruntime")
    done, _ = run_scan(small_model(), images, OPTIONS, choice=Choice(other, 8, "", (trial,)))
    assert done.result.fingerprint.backend == "onnxruntime"
    assert done.result.timings.batch_size == 8
    assert [t.backend for t in done.result.timings.trials] == ["onnxruntime"]


def test_a_continued_run_keeps_its_backend_and_batch_size(images, tmp_path, monkeypatch):
    made = []

    def rebuild(model, backend):
        made.append(backend)
        return replace(model, backend=backend)

    monkeypatch.setattr(module, "rebuild", rebuild)
    monkeypatch.setattr(module, "choose", never)
    calls = []

    def failing(batch):
        calls.append(1)
        if len(calls) > 20:
            raise RunError("enough")
        return small_model().run(batch)

    stopped = replace(small_model(failing), backend="torch-folded")
    with pytest.raises(RunError):
        run_scan(stopped, images, OPTIONS, folder=tmp_path, choice=Choice(stopped, 8, ""))
    choice = pick(small_model(), images, OPTIONS, tmp_path)
    assert (made, choice.batch_size) == (["torch-folded"], 8)
    assert "made by it" in choice.sentence
    done, _ = run_scan(small_model(), images, OPTIONS, folder=tmp_path, choice=choice)
    assert done.result.timings.resumed
    with pytest.raises(TypeError):  # `choose`, as nothing is to be continued
        pick(small_model(), images, replace(OPTIONS, resume=False), tmp_path)


def test_a_way_that_cannot_be_made_again_is_chosen_anew(images, tmp_path, monkeypatch):
    stopped = replace(small_model(), backend="compile")
    run_scan(stopped, images, OPTIONS, folder=tmp_path, choice=Choice(stopped, 32, ""))

    def rebuild(*_):
        raise ValueError("no compiler")

    monkeypatch.setattr(module, "rebuild", rebuild)
    monkeypatch.setattr(module, "choose", lambda model, *_, **__: Choice(model, 32, "anew"))
    assert pick(small_model(), images, OPTIONS, tmp_path).sentence == "anew"
