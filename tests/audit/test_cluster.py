"""Ray: what a cluster comes to is what one process comes to, also when a worker dies."""

import json
import os
import signal
import sys
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from small import MEAN, SIZE, STD, small_net, write_images

from equiaudit.api import load_model, scan
from equiaudit.audit.cluster import RayCrew, _Actor
from equiaudit.audit.observer import Silent
from equiaudit.errors import InputError, RunError

HOW = {
    "size": SIZE,
    "mean": MEAN,
    "std": STD,
    "backend": "torch",
    "max_shift": 4,
    "offsets": 5,
    "shifts": ("circular", "crop"),
}
GATE = "circular.consistency>=0.01"


def essence(result):
    return json.dumps(result.model_dump(mode="json", exclude={"timings"}))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model file and 520 images: 17 blocks, 5 calls."""
    root = tmp_path_factory.mktemp("ray")
    torch.jit.trace(small_net(), torch.zeros(1, 3, *SIZE)).save(str(root / "small.pt"))
    images = write_images(root / "images", count=520)
    (images / "torn.png").write_bytes(b"no image")
    return root / "small.pt", images


@pytest.fixture(scope="module")
def cluster():
    """A local cluster with room for two workers of one thread."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = pytest.importorskip("ray")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        logging_level="error",
        log_to_driver=False,
        object_store_memory=80 * 1024 * 1024,
    )
    yield ray
    ray.shutdown()
    torch.set_num_threads(threads)


@pytest.fixture
def halted(cluster, monkeypatch):
    """The process ids of the workers; the second takes work in hand and does not begin it."""
    pids = []
    start = RayCrew._actors

    def start_and_halt(self, duty, calls):
        actors = start(self, duty, calls)
        pids.extend(cluster.get([actor.ready.remote() for actor in actors]))
        os.kill(pids[1], signal.SIGSTOP)
        return actors

    monkeypatch.setattr(RayCrew, "_actors", start_and_halt)
    return pids


class _Kill(Silent):
    """Kills the halted worker when the first block of the other has come back."""

    def __init__(self, pids):
        self.pids, self.killed, self.notes = pids, False, []

    def advance(self, passes):
        if passes and not self.killed:
            os.kill(self.pids[1], signal.SIGKILL)
            self.killed = True

    def note(self, sentence):
        self.notes.append(sentence)


def test_a_cluster_that_loses_a_worker_comes_to_the_same(files, halted, tmp_path):
    model, images = files
    alone = scan(model, images, **HOW, gates=[GATE], output=tmp_path / "alone")
    observer = _Kill(halted)
    together = scan(
        model,
        images,
        **HOW,
        gates=[GATE],
        output=tmp_path / "ray",
        observer=observer,
        engine="ray",
    )
    assert observer.killed
    assert len({*halted, os.getpid()}) == 3
    assert essence(together) == essence(alone)
    rows = [(tmp_path / name / "samples.csv").read_bytes() for name in ("alone", "ray")]
    assert rows[0] == rows[1]
    assert [note for note in observer.notes if "torn.png" in note] == observer.notes[-1:]


def test_workers_open_a_url_themselves(files, cluster):
    pytest.importorskip("fsspec", reason="URLs are read by fsspec, the extra `remote`")
    model, images = files
    together = scan(model, f"file://{images}", **HOW, engine="ray")
    assert essence(together) == essence(scan(model, images, **HOW))


class InProcess:
    """What the workers do, done here one call after the other."""

    def __init__(self, model, **changes):
        load = partial(load_model, model, size=SIZE, mean=MEAN, std=STD, backend="torch")
        self.crew, self.changes = RayCrew("auto", load), changes

    def records(self, model, dataset, assignment, blocks):
        duty = replace(self.crew._duty(model, dataset, assignment), **self.changes)
        actor = _Actor(duty)
        for start in range(0, len(blocks), 4):
            yield from actor.do(blocks[start : start + 4])


@pytest.fixture
def in_process(monkeypatch):
    """Replace the cluster by this process."""

    def install(model, **changes):
        crew = InProcess(model, **changes)
        monkeypatch.setattr("equiaudit.api.scanning.crew_for", lambda *_: crew)

    pytest.importorskip("ray")
    return install


