"""The workers of a Ray cluster: one actor per share of cores or per GPU, each with a model.

Every block is done as the engine of one machine does it, with as many images per call and as
many threads, so that the records are the same to the last digit. A worker that dies is
started again, and what it had in hand is done again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from equiaudit.audit.tasks import task_of
from equiaudit.audit.units import Assignment, Block, Clock, Worker
from equiaudit.data import Dataset, Item, Items
from equiaudit.errors import EquiauditError, InputError, RunError, first_line
from equiaudit.models.types import Model
from equiaudit.tasks import TASKS

Build = Callable[..., Model]
Done = tuple[list[str], list[str]]
"""The records of a block as lines of JSON, and what is to be noted about it."""

_BLOCKS = 4
"""Per call of a worker: decoding runs ahead within a call. What a death costs."""
_AHEAD = 4
"""Calls per worker that may be done before an earlier one is."""
_IN_HAND = 2
"""Calls given to a worker at a time, so that none waits for the driver."""
_DEATHS = 3
"""How often one call may lose its worker: images that kill a worker must not do so for ever."""


@dataclass(frozen=True)
class _Duty:
    """What a worker is told once; the model it loads has to be the driver's."""

    build: Build
    dataset: Dataset
    """Without its items, unless the task asks for all."""
    assignment: Assignment
    threads: int
    device: str
    task: Any
    sha256: str
    backend: str
    paths: tuple[str, ...]
    """Where the driver finds modules."""


class _Actor:
    """Runs in a worker's process; the model is loaded on first use, so that errors come back."""

    def __init__(self, duty: _Duty) -> None:
        self._duty, self._notes = duty, list[str]()
        self._worker: Worker[Any] | None = None

    def ready(self) -> int:
        """Load the model; returns the id of the process."""
        if self._worker is None:
            self._worker = _worker_of(self._duty, self._notes.append)
        return os.getpid()

    def do(self, blocks: Sequence[Block]) -> list[Done]:
        """The records and notes of each block."""
        self.ready()
        if self._worker is None:
            raise RunError("The worker has no model.")
        found = []
        for records in self._worker.records(blocks):
            found.append(([record.to_json() for record in records], self._notes[:]))
            self._notes.clear()
        return found


def _worker_of(duty: _Duty, note: Callable[[str], None]) -> Worker[Any]:
    sys.path.extend(path for path in duty.paths if path not in sys.path and Path(path).is_dir())
    torch.set_num_threads(duty.threads)
    model = replace(duty.build(device=duty.device), task=duty.task)
    if (model.sha256, model.backend) != (duty.sha256, duty.backend):
        raise InputError(
            f"A worker has another {model.name} than the driver, or runs it by {model.backend} "
            f"in place of {duty.backend}.",
            tip="Put the model where all machines read the same file.",
        )
    plan, options = duty.assignment.plan, duty.assignment.options
    task = task_of(model, duty.dataset, plan, options)
    return Worker(task, model, duty.assignment, note, Clock())


