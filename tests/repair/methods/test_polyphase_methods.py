"""Whole nets converted by every method: exact at all phases where claimed, else measured."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest
import torch
import torch.fx as fx
from nets import ResNetCifar, tiny_net
from repair.rewrite.exact_nets import calibrated, captured, photos, shifted
from torch import Tensor, nn

from equiaudit.errors import InputError
from equiaudit.graphs.routes import inlined
from equiaudit.repair.methods import METHODS, FixOptions, method
from equiaudit.repair.methods.polyphase import POLYPHASE, Polyphase
from equiaudit.repair.rewrite.analyse import analyse
from equiaudit.repair.rewrite.filtered import filtered
from equiaudit.repair.rewrite.plan import Refuse
from equiaudit.repair.rewrite.resample import padding_radii, resampled
from equiaudit.repair.rewrite.rewrite import rewrite
from equiaudit.repair.rewrite.spec import Spec
from equiaudit.repair.save.formats import FORMATS
from equiaudit.repair.save.write import save
from equiaudit.sampling import CAPSSelector

SIZE = (16, 24)
EXACT = [
    m.spec
    for m in POLYPHASE
    if isinstance(m, Polyphase) and m.spec.choose != "caps-soft" and m.spec.kernel == 3
]


class UNet(nn.Module):
    """Two levels with skips; down by a pool, or by a strided convolution and a stride of 3."""

    def __init__(self, strides: tuple[int, int] = (2, 2)) -> None:
        super().__init__()
        first, second = strides
        self.enter = nn.Conv2d(3, 8, 3, padding=1)
        self.down1 = nn.MaxPool2d(first)
        self.mid = nn.Conv2d(8, 8, 3, padding=1)
        self.down2 = nn.Conv2d(8, 12, 3, second, 1)
        self.norm = nn.BatchNorm2d(12)
        self.up2 = nn.ConvTranspose2d(12, 8, second, second)
        self.up1 = nn.Upsample(scale_factor=first)
        self.leave = nn.Conv2d(16, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        fine = torch.relu(self.enter(x))
        half = torch.relu(self.mid(self.down1(fine)))
        low = torch.relu(self.norm(self.down2(half)))
        half = half + torch.relu(self.up2(low))
        return self.leave(torch.cat([fine, self.up1(half)], 1))


def seeded(make: type[nn.Module], *args: object) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make(*args)


@pytest.fixture(scope="module")
def nets() -> Mapping[str, fx.GraphModule]:
    """A residual net whose shortcuts are slices, and a U-Net."""
    residual = calibrated(seeded(ResNetCifar, 1), SIZE)
    return {
        "residual": captured(residual, SIZE),
        "unet": captured(calibrated(seeded(UNet), SIZE), SIZE),
    }


def converted(gm: fx.GraphModule, spec: Spec, **settings: object) -> fx.GraphModule:
    torch.manual_seed(1)
    return resampled(gm, analyse(gm), spec, **settings).eval()


@torch.no_grad()
def error(net: nn.Module, x: Tensor, total: int = 4) -> float:
    """Worst change of the outputs over all phases, of their range; images shift differently."""
    y, worst = net(x), 0.0
    phases = list(itertools.product(range(total), range(total)))
    for start in range(0, len(phases), len(x)):
        moved = torch.tensor([phases[(start + i) % len(phases)] for i in range(len(x))])
        expected = shifted(y, moved) if y.dim() == 4 else y
        worst = max(worst, (net(shifted(x, moved)) - expected).abs().max().item())
    return worst / (y.max() - y.min()).item()


@torch.no_grad()
def squared_error(net: nn.Module, x: Tensor) -> float:
    """Mean square of the worst of 16 phases over the variance of the output."""
    y, worst = net(x), 0.0
    for shift in itertools.product(range(4), range(4)):
        change = net(torch.roll(x, shift, (-2, -1))) - torch.roll(y, shift, (-2, -1))
        worst = max(worst, (change.square().mean() / y.var()).item())
    return worst


@pytest.mark.parametrize("spec", EXACT, ids=lambda s: s.name)
@pytest.mark.parametrize("kind", ["residual", "unet"])
def test_whole_nets_are_exact_at_all_phases(nets, kind: str, spec: Spec) -> None:
    x = photos(3, SIZE)
    assert error(nets[kind], x) > 1e-3
    assert error(converted(nets[kind], spec), x) == 0.0


@pytest.mark.parametrize("spec", [Spec("aps"), Spec("lps"), Spec("caps", "lpf")])
def test_other_strides_are_exact(spec: Spec) -> None:
    size = (24, 36)
    gm = captured(calibrated(seeded(UNet, (4, 3)), size), size)
    assert error(converted(gm, spec), photos(3, size), 12) == 0.0


INEXACT = {
    "mixed components": (Spec("caps-soft"), {}),
    "a window": (Spec("aps"), {"window": 1}),
    "a window before a strided operation": (Spec("mass"), {"window": 1}),
    "a window for the padding": (Spec("lps"), {"window": "auto"}),
    "an operation left out": (Spec("aps"), {"skip": "*layer2*conv1*"}),
}


@pytest.mark.parametrize("name", INEXACT)
def test_control_what_is_not_claimed_exact_is_not(nets, name: str) -> None:
    spec, settings = INEXACT[name]
    assert error(converted(nets["residual"], spec, **settings), photos(16, SIZE)) > 1e-4


@pytest.mark.parametrize("kind", ["lpf", "ddac"])
def test_control_filters_alone_are_not_exact(nets, kind: str) -> None:
    net = filtered(nets["residual"], Spec("fixed", kind)).eval()
    assert error(net, photos(3, SIZE)) > 1e-3


@torch.no_grad()
def test_mixing_is_as_inexact_as_its_temperature(nets) -> None:
    """Worst squared error over variance: 9e-2 at temperature 1, 8e-4 at 0.01, 2e-8 at 0.001.

    Those of scores that no sigmoid pushes together, on noise, in an untrained U-Net of two levels
    that errs by 2e-1 unmodified; within a factor of three.
    """
    size = (64, 64)
    gm = captured(seeded(UNet), size)
    x = torch.randn(4, 3, *size, generator=torch.Generator().manual_seed(0))
    assert 0.08 < squared_error(gm, x) < 0.7
    for temperature, expected in ((1.0, 9e-2), (0.01, 8e-4), (0.001, 2e-8)):
        net = converted(gm, Spec("caps-soft"))
        for module in net.modules():
            if isinstance(module, CAPSSelector):
                module.temperature, module.sigmoid = temperature, False
        assert expected / 3 < squared_error(net, x) < expected * 3


@torch.no_grad()
def test_filters_start_near_the_original(nets) -> None:
    """DDAC starts as the identity, almost, so labels and sizes stay."""
    x = photos(8, SIZE)
    y = nets["residual"](x)
    ddac = filtered(nets["residual"], Spec("fixed", "ddac")).eval()(x)
    lpf = filtered(nets["residual"], Spec("fixed", "lpf")).eval()(x)
    assert (ddac - y).square().mean() < 0.2 * (lpf - y).square().mean()


@pytest.mark.parametrize("spec", [Spec("lps", "ddac"), Spec("caps"), Spec("fixed", "ddac")])
def test_what_a_method_adds_can_be_trained(nets, spec: Spec) -> None:
    if spec.choose == "fixed":
        net = filtered(nets["residual"], spec).train()
    else:
        net = converted(nets["residual"], spec).train()
    added = {n: p for n, p in net.named_parameters() if n.startswith(("select", "filter"))}
    assert added
    (net(photos(4, SIZE)).square().mean()).backward()
    still = {n for n, p in added.items() if p.grad is None or not p.grad.abs().sum() > 0}
    # Behind a scale of zero nothing is learned at the first step; the scale itself is.
    assert all(".conv.weight" in n or n.endswith(("conv1.bias", "conv3.bias")) for n in still)


@pytest.fixture(scope="module")
def mixed():
    """One level by LPS behind DDAC, one by CAPS: modules of every kind that is traced."""
    gm = captured(calibrated(tiny_net(), SIZE), SIZE)
    net = converted(gm, Spec("lps", "ddac"))
    net.select_4x4 = converted(gm, Spec("caps")).select_4x4
    return net


@pytest.mark.long
@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_takes_them(mixed, tmp_path, suffix: str) -> None:
    saved = save(mixed, tmp_path / f"net{suffix}", example=photos(3, SIZE))
    assert saved.verified, saved.reason


def test_inlining_changes_no_bit_and_shares_the_parameters() -> None:
    gm, x = captured(calibrated(tiny_net(), SIZE), SIZE), photos(3, SIZE)
    net = converted(gm, Spec("lps", "ddac"))
    flat = inlined(net, x)
    assert not any(node.op == "call_module" for node in flat.graph.nodes)
    assert torch.equal(flat(x), net(x))
    shared = {p.data_ptr() for p in net.parameters()}
    assert {p.data_ptr() for p in flat.parameters()} <= shared
    assert inlined(flat, x) is flat


def test_scores_by_modules_choose_as_mass_does(nets) -> None:
    gm, x = nets["unet"], photos(3, SIZE)
    assert torch.equal(converted(gm, Spec("mass"))(x), rewrite(gm, analyse(gm))(x))


def test_one_module_per_level_serves_all_branches(nets) -> None:
    net = converted(nets["residual"], Spec("lps"))
    assert [n for n, _ in net.named_children() if n.startswith("select")] == [
        "select_2x2",
        "select_4x4",
    ]


def test_the_padding_reaches_as_far_as_it_was_added(nets) -> None:
    gm = nets["unet"]
    assert padding_radii(gm, analyse(gm)) == {1: 0, 2: 1, 4: 5}


class Even(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.max_pool2d(x, 2, ceil_mode=True).mean((2, 3))


def test_windows_that_fit_no_filter_are_refused() -> None:
    gm = captured(Even(), (7, 7))
    with pytest.raises(Refuse, match="would give a map of"):
        filtered(gm, Spec("fixed", "ddac"))


def test_methods_are_found_by_name_and_say_what_they_promise() -> None:
    for name in ("aps", "lps", "caps", "lpf", "ddac", "mass+lpf", "mass+ddac", "aps+lpf"):
        assert METHODS[name].name == name
    options = FixOptions()
    assert method("mass+ddac").claim(options).exact
    assert not method("lpf").claim(options).exact
    assert not method("caps-soft").claim(options).exact
    assert not method("aps").claim(FixOptions(window="auto")).exact
    assert method("canonical+lpf").claim(options).exact
    with pytest.raises(InputError, match="aps changes ops"):
        method("aps+bps")