class _Stop(Silent):
    def __init__(self):
        self.blocks = 0

    def advance(self, passes):
        self.blocks += 1
        if self.blocks == 5:
            raise KeyboardInterrupt


def test_what_workers_did_is_continued_by_one_process(files, in_process, monkeypatch, tmp_path):
    model, images = files
    with monkeypatch.context() as patch:
        crew = InProcess(model)
        patch.setattr("equiaudit.api.scanning.crew_for", lambda *_: crew)
        with pytest.raises(KeyboardInterrupt):
            scan(model, images, **HOW, output=tmp_path, observer=_Stop(), engine="ray")
    (journal,) = tmp_path.glob("partial-*.jsonl")
    assert len(journal.read_text().splitlines()) == 5 * 32
    result = scan(model, images, **HOW, output=tmp_path)
    assert result.timings.resumed
    assert essence(result) == essence(scan(model, images, **HOW))


def test_a_scan_by_workers_ends_early_where_one_process_does(files, in_process):
    model, images = files
    early = {"gates": ["circular.consistency>=0.01"], "early_stop": True}
    alone = scan(model, images, **HOW, **early)
    in_process(model)
    together = scan(model, images, **HOW, **early, engine="ray")
    assert essence(together) == essence(alone)
    assert together.fingerprint.n_images < 200


def test_what_a_strict_worker_cannot_read_is_said_as_ever(files, in_process):
    model, images = files
    in_process(model)
    with pytest.raises(InputError, match=r"torn\.png cannot be read"):
        scan(model, images, **HOW, strict=True, engine="ray")


def test_a_worker_with_another_model_is_refused(files, in_process):
    in_process(files[0], sha256="0" * 64)
    with pytest.raises(InputError, match="another small"):
        scan(*files, **HOW, engine="ray")


def test_calls_come_back_in_order_and_few_are_ahead(monkeypatch):
    """A stand-in for Ray that finishes the latest call first."""
    given, most = [], 0

    class Method:
        def remote(self, blocks):
            given.append(blocks)
            return len(given) - 1

    class Ray:
        exceptions = SimpleNamespace(RayTaskError=KeyError, RayError=OSError)

        def wait(self, refs):
            nonlocal most
            most = max(most, max(refs) - returned)
            return [max(refs)], []

        def get(self, ref):
            return [([str(ref)], [])]

    monkeypatch.setattr("equiaudit.audit.cluster._ray", Ray)
    crew = RayCrew("auto", small_net)
    returned = 0
    for number, (lines, _) in enumerate(
        crew._done([SimpleNamespace(do=Method()) for _ in range(2)], [[[]]] * 30)
    ):
        assert lines == [str(number)]
        returned = number + 1
    assert len(given) == returned == 30
    assert 1 < most <= 8


def test_too_many_threads_for_any_node_are_refused(files, cluster, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    with pytest.raises(InputError, match="No node of the Ray cluster has 64 CPUs"):
        scan(*files, **HOW, engine="ray")


def test_ray_is_not_imported_unless_asked_for_and_its_absence_is_said(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    scan(*files, **HOW, limit=2)
    with pytest.raises(InputError, match=r"not installed.*equiaudit\[ray\]"):
        scan(*files, **HOW, limit=2, engine="ray")


def test_a_model_that_no_worker_can_load_is_refused(files):
    with pytest.raises(InputError, match="load the model themselves"):
        scan(small_net(), files[1], **HOW, engine="ray")


def test_a_call_that_kills_its_workers_and_one_that_raises_end_the_run(cluster):
    class Deadly:
        def do(self, blocks):
            if blocks == [["raise"]]:
                raise InputError("The sentence.", tip="The tip.")
            os._exit(1)

    crew = RayCrew("auto", small_net)
    actor = cluster.remote(Deadly).options(max_restarts=1, max_task_retries=1).remote()
    with pytest.raises(InputError, match=r"The sentence\. The tip\."):
        crew._got(actor.do.remote([["raise"]]))
    with pytest.raises(RunError, match="died at one piece of work"):
        list(crew._done([actor], [[[]]]))