class RayCrew:
    """Workers of the cluster at `address`.

    "auto" is a cluster that runs on this machine, or else one started for this run; "local"
    is always the latter. `build` loads the model in a worker, on the `device` it is given.
    InputError where Ray is not installed.
    """

    def __init__(self, address: str, build: Build) -> None:
        self._address, self._build = address, build
        self._ray = _ray()

    def records(
        self, model: Model, dataset: Dataset, assignment: Assignment, blocks: Sequence[Block]
    ) -> Iterator[Done]:
        """See `Crew`."""
        if not blocks:
            return
        calls = [blocks[i : i + _BLOCKS] for i in range(0, len(blocks), _BLOCKS)]
        with _connected(self._ray, self._address):
            duty = self._duty(model, dataset, assignment)
            actors = self._actors(duty, len(calls))
            try:
                yield from self._idle_gpus(duty.device)
                yield from self._done(actors, calls)
            finally:
                for actor in actors:
                    self._ray.kill(actor, no_restart=True)

    def _duty(self, model: Model, dataset: Dataset, assignment: Assignment) -> _Duty:
        bare = replace(dataset, items=Items.of(dataset.root, ()))
        return _Duty(
            build=self._build,
            dataset=dataset if TASKS[model.task].all_images else bare,
            assignment=replace(assignment, root=assignment.root.absolute()),
            threads=torch.get_num_threads(),
            device=model.device.type,
            task=model.task,
            sha256=model.sha256,
            backend=model.backend,
            paths=(os.getcwd(), *filter(None, sys.path)),
        )

    def _actors(self, duty: _Duty, calls: int) -> list[Any]:
        """As many as the nodes have room for, and there are calls for."""
        on_gpu = duty.device == "cuda"
        needs = {"GPU": 1, "CPU": 1} if on_gpu else {"CPU": duty.threads}
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        room = sum(min(int(node.get(k, 0) // n) for k, n in needs.items()) for node in nodes)
        if room == 0:
            what = "a GPU" if on_gpu else f"{duty.threads} CPUs, the threads of this process"
            tip = "Give --device cpu." if on_gpu else "Set OMP_NUM_THREADS to fewer."
            raise InputError(f"No node of the Ray cluster has {what}.", tip=tip)
        actor = self._ray.remote(_Actor).options(
            num_cpus=needs["CPU"],
            num_gpus=needs.get("GPU", 0),
            max_restarts=-1,
            max_task_retries=_DEATHS,
        )
        return [actor.remote(duty) for _ in range(min(room, calls))]

    def _idle_gpus(self, device: str) -> Iterator[Done]:
        gpus = int(self._ray.cluster_resources().get("GPU", 0))
        if gpus and device != "cuda":
            yield (
                [],
                [
                    f"The cluster has GPUs ({gpus}) that this run does not use: workers run "
                    "the model on the kind of device that the driver has, here the CPU."
                ],
            )

    def _done(self, actors: Sequence[Any], calls: Sequence[Sequence[Block]]) -> Iterator[Done]:
        """What the calls return, in their order whatever the order they are done in."""
        free = [actor for _ in range(_IN_HAND) for actor in actors]
        running: dict[Any, tuple[int, Any]] = {}
        waiting: dict[int, list[Done]] = {}
        given = returned = 0
        while returned < len(calls):
            while free and given < min(len(calls), returned + _AHEAD * len(actors)):
                actor = free.pop(0)
                blocks = [[_located(item) for item in block] for block in calls[given]]
                running[actor.do.remote(blocks)] = (given, actor)
                given += 1
            for ref in self._ray.wait(list(running))[0]:
                number, actor = running.pop(ref)
                waiting[number] = self._got(ref)
                free.append(actor)
            while returned in waiting:
                yield from waiting.pop(returned)
                returned += 1

    def _got(self, ref: Any) -> list[Done]:
        """What a call returned; its error as it was raised there."""
        try:
            found: list[Done] = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, EquiauditError):
                raise error.cause from None
            raise RunError(
                f"A worker could not go on: {first_line(error.cause)}.",
                tip="What was done before is kept; run again to continue.",
            ) from error
        except self._ray.exceptions.RayError as error:
            raise RunError(
                f"Workers of the Ray cluster died at one piece of work: {first_line(error)}.",
                tip="What was done before is kept; run again to continue.",
            ) from error
        return found


def _located(item: Item) -> Item:
    """With paths that hold in another working directory."""
    truth = None if item.truth is None else item.truth.absolute()
    return replace(item, path=item.path.absolute(), truth=truth)


def _ray() -> Any:
    """The package, imported only now and told to report nothing to its makers."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise InputError(
            "Ray is not installed.", tip='Install it: pip install "equiaudit[ray]".'
        ) from None
    return ray


@contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    """A connection that is closed again, unless it was there before."""
    if ray.is_initialized():
        yield
        return
    own: dict[str, Any] = {"address": None if address == "auto" else address}
    if address in ("auto", "local"):
        own["include_dashboard"] = False
    try:
        ray.init(**own, logging_level="error", log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise InputError(
            f"There is no Ray cluster at {address!r}: {first_line(error)}.",
            tip="Give --address HOST:PORT, or local for one on this machine.",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
