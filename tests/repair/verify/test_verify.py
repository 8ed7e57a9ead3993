from __future__ import annotations

import math

import pytest
import torch
from repair import repair_nets as nets
from torch import nn

from equiaudit.errors import InputError
from equiaudit.repair.verify.circular import verify
from equiaudit.repair.verify.schedule import schedule
from equiaudit.results.repair import CRITERION, TOLERANCE

STRIDE = (4, 4)


def pictures(n: int = 5, size: tuple[int, int] = (16, 24)) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {f"noise-{i}": torch.randn(3, *size, generator=generator) for i in range(n)}


def circular() -> nn.Module:
    """Stride 1, circular padding, a mean in float64: invariant to the last bit."""
    return nets.TinyResNet(circular=True)


class Dense(nn.Module):
    """A circular map over the image; `coarse` keeps every second row and column of it."""

    def __init__(self, *, coarse: bool = False, padding: str = "circular") -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, padding_mode=padding)
        self.step = 2 if coarse else 1
        nets.randomise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)[:, :, :: self.step, :: self.step]


class TestSchedule:
    @pytest.mark.parametrize("stride", [(4, 4), (2, 8), (1, 4)])
    def test_enough_comparisons_cover_every_phase_on_every_image(
        self, stride: tuple[int, int]
    ) -> None:
        plan = schedule(3, (16, 24), stride, 10_000, seed=0)
        every = {(r, c) for r in range(stride[0]) for c in range(stride[1])} - {(0, 0)}
        for image in range(3):
            assert {tuple(s % stride) for s in plan.shifts[:, image]} == every
        assert plan.phases == plan.phases_total == len(every)
        assert plan.coverage == f"all {len(every)} phases on every image"

    def test_fewer_cover_every_phase_on_some_image(self) -> None:
        plan = schedule(3, (16, 24), STRIDE, 16, seed=0)
        assert {tuple(s % STRIDE) for row in plan.shifts for s in row} == {
            (r, c) for r in range(4) for c in range(4)
        } - {(0, 0)}
        assert "each on at least 1" in plan.coverage

    def test_fewest_cover_every_phase_per_axis_and_say_so(self) -> None:
        plan = schedule(2, (64, 64), (32, 32), 80, seed=3)
        met = {tuple(s % (32, 32)) for row in plan.shifts for s in row}
        assert {(r, 0) for r in range(1, 32)} | {(0, c) for c in range(1, 32)} <= met
        assert plan.coverage == ("all 62 phases along the axes and 18 of the 961 others (seed 3)")
        assert plan.phases == len(met) == 80

    def test_images_of_a_round_are_shifted_differently(self) -> None:
        plan = schedule(5, (16, 24), STRIDE, 10_000, seed=0)
        for row in plan.shifts:
            assert len({tuple(s % STRIDE) for s in row}) == 5

    def test_the_seed_decides(self) -> None:
        plans = [schedule(2, (64, 64), (8, 8), 20, seed=s).shifts.tolist() for s in (0, 0, 1)]
        assert plans[0] == plans[1] != plans[2]


def test_an_invariant_net_is_bit_equal_and_its_control_fails() -> None:
    record = verify(circular(), nets.TinyResNet(), pictures(), total_stride=STRIDE)
    assert record.passed
    assert record.figures.exact
    assert record.figures.comparisons == 5 * 15
    assert record.figures.share_values_exact == 1.0
    assert record.figures.worst_relative == 0.0
    assert record.figures.worst_at is None
    assert record.control_failed
    assert record.control is not None
    assert record.control.worst_relative > 1e-3
    assert record.warnings == ()
    assert record.criterion == CRITERION
    assert (record.device, record.dtype) == ("cpu", "float32")


def test_control_the_unmodified_net_does_not_verify() -> None:
    record = verify(nets.TinyResNet(), None, pictures(), total_stride=STRIDE)
    assert not record.passed
    assert record.figures.worst_at is not None
    assert record.figures.worst_at.image in pictures()
    assert "nothing shows" in record.warnings[0]


