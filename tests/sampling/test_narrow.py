"""Sums and choices in float32 alone: exact in any order, and the same decisions as in 64 bits."""

from itertools import product

import numpy as np
import pytest
import torch

from equiaudit.errors import NothingToDo
from equiaudit.sampling import narrow
from equiaudit.sampling.mean import order_free_mean, order_free_total
from equiaudit.sampling.order_free import order_free_norm, order_free_variance
from equiaudit.sampling.origin import pick_candidate
from equiaudit.sampling.statistic import component_sums, quantise

GENERATOR = torch.Generator().manual_seed(0)
SIDES = (7, 64, 150)


def values(side, spread=1.0):
    """(3, 2, side, side) of both signs whose magnitudes differ by many orders."""
    drawn = torch.randn(3, 2, side, side, generator=GENERATOR)
    return drawn * torch.exp(spread * torch.randn(drawn.shape, generator=GENERATOR))


def orders(x):
    """The elements of each map in other orders."""
    flat = x.flatten(2)
    for seed in range(3):
        order = torch.randperm(flat.shape[2], generator=torch.Generator().manual_seed(seed))
        yield flat[:, :, order].reshape(x.shape)


@pytest.mark.parametrize("side", SIDES)
def test_sums_have_no_order_and_are_near_those_in_64_bits(side):
    x, count = values(side, 2.0), side * side
    for short, wide in (
        (lambda y: narrow.narrow_mean(y, [2, 3], count, False),
         lambda y: order_free_mean(y, [2, 3], count, False)),
        (lambda y: narrow.narrow_total(y, [2, 3], count, True),
         lambda y: order_free_total(y, [2, 3], count, True)),
        (lambda y: narrow.narrow_norm(y, [2, 3], count, False),
         lambda y: order_free_norm(y, [2, 3], count, False)),
        (lambda y: narrow.narrow_variance(y, [2, 3], count, 1.0, False),
         lambda y: order_free_variance(y, [2, 3], count, 1.0, False)),
    ):  # fmt: skip
        found, expected = short(x), wide(x).float()
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=2e-6, atol=2e-6 * expected.abs().max())
        assert all(torch.equal(short(other), found) for other in orders(x))


def test_a_plain_sum_has_an_order():
    x = values(64, 2.0)
    assert not all(torch.equal(other.sum((2, 3)), x.sum((2, 3))) for other in orders(x))


def test_the_gradient_is_that_of_a_mean():
    x = values(8).requires_grad_()
    narrow.narrow_mean(x, [2, 3], 64, False).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 1 / 64))


@pytest.mark.parametrize("count", [1, 2, 3, 4096, 4097, 2**20])
def test_digits_of_the_largest_values_stay_below_two_to_the_24(count):
    bits = narrow.digit_bits(count)
    assert count * 2**bits + 2**bits <= 2**24
    assert narrow.energy_digits(count) * bits >= 25


def test_a_map_too_large_is_refused():
    with pytest.raises(NothingToDo, match="not exact in float32"):
        narrow.digit_bits(2**20 + 1)


@pytest.mark.parametrize(
    ("size", "stride"), [((8, 12), (2, 3)), ((64, 64), (4, 4)), ((6, 5), (1, 5))]
)
def test_energies_are_the_very_sums_of_whole_numbers(size, stride):
    energy = values(64).abs()[:, 0, : size[0], : size[1]] ** 3
    count = size[0] * size[1] // (stride[0] * stride[1])
    digits = narrow.narrow_energy(energy, size, stride)
    assert digits.shape == (3, narrow.energy_digits(count), *stride)
    top = energy.double().amax((1, 2), keepdim=True).float()
    whole = torch.round(energy * (2.0**24 / top)).numpy().astype(object)
    bits = narrow.digit_bits(count)
    for b, i, j in product(range(3), range(stride[0]), range(stride[1])):
        exact = sum(int(v) for v in whole[b, i :: stride[0], j :: stride[1]].ravel())
        joined = 0
        for digit in digits[b, :, i, j].tolist():
            joined = (joined << bits) + int(digit)
        assert joined == exact
    assert (digits[:, 1:] < 2**bits).all()
    assert (digits >= 0).all()


def test_the_choice_is_that_of_64_bits():
    energy = values(64).abs()[:, 0] ** 2
    size, stride = (64, 64), (4, 4)
    ties = torch.zeros(3, 4, 4, dtype=torch.int64)
    wide = pick_candidate(component_sums(quantise(energy), size, stride), ties, 16)
    digits = narrow.narrow_energy(energy, size, stride)
    assert torch.equal(narrow.choose([d.flatten(1) for d in digits.unbind(1)]), wide)


def test_candidates_are_compared_digit_by_digit():
    digits = torch.randint(-2, 3, (3, 200, 6), generator=GENERATOR).float()
    allowed = torch.rand(200, 6, generator=GENERATOR) < 0.6
    allowed[:, 0] = True
    for b in range(200):
        for mask in (None, allowed):
            found = narrow.choose(list(digits), mask)[b]
            keys = [
                tuple(digits[:, b, k].tolist()) if mask is None or mask[b, k] else (-9.0,)
                for k in range(6)
            ]
            assert keys[found] == max(keys)


def test_digits_tell_any_two_hashes_apart():
    edges = [v + d for p in (12, 23, 24, 30, 31) for v in (2**p, -(2**p)) for d in range(-300, 300)]
    drawn = torch.randint(-(2**31), 2**31, (20_000,), generator=GENERATOR).tolist()
    hashes = np.unique([v for v in (*edges, *drawn) if -(2**31) <= v < 2**31]).astype(np.int32)
    digits = narrow.view_digits(torch.from_numpy(hashes))
    assert len(torch.stack(digits).unique(dim=1).T) == len(hashes)
    assert max(float(d.abs().max()) for d in digits) <= 2**12 + 256


def test_sums_of_hashes_are_exact_on_large_maps():
    views = torch.randint(-(2**31), 2**31, (1, 256, 256), generator=GENERATOR).int()
    views[0, :8] = 2**31 - 1
    for table in narrow.narrow_ties(views, (256, 256), (2, 2)):
        assert float(table.abs().max()) < 2**24
        moved = narrow.narrow_ties(views.roll((2, 6), (1, 2)), (256, 256), (2, 2))
        assert any(torch.equal(table, other) for other in moved)
