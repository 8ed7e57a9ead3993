"""APS, LPS, CAPS, BlurPool and DDAC: exact where they say so, and measured not to be elsewhere."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equiaudit.sampling import (
    APSD,
    APSU,
    CAPSD,
    CAPSU,
    DDAC,
    LPSD,
    LPSU,
    MASS,
    APSSelector,
    BlurPool,
    CAPSSelector,
    Choice,
    LPSSelector,
    OriginSelector,
    PolyphaseDown,
    TauSchedule,
    roll_by,
)
from equiaudit.sampling.polyphase import blend, components, place, take

SIZE = (12, 24)
CHANNELS = 4


def roll(x: Tensor, shift: tuple[int, int]) -> Tensor:
    return torch.roll(x, shift, (-2, -1))


def noise(seed: int = 0, count: int = 3, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.randn(count, CHANNELS, *size, generator=torch.Generator().manual_seed(seed))


def pictures() -> Tensor:
    """Noise, and images whose norms tie: a square of even width, a dot, squares in a row."""
    x = torch.zeros(4, CHANNELS, *SIZE)
    x[0] = noise(count=1)[0]
    x[1, :, 2:6, 3:9] = 1
    x[2, :, 5, 7] = 1
    x[3, :, 4:8, 2:4] = x[3, :, 4:8, 6:8] = x[3, :, 4:8, 14:16] = 1
    return x


def repeating() -> Tensor:
    """Images with symmetries of their own: blank, stripes each way, a checkerboard."""
    x = torch.zeros(4, CHANNELS, *SIZE)
    x[1, :, ::4] = 1
    x[2, :, :, ::3] = 1
    x[3, :, ::2, 1::2] = x[3, :, 1::2, ::2] = 1
    return x


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().eval()


def circular(kernel: int = 3) -> BlurPool:
    return BlurPool(kernel, 1, "circular")


def ddac() -> DDAC:
    layer = DDAC(CHANNELS, 3, 1, groups=2, padding="circular", scope="group")
    nn.init.normal_(layer.bn.running_mean)
    return layer


EXACT = {
    "aps": APSD,
    **{f"aps-p{p}": lambda s, p=p: APSD(s, p) for p in (1, 3, 4, math.inf)},
    "aps-smallest": lambda s: PolyphaseDown(APSSelector(s, smallest=True)),
    "aps+lpf": lambda s: APSD(s, filter=circular()),
    "aps+ddac": lambda s: APSD(s, filter=ddac()),
    "lps": lambda s: LPSD(CHANNELS, s, hidden=6),
    "lps+lpf": lambda s: LPSD(CHANNELS, s, hidden=6, filter=circular(4)),
    "lps+ddac, chosen before": lambda s: LPSD(
        CHANNELS, s, hidden=6, filter=ddac(), select_before_filter=True
    ),
    "caps": lambda s: CAPSD(CHANNELS, s),
    "caps+lpf": lambda s: CAPSD(CHANNELS, s, filter=circular()),
}


def offset_error(
    layer: Callable[[Tensor], Tensor],
    select: Callable[[Tensor], Tensor],
    x: Tensor,
    stride: tuple[int, int],
) -> float:
    """Largest |y' - roll(y, (o + D - o') / s)| over all D in [0, 2s)^2; inf if no whole step."""
    o, y, step, worst = select(x), layer(x), torch.tensor(stride), 0.0
    for shift in itertools.product(range(2 * stride[0]), range(2 * stride[1])):
        moved = roll(x, shift)
        gap = o + torch.tensor(shift) - select(moved)
        if (gap % step).any():
            return math.inf
        worst = max(worst, (layer(moved) - roll_by(y, gap // step)).abs().max().item())
    return worst


def down_error(down: PolyphaseDown, x: Tensor) -> float:
    return offset_error(down, lambda v: down.sample(v)[1].origin, x, down.select.stride)


def jitter_(module: nn.Module) -> nn.Module:
    """Untrained norms and attention change nothing; give them something to do."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for m in module.modules():
            if isinstance(m, CAPSSelector):
                m.attention.add_(torch.randn(m.attention.shape, generator=generator) * 0.3)
    return module


@pytest.mark.parametrize("stride", [2, 3, (4, 2)])
@pytest.mark.parametrize("name", EXACT)
@torch.no_grad()
def test_exact_layers_obey_the_closed_form(name: str, stride: int | tuple[int, int]) -> None:
    down = jitter_(seeded(lambda: EXACT[name](stride)))
    assert down_error(down, pictures()) == 0.0


@pytest.mark.parametrize("name", ["aps", "lps", "caps", "caps+lpf"])
@torch.no_grad()
def test_values_of_repeating_images_do_not_change(name: str) -> None:
    """No grid can move with such an image, yet what a global pool sees stays the same."""
    down, x = seeded(lambda: EXACT[name](2)), repeating()
    values = down(x).flatten(1).sort(1).values
    for shift in itertools.product(range(4), range(4)):
        assert torch.equal(down(roll(x, shift)).flatten(1).sort(1).values, values)