def test_the_errors_are_those_of_a_plain_loop() -> None:
    net, images = nets.TinyResNet(), pictures(3)
    figures = verify(net, None, images, total_stride=(2, 2), seed=5).figures
    plan = schedule(3, (16, 24), (2, 2), 4096, seed=5)
    worst, changes = 0.0, 0
    with torch.no_grad():
        for i, x in enumerate(images.values()):
            before = net(x[None])[0]
            for dy, dx in plan.shifts[:, i].tolist():
                after = net(x.roll((dy, dx), (1, 2))[None])[0]
                worst = max(
                    worst, float((after - before).abs().max() / (before.max() - before.min()))
                )
                changes += int(after.argmax() != before.argmax())
    assert figures.worst_relative == pytest.approx(worst, rel=1e-4)
    assert figures.label_changes == changes


def test_one_wrong_phase_is_found_and_named() -> None:
    net = circular()
    marker = torch.arange(16 * 24.0).reshape(16, 24)
    images = {"ramp": marker.expand(3, -1, -1) / 400}

    def broken(x: torch.Tensor) -> torch.Tensor:
        row, column = divmod(int(x[0, 0].argmin()), 24)
        return net(x) + (0.1 if (row % 4, column % 4) == (3, 1) else 0)

    record = verify(broken, None, images, total_stride=STRIDE)
    assert not record.passed
    assert record.figures.comparisons - record.figures.comparisons_exact == 1
    assert record.figures.worst_at is not None
    dy, dx = record.figures.worst_at.shift
    assert (dy % 4, dx % 4) == (3, 1)


def test_an_error_below_the_tolerance_passes_and_is_reported() -> None:
    net = circular().double()

    def wobbly(x: torch.Tensor) -> torch.Tensor:
        y = net(x)
        return y + x[:, 0, :1, 0].sign() * 1e-8 * (y.amax(1) - y.amin(1))[:, None]

    images = {name: image.double() for name, image in pictures().items()}
    record = verify(wobbly, None, images, total_stride=STRIDE)
    assert record.passed
    assert not record.figures.exact
    assert 0 < record.figures.worst_relative < TOLERANCE


def test_a_label_change_fails_however_small_the_error() -> None:
    def tied(x: torch.Tensor) -> torch.Tensor:
        first = 1 + x[:, 0, 0, 0].sign() * 1e-9
        return torch.stack([first, torch.ones_like(first), torch.zeros_like(first)], 1)

    images = {name: image.double() for name, image in pictures().items()}
    record = verify(tied, None, images, total_stride=STRIDE)
    assert record.figures.worst_relative < TOLERANCE
    assert record.figures.label_changes > 0
    assert not record.passed


def test_nan_does_not_pass() -> None:
    def broken(x: torch.Tensor) -> torch.Tensor:
        return torch.full((len(x), 3), torch.nan)

    record = verify(broken, None, pictures(), total_stride=STRIDE)
    assert not record.passed
    assert math.isinf(record.figures.worst_absolute)
    assert '"worst_absolute":"Infinity"' in record.model_dump_json()


def test_a_control_that_passes_is_called_worthless() -> None:
    record = verify(circular(), circular(), pictures(), total_stride=STRIDE)
    assert record.control_failed is False
    assert "proves nothing" in record.warnings[0]


class TestDense:
    def test_a_map_moves_with_its_image(self) -> None:
        record = verify(
            Dense(), Dense(padding="zeros"), pictures(), total_stride=STRIDE, dense=True
        )
        assert record.figures.exact
        assert record.control_failed

    def test_a_coarser_map_moves_by_its_own_steps(self) -> None:
        images = {
            name: torch.nn.functional.interpolate(image[None], scale_factor=2)[0]
            for name, image in pictures().items()
        }
        record = verify(Coarse(), Dense(coarse=True), images, total_stride=(2, 2), dense=True)
        assert record.figures.exact
        assert record.control_failed

    def test_periodic_images_are_reported_apart(self) -> None:
        stripes = (torch.arange(24) % 3 == 0).float().expand(3, 16, 24).clone()
        even = (torch.arange(24) % 8 == 0).float().expand(3, 16, 24).clone()
        even[:, 3, :] = 0.5
        images = {**pictures(2), "odd stripes": stripes, "even stripes": even}
        picky = PickyOnTies()
        record = verify(picky, None, images, total_stride=(2, 2), dense=True)
        assert record.periodic_images == ("odd stripes",)
        assert record.periodic is not None
        assert record.periodic.comparisons == 3
        assert record.figures.comparisons == 9

    def test_vectors_are_not_maps(self) -> None:
        with pytest.raises(InputError, match="2-D"):
            verify(circular(), None, pictures(), total_stride=STRIDE, dense=True)


