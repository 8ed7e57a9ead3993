"""Nets whose origins are chosen by modules that have weights of their own."""

from __future__ import annotations

import pytest
import torch
import training_cases as case
from torch import fx

from equiaudit.repair.rewrite.analyse import analyse
from equiaudit.repair.rewrite.resample import resampled
from equiaudit.repair.rewrite.spec import Spec
from equiaudit.repair.verify.circular import verify
from equiaudit.training import TrainingOptions, calibrate, recover
from equiaudit.training.batchnorm import batch_statistics, norm_modules
from equiaudit.training.student import decay_groups

CPU = torch.device("cpu")
DISTIL = TrainingOptions(distil=6, batch_size=16, distil_rate=0.02, mixup=0.0, holdout=0.25)


def with_selector(name: str) -> fx.GraphModule:
    torch.manual_seed(0)
    original = case.original()
    return case.shaken(resampled(original, analyse(original), Spec(name))).eval()


@pytest.mark.parametrize("name", ["lps", "caps"])
def test_selectors_are_trained_with_the_net_and_it_stays_exact(name: str) -> None:
    net = with_selector(name)
    assert any(node.op == "call_module" for node in net.graph.nodes)
    trained, record = recover(net, case.original(), case.examples(), DISTIL)
    assert record.stages[0].loss_after < record.stages[0].loss_before
    moved = [
        place
        for place, weight in trained.named_parameters()
        if "select" in place and not torch.equal(weight, net.get_parameter(place))
    ]
    assert moved
    assert not any(module.training for module in trained.modules())
    images = {str(i): x for i, x in enumerate(next(case.examples(8).batches(8, CPU)))}
    found = verify(trained, case.original(), images, total_stride=(4, 4), comparisons=256)
    assert found.figures.exact


@pytest.mark.parametrize("name", ["lps", "caps"])
def test_selectors_are_not_decayed_and_convolutions_are(name: str) -> None:
    net = with_selector(name)
    decayed, free = ({id(p) for p in group["params"]} for group in decay_groups(net, 0.1))
    places = dict(net.named_parameters())
    selectors = {id(p) for place, p in places.items() if place.startswith("select_")}
    assert any(p.dim() > 1 for place, p in places.items() if place.startswith("select_"))
    assert selectors <= free
    assert decayed
    assert decayed.isdisjoint(selectors)
    assert len(decayed) + len(free) == len(places)


def test_the_temperature_falls_and_ends_near_a_choice() -> None:
    net = with_selector("lps")
    trained, _ = recover(net, case.original(), case.examples(), DISTIL)
    taus = [b.item() for name, b in trained.named_buffers() if name.endswith("gumbel_tau")]
    assert taus
    assert all(0.01 < tau < 0.3 for tau in taus)


def test_batch_norm_modules_are_calibrated_too() -> None:
    net = with_selector("caps")
    modules = norm_modules(net)
    assert modules
    first = next(iter(modules.values()))
    seen: list[torch.Tensor] = []
    x = next(case.examples().batches(32, CPU))
    with torch.no_grad(), batch_statistics(net, follow=False):
        handle = first.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        net(x)
        handle.remove()
    assert calibrate(net, [x]) == 1 + len(modules)
    values = torch.cat(seen).double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(first.running_mean.double(), values.mean(1), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(first.running_var.double(), values.var(1), atol=1e-6, rtol=1e-5)
    assert not first.training
    assert first.momentum == 0.1