@torch.no_grad()
@pytest.mark.parametrize("name", ["aps", "lps", "caps"])
def test_bfloat16_maps_are_chosen_from_exactly(name: str) -> None:
    down = seeded(lambda: EXACT[name](2)).bfloat16()
    assert down_error(down, pictures().bfloat16()) == 0.0


@pytest.mark.parametrize("kind", ["lpf", "ddac"])
@pytest.mark.parametrize("stride", [2, 3])
@torch.no_grad()
def test_filters_inside_mass_are_exact(kind: str, stride: int) -> None:
    smooth = (
        BlurPool(3, stride, "circular")
        if kind == "lpf"
        else seeded(lambda: DDAC(CHANNELS, 3, stride, groups=2, padding="circular"))
    )
    conv = seeded(lambda: nn.Conv2d(CHANNELS, CHANNELS, 3))
    layer = MASS(nn.Sequential(conv, nn.ReLU(), smooth), stride, 1)
    assert offset_error(layer, layer.select, pictures(), (stride, stride)) == 0.0


@torch.no_grad()
def test_maps_smaller_than_a_kernel_are_exact() -> None:
    x = noise(size=(4, 6))
    for make in (EXACT["lps"], EXACT["caps"], EXACT["aps+lpf"]):
        assert down_error(seeded(lambda make=make: make(2)), x) == 0.0


def soft_caps(temperature: float) -> PolyphaseDown:
    return seeded(lambda: CAPSD(CHANNELS, mode="soft", temperature=temperature))


def one_dimensional() -> PolyphaseDown:
    return jitter_(seeded(lambda: CAPSD(CHANNELS, form="paper")))


INEXACT = {
    "caps soft": lambda: soft_caps(1.0),
    "caps with attention along a list": one_dimensional,
    "aps, ties by position": lambda: PolyphaseDown(APSSelector(2, ties="first")),
    "aps windowed": lambda: APSD(window=2),
    "lps windowed": lambda: seeded(lambda: LPSD(CHANNELS, window=2)),
    "caps windowed": lambda: seeded(lambda: CAPSD(CHANNELS, window=2)),
    "caps with zeros": lambda: seeded(
        lambda: PolyphaseDown(CAPSSelector(CHANNELS, padding="zeros"))
    ),
    "aps after a reflected blur": lambda: APSD(filter=BlurPool(3, 1, "reflect")),
}


@pytest.mark.parametrize("name", INEXACT)
@torch.no_grad()
def test_control_inexact_layers_fail_the_closed_form(name: str) -> None:
    x = torch.cat([pictures(), noise(1, 12)])
    assert down_error(INEXACT[name](), x) > 1e-3


@pytest.mark.parametrize("layer", [BlurPool(3, 2, "circular"), "ddac"])
@torch.no_grad()
def test_control_filters_alone_leave_the_phase(layer: nn.Module | str) -> None:
    if layer == "ddac":
        layer = seeded(lambda: DDAC(CHANNELS, groups=2, padding="circular"))
    fixed = lambda v: torch.zeros(len(v), 2, dtype=torch.int64)  # noqa: E731
    x = noise()
    assert not torch.equal(layer(roll(x, (1, 1))).amax((2, 3)), layer(x).amax((2, 3)))
    assert torch.equal(layer(roll(x, (2, 4))), roll(layer(x), (1, 2)))
    assert offset_error(layer, fixed, x, (2, 2)) == math.inf


@torch.no_grad()
def test_control_a_choice_per_channel_fails() -> None:
    x = noise()
    select = APSSelector(2)

    def layer(v: Tensor) -> Tensor:
        flat = v.reshape(-1, 1, *SIZE)
        return take(flat, select(flat).origin, 2).reshape(len(v), CHANNELS, 6, 12).sum(1)

    assert (layer(roll(x, (1, 1))).amax((1, 2)) - layer(x).amax((1, 2))).abs().max() > 1e-3


def test_components_are_numbered_row_by_row() -> None:
    x = noise()
    parts = components(x, (2, 3))
    assert torch.equal(parts[:, 4], x[:, :, 1::2, 1::3])
    origin = torch.tensor([[0, 2], [1, 0], [1, 1]])
    expected = torch.stack([x[i, :, a::2, b::3] for i, (a, b) in enumerate(origin.tolist())])
    assert torch.equal(take(x, origin, (2, 3)), expected)
    weights = F.one_hot(origin[:, 0] * 3 + origin[:, 1], 6).float()
    assert torch.equal(blend(x, weights, (2, 3)), expected)
    up = place(expected, Choice(origin, None), (2, 3))
    assert torch.equal(take(up, origin, (2, 3)), expected)
    assert up.count_nonzero() == expected.count_nonzero()
    assert torch.equal(place(expected, Choice(origin, weights), (2, 3)), up)


def test_norms_are_norms() -> None:
    x = noise()
    parts = components(x.double(), 2).flatten(2)
    for p in (1, 2, 3, 4, math.inf):
        best = torch.linalg.vector_norm(parts, p, 2).argmax(1)
        origin = APSSelector(2, p)(x).origin
        assert torch.equal(origin[:, 0] * 2 + origin[:, 1], best)