class Coarse(nn.Module):
    """Keeps the phase of 2 with the larger sum of one column or row, so it follows shifts."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def best(image: torch.Tensor) -> torch.Tensor:
            phases = [image[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
            return max(phases, key=lambda p: float(p.double().pow(2).mul(2**20).round().sum()))

        return torch.stack([best(image) for image in x])


class PickyOnTies(nn.Module):
    """The identity: any map will do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_the_smallest_margin_is_taken_from_the_module() -> None:
    record = verify(
        circular(),
        None,
        pictures(),
        total_stride=STRIDE,
        margin=lambda x: torch.arange(1.0, len(x) + 1) / 8,
    )
    assert record.smallest_margin == 0.125


def test_global_settings_are_put_back() -> None:
    torch.set_float32_matmul_precision("high")
    try:
        verify(circular(), None, pictures(2), total_stride=(2, 2))
        assert torch.get_float32_matmul_precision() == "high"
        assert not torch.are_deterministic_algorithms_enabled()
        assert not torch.is_inference_mode_enabled()
    finally:
        torch.set_float32_matmul_precision("highest")


def test_no_images_is_an_error() -> None:
    with pytest.raises(InputError, match="no images"):
        verify(circular(), None, {}, total_stride=STRIDE)


def test_phases_along_the_axes_are_never_saved_on() -> None:
    plan = schedule(5, (64, 64), (32, 32), 10, seed=0)
    met = {tuple(s % (32, 32)) for row in plan.shifts for s in row}
    assert {(r, 0) for r in range(1, 32)} | {(0, c) for c in range(1, 32)} <= met
    assert plan.coverage.startswith("all 62 phases along the axes and 3 of")


class OneChannel(nn.Module):
    """A map of one channel, `offset` added to scores or to shares."""

    def __init__(self, *, circular: bool, shares: bool = False) -> None:
        super().__init__()
        padding = "circular" if circular else "zeros"
        self.conv = nn.Conv2d(3, 1, 5, padding=2, padding_mode=padding)
        self.shares = shares
        nets.randomise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = self.conv(x)
        return torch.sigmoid(scores) if self.shares else scores


@pytest.mark.parametrize("shares", [False, True])
def test_labels_of_a_single_channel_are_counted_at_its_threshold(shares: bool) -> None:
    nets_ = (OneChannel(circular=c, shares=shares) for c in (True, False))
    found = verify(
        *nets_, pictures(), total_stride=(1, 1), dense=True, threshold=0.5 if shares else 0.0
    )
    assert found.figures.label_changes == 0
    assert found.figures.labels == found.figures.values
    assert found.control is not None
    changed = 0
    control = OneChannel(circular=False)
    for x in pictures().values():  # a plain loop, at one shift
        still, moved = control(x[None]), control(torch.roll(x, (1, 3), (1, 2))[None])
        changed += int(((torch.roll(still, (1, 3), (2, 3)) > 0) != (moved > 0)).sum())
    assert changed > 0
    assert found.control.label_changes > 0


def test_a_single_channel_that_is_no_label_has_none() -> None:
    found = verify(
        OneChannel(circular=True),
        OneChannel(circular=False),
        pictures(),
        total_stride=(1, 1),
        dense=True,
        threshold=None,
    )
    assert found.control is not None
    assert found.control.labels == found.control.label_changes == 0
