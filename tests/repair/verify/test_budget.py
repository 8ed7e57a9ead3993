"""A verification holds its seconds: what is slow meets fewer images and phases, and says so."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch

from equiaudit.repair.verify import budget, engine
from equiaudit.repair.verify.budget import along_of, budget_of
from equiaudit.repair.verify.circular import Circular, verify
from equiaudit.repair.verify.schedule import schedule
from equiaudit.repair.verify.synthetic import synthetic_images

IMAGES = synthetic_images((16, 16))


class Clock:
    """A clock that moves by `cost` with each image that a net sees."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cost: float) -> None:
        self.now, self.cost, self.passes = 100.0, cost, 0
        for module in (budget.time, engine.time):
            monkeypatch.setattr(module, "monotonic", lambda: self.now)
        monkeypatch.setattr(budget.time, "perf_counter", lambda: self.now)

    def net(self, batch: torch.Tensor) -> torch.Tensor:
        """The mean, in an order that no shift changes."""
        self.now += self.cost * len(batch)
        self.passes += len(batch)
        return batch.flatten(2).sort(-1).values.double().mean(-1)

    def fixed_grid(self, batch: torch.Tensor) -> torch.Tensor:
        return self.net(batch[:, :, ::2, ::2])


def test_a_fast_net_has_all_phases_however_few_the_seconds(monkeypatch):
    clock = Clock(monkeypatch, 0.001)
    made = budget_of(clock.net, IMAGES, 0.0, "cpu", along=30)
    assert (len(made.images), made.comparisons, made.until) == (len(IMAGES), 64, math.inf)


def test_a_slow_net_keeps_to_its_seconds_and_says_what_was_left_out(monkeypatch):
    clock = Clock(monkeypatch, 1.0)
    made = budget_of(clock.net, IMAGES, 40.0, "cpu", along=30)
    assert len(made.images) == 4
    assert made.left_out == len(IMAGES) - 4
    record = made.said(
        verify(
            clock.net,
            clock.fixed_grid,
            made.images,
            total_stride=(16, 16),
            comparisons=made.comparisons,
            until=made.until,
        )
    )
    assert 30 <= clock.now - 100 <= 44
    assert record.passed
    assert record.control_failed
    assert record.phases < 30 < record.phases_total == 255
    assert record.coverage.startswith(f"{record.phases} of the 30 phases along the axes")
    assert f"40 s were enough for 4 of {len(IMAGES)} images" in record.warnings[-1]


def test_the_phases_of_powers_of_two_are_never_saved_on(monkeypatch):
    clock = Clock(monkeypatch, 30.0)
    made = budget_of(clock.net, IMAGES, 1.0, "cpu", along=30)
    seen: list[tuple[int, int]] = []

    def watched(batch: torch.Tensor) -> torch.Tensor:
        return clock.net(batch)

    plan = schedule(4, (16, 16), (16, 16), made.comparisons, 0, bounded=True)
    seen = [tuple(s) for s in (plan.shifts % 16).reshape(-1, 2).tolist()]
    powers = {(n, 0) for n in (1, 2, 4, 8)} | {(0, n) for n in (1, 2, 4, 8)}
    assert powers <= {*seen}
    record = verify(watched, None, made.images, total_stride=(16, 16), comparisons=1, until=0.0)
    assert record.phases == record.figures.comparisons == 8


def test_the_seconds_are_held_where_the_net_slows_down(monkeypatch):
    clock = Clock(monkeypatch, 0.0)
    record = verify(
        clock.net, None, IMAGES, total_stride=(16, 16), comparisons=5000, until=clock.now + 5
    )
    whole = record.figures.comparisons
    clock.cost = 0.1
    cut = verify(
        clock.net, None, IMAGES, total_stride=(16, 16), comparisons=5000, until=clock.now + 5
    )
    assert cut.figures.comparisons < whole
    assert cut.coverage == f"{cut.phases} of 255 phases, when the time was up"


@pytest.mark.parametrize("block", [3, 8])
def test_what_was_covered_is_counted_shift_by_shift(monkeypatch, block):
    clock = Clock(monkeypatch, 1.0)
    plan = schedule(8, (16, 16), (4, 4), 200, 0)
    stack = torch.rand(8, 3, 16, 16)
    trial = engine.Trial("abcdefgh", stack, plan, block=block, until=clock.now + 20)
    seen: set[tuple[int, int]] = set()

    class Watched:
        threshold = None

        def outputs(self, run, batch):
            return run(batch)

        def pairs(self, images, shifts, before, after):
            seen.update((dy % 4, dx % 4) for dy, dx in shifts)
            yield from ((i, before[i], after[i]) for i in range(len(shifts)))

    figures, done = trial.compared(clock.net, Watched())
    assert 0 < figures.comparisons < plan.comparisons
    assert done.phases == len(seen)
    assert plan.as_far_as(np.ones(plan.shifts.shape[:2], bool)) is plan


def test_each_check_says_how_many_phases_lie_along_the_axes():
    assert along_of(Circular((32, 16), dense=False), (64, 64)) == 46
    assert along_of(object(), (64, 64)) == 0


def test_a_number_of_comparisons_is_taken_as_it_is():
    made = budget_of(lambda x: time.sleep(9), IMAGES, 0.0, "cpu", 7)
    assert (made.images, made.comparisons, made.until) == (IMAGES, 7, math.inf)