def test_aps_chooses_as_mass_does() -> None:
    assert torch.equal(APSSelector(3)(pictures()).origin, OriginSelector(3)(pictures()))


@pytest.mark.parametrize("down", [APSD(5), LPSD(CHANNELS, 5), CAPSD(CHANNELS, 5)])
def test_sizes_without_whole_grids_are_refused(down: PolyphaseDown) -> None:
    with pytest.raises(ValueError, match="12x24 map has no whole grids of stride 5x5"):
        down(noise())


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="p of 1, 2, 3, 4 or inf"):
        APSSelector(2, 5)
    with pytest.raises(ValueError, match="channels divisible by the groups"):
        DDAC(12)
    with pytest.raises(ValueError, match="1 to 7 taps"):
        BlurPool(8)
    with pytest.raises(ValueError, match="2x2 map cannot be reflected"):
        BlurPool(5)(torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize("kernel", range(1, 8))
@pytest.mark.parametrize("mode", ["circular", "reflect"])
def test_blur_is_a_depthwise_convolution(kernel: int, mode: str) -> None:
    x = noise()
    taps = torch.tensor([math.comb(kernel - 1, k) for k in range(kernel)], dtype=torch.float32)
    weight = torch.outer(taps, taps) / taps.sum() ** 2
    lo, hi = (kernel - 1) // 2, kernel // 2
    wide = F.pad(x, (lo, hi, lo, hi), mode=mode)
    expected = F.conv2d(wide, weight.expand(CHANNELS, 1, -1, -1), stride=2, groups=CHANNELS)
    assert torch.allclose(BlurPool(kernel, 2, mode)(x), expected, atol=1e-6)


def test_ddac_is_a_filter_that_varies() -> None:
    layer = seeded(lambda: DDAC(CHANNELS, 3, 1, groups=2))
    x = noise()
    wide = F.pad(x, (1, 1, 1, 1), mode="reflect")
    sigma = layer.bn(F.conv2d(wide, layer.conv.weight)).softmax(1).reshape(3, 2, 9, -1)
    windows = F.unfold(wide, 3).reshape(3, 2, 2, 9, -1)
    expected = (windows * sigma[:, :, None]).sum(3).reshape(x.shape)
    assert torch.allclose(layer(x), expected, atol=1e-6)


def test_ddac_can_start_as_the_identity() -> None:
    layer = DDAC(CHANNELS, 3, 1, groups=2, scope="group")
    layer.start_as_identity_(centre=1 - 1e-7)
    assert torch.allclose(layer.eval()(noise()), noise(), atol=1e-5)


@pytest.mark.parametrize(
    ("down", "up"),
    [(APSD(), APSU()), (LPSD(CHANNELS), LPSU(filter=circular())), (CAPSD(CHANNELS), CAPSU())],
)
@torch.no_grad()
def test_down_and_up_return_to_the_input_grid(down: PolyphaseDown, up: nn.Module) -> None:
    down.eval(), up.eval()
    x = noise()
    y = up(*down.sample(x))
    for shift in itertools.product(range(4), range(4)):
        assert torch.equal(up(*down.sample(roll(x, shift))), roll(y, shift))


def test_branches_share_a_choice() -> None:
    down, other = APSD(), noise(1)
    _, choice = down.sample(noise())
    assert torch.equal(down(other, choice), take(other, choice.origin, 2))


def test_choice_before_the_filter() -> None:
    down = APSD(filter=circular(5))
    late = PolyphaseDown(APSSelector(2), circular(5), select_before_filter=True)
    x = noise()
    assert torch.equal(late.sample(x)[1].origin, APSSelector(2)(x).origin)
    assert torch.equal(down.sample(x)[1].origin, APSSelector(2)(circular(5)(x)).origin)


def test_temperatures_follow_their_schedule() -> None:
    schedule = TauSchedule(((0, 1.0), (62, 0.5), (82, 0.05), (90, 0.01)))
    taus = [schedule.at(epoch) for epoch in (-1, 31, 62, 90, 99)]
    assert taus == pytest.approx([1.0, 0.75, 0.5, 0.01, 0.01])
    assert schedule.at(72) == pytest.approx(0.275)
    decay = TauSchedule.decay(250, floor=0.5)
    assert decay.at(0) == 1.0
    assert decay.at(25) == pytest.approx(0.85**2)
    assert decay.at(200) == 0.5
    net = nn.Sequential(LPSD(CHANNELS), nn.ReLU(), LPSD(CHANNELS))
    schedule.apply(net, 90)
    assert [round(float(net[i].select.gumbel_tau), 6) for i in (0, 2)] == [0.01, 0.01]


def test_start_from_activation_is_the_mean_of_the_positive_part() -> None:
    x = noise()
    expected = components(x.relu(), 2).mean((2, 3, 4)).argmax(1)
    lps = LPSSelector(CHANNELS).eval()
    lps.start_from_activation_()
    caps = CAPSSelector(CHANNELS).eval()
    caps.start_from_activation_()
    for select in (lps, caps):
        origin = select(x).origin
        assert torch.equal(origin[:, 0] * 2 + origin[:, 1], expected)
