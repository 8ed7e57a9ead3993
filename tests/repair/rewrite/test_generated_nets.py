"""Any net that is drawn is converted to the last bit, or refused with a reason."""

from __future__ import annotations

import itertools
from collections import Counter
from math import ceil, floor

import pytest
import torch
from exact_nets import captured, photos, random_shifts, shifted
from generated_nets import GeneratedNet, Size, generated
from torch import Tensor, nn

from equiaudit.repair.rewrite.analyse import Analysis, analyse
from equiaudit.repair.rewrite.rewrite import rewrite

GROUPS, PER_GROUP = 10, 20
SOAK = 20_000


@pytest.fixture(autouse=True)
def _one_thread() -> object:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def fits(moved: Tensor, still: Tensor, shifts: Tensor, size: Size) -> Tensor:
    """(n,) whether `moved` is `still`, moved by each image's shift where it is a map.

    A map coarser than the input may answer a shift between two of its steps by either.
    """
    if still.dim() != 4:
        return (moved == still).flatten(1).all(1)
    steps = [n / s for n, s in zip(still.shape[2:], size, strict=True)]
    same = []
    for image, expected, shift in zip(moved, still, shifts.tolist(), strict=True):
        ways = [{floor(d * s), ceil(d * s)} for d, s in zip(shift, steps, strict=True)]
        rolled = (torch.roll(expected, way, (-2, -1)) for way in itertools.product(*ways))
        same.append(any(torch.equal(image, one) for one in rolled))
    return torch.tensor(same)


@torch.no_grad()
def outcome(net: GeneratedNet, size: Size) -> tuple[str, Analysis]:
    """What became of a net: "exact", "refused", or what is wrong with it."""
    graph = captured(net, size)
    analysis = analyse(graph)
    if analysis.refusals:
        assert all(refusal.reason and refusal.remedy for refusal in analysis.refusals)
        return "refused", analysis
    converted = rewrite(graph, analysis)
    x = photos(6, size, seed=1)
    still = converted(x)
    if not torch.isfinite(still).all():
        return "not finite", analysis
    for seed in range(2):
        shifts = random_shifts(len(x), size, seed)
        if not fits(converted(shifted(x, shifts)), still, shifts, size).all():
            return "broken", analysis
    return "exact", analysis


def reacts(net: nn.Module, size: Size) -> bool:
    """Whether the unmodified net fails the same check."""
    x = photos(6, size, seed=1)
    shifts = random_shifts(len(x), size, 0)
    with torch.no_grad():
        return not fits(net(shifted(x, shifts)), net(x), shifts, size).all()


def run(seeds: range) -> Counter[str]:
    counts: Counter[str] = Counter()
    for seed in seeds:
        net, size = generated(seed)
        found, analysis = outcome(net, size)
        assert found in ("exact", "refused"), f"seed {seed} is {found} at {size}: {net}"
        counts[found] += 1
        counts["reacting"] += found == "exact" and reacts(net, size)
        counts["sampling"] += found == "exact" and max(analysis.total_stride) > 1
    return counts


@pytest.mark.parametrize("group", range(GROUPS))
def test_exact_or_refused(group: int) -> None:
    counts = run(range(group * PER_GROUP, (group + 1) * PER_GROUP))
    assert counts["exact"] >= PER_GROUP // 4, counts
    assert counts["reacting"] >= PER_GROUP // 5, counts
    assert counts["sampling"] >= 1, counts


@pytest.mark.soak
@pytest.mark.parametrize("group", range(SOAK // 500))
def test_twenty_thousand(group: int) -> None:
    first = GROUPS * PER_GROUP + group * 500
    run(range(first, first + 500))
