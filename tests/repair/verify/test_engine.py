"""One loop for all checks: who is compared when, and what a record says of the machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from equiaudit.repair.verify.engine import Run, Shift, Trial, rolled
from equiaudit.repair.verify.schedule import Schedule


class Sums:
    """Sums over columns, which rows do not change and columns do."""

    threshold = None

    def outputs(self, run: Run, batch: torch.Tensor) -> torch.Tensor:
        return run(batch)

    def pairs(
        self, images: slice, shifts: Sequence[Shift], before: torch.Tensor, after: torch.Tensor
    ) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        for i in range(len(shifts)):
            yield i, before[i], after[i]


def trial(counts: np.ndarray | None = None, block: int = 2) -> Trial:
    images = torch.arange(60.0).reshape(3, 1, 4, 5) ** 2  # sums of whole numbers are exact
    shifts = np.array([[[1, 0], [2, 0], [0, 1]], [[0, 2], [3, 0], [1, 0]]])
    return Trial("abc", images, Schedule(shifts, 2, 9, "some"), counts, block)


@pytest.mark.parametrize("block", [1, 2, 3, 8])
def test_every_image_meets_its_own_shifts(block: int) -> None:
    batches = []

    def run(batch: torch.Tensor) -> torch.Tensor:
        batches.append(len(batch))
        return batch.sum(2).flatten(1)[:, None]

    found = trial(block=block).errors(run, Sums())
    assert (found.comparisons, max(batches)) == (6, min(block, 3))
    assert found.comparisons - found.comparisons_exact == 2  # the two shifts across columns
    assert found.worst_at is not None
    assert (found.worst_at.image, found.worst_at.shift) in {("c", (0, 1)), ("a", (0, 2))}


def test_only_what_counts_is_compared() -> None:
    counts = np.array([[True, True, False], [False, True, True]])
    found = trial(counts).errors(lambda x: x.sum(2).flatten(1)[:, None], Sums())
    assert (found.comparisons, found.comparisons_exact) == (4, 4)
    assert trial(counts).first(3).errors(lambda x: x, Sums()).comparisons == 2


def test_each_image_is_rolled_by_its_own_shift() -> None:
    batch = torch.arange(12).reshape(2, 1, 2, 3)
    moved = rolled(batch, [[1, 0], [0, -1]])
    assert moved[:, 0].tolist() == [[[3, 4, 5], [0, 1, 2]], [[7, 8, 6], [10, 11, 9]]]


def test_a_record_names_the_gpu_and_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"a card at {device}")
    elsewhere = SimpleNamespace(dtype=torch.float16, device=torch.device("cuda", 1))
    figures = trial().errors(lambda x: x.flatten(1)[:, :1] * 0, Sums())
    record = Trial("abc", elsewhere, trial().plan).record(  # type: ignore[arg-type]
        figures, None, ["first"], subject="net", total_stride=(1, 1), dense=False
    )
    assert (record.device, record.dtype) == ("cuda (a card at cuda:1)", "float16")
    assert (record.coverage, record.images, record.phases) == ("some", ("a", "b", "c"), 2)
    assert record.passed
    assert record.warnings[0] == "first"
    assert record.warnings[1].startswith("There is no unmodified model")
