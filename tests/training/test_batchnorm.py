from __future__ import annotations

import copy

import torch
import training_cases as case
from nets import resnet20, tiny_net
from torch import Tensor, fx, nn

from equiaudit.graphs.capture import capture
from equiaudit.training import TrainingOptions, batch_norms, calibrate, recover
from equiaudit.training.batchnorm import batch_statistics

CPU = torch.device("cpu")


def statistics_by_a_loop(net: nn.Module, batches: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance of what enters `net.bn`, value by value."""
    with torch.no_grad():
        values = [net.conv1(image[None]) for batch in batches for image in batch]
    flat = torch.cat([v.double().transpose(0, 1).flatten(1) for v in values], 1)
    return flat.mean(1), flat.var(1)


def test_statistics_become_those_of_the_data() -> None:
    net = tiny_net().eval()
    graph = capture(copy.deepcopy(net), size=case.SIZE).graph_module
    batches = list(case.examples(50).batches(16, CPU))
    mean, variance = statistics_by_a_loop(net, batches)
    assert not torch.allclose(graph.get_buffer("bn.running_mean").double(), mean, atol=1e-2)
    assert calibrate(graph, batches) == 1
    torch.testing.assert_close(
        graph.get_buffer("bn.running_mean").double(), mean, atol=1e-6, rtol=1e-5
    )
    torch.testing.assert_close(
        graph.get_buffer("bn.running_var").double(), variance, atol=1e-6, rtol=1e-5
    )


def test_a_deep_net_gets_what_one_pass_in_training_mode_gives() -> None:
    net = resnet20().eval()
    graph = capture(copy.deepcopy(net), size=(32, 32)).graph_module
    x = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    net.train()(x)
    assert calibrate(graph, [x]) == 19
    wanted = {k: v for k, v in net.state_dict().items() if "running" in k}
    assert len(wanted) == 38
    for name, value in wanted.items():
        torch.testing.assert_close(graph.get_buffer(name), value, atol=1e-5, rtol=1e-4)


def test_nothing_else_changes() -> None:
    graph = case.converted()
    before, code = case.weights(graph), graph.code
    graph = copy.deepcopy(graph)
    calibrate(graph, case.examples(seed=7).batches(32, CPU))
    changed = {n for n, t in graph.state_dict().items() if not torch.equal(t, before[n])}
    assert changed == {"bn.running_mean", "bn.running_var"}
    assert graph.code == code


def test_the_mode_goes_back_after_training() -> None:
    graph = case.converted()
    code, (node,) = graph.code, batch_norms(graph)
    with batch_statistics(graph, follow=True):
        assert node.args[5] is True
        assert graph.code != code
    assert graph.code == code


def test_running_statistics_stay_where_they_need_not_follow() -> None:
    graph = copy.deepcopy(case.converted())
    before = case.weights(graph)
    x = next(case.examples().batches(32, CPU))
    with torch.no_grad(), batch_statistics(graph, follow=False):
        graph(x)
    assert case.same(before, case.weights(graph))
    with torch.no_grad(), batch_statistics(graph, follow=True):
        graph(x)
    assert not case.same(before, case.weights(graph))


class Folded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).mean((2, 3))


def test_a_net_without_batch_norm_is_said_to_have_nothing_to_re_estimate() -> None:
    graph = capture(Folded().eval(), size=case.SIZE).graph_module
    assert calibrate(graph, []) == 0
    options = TrainingOptions(calibrate=True)
    result, record = recover(graph, graph, case.examples(), options)
    assert record.stages == ()
    assert "folded into the convolutions" in record.notes[0]
    assert case.same(case.weights(result), case.weights(graph))


def test_recover_calibrates_on_the_part_that_is_not_held_out() -> None:
    options = TrainingOptions(calibrate=True, holdout=0.0)
    result, record = recover(case.converted(), case.original(), case.examples(), options)
    expected: fx.GraphModule = copy.deepcopy(case.converted())
    calibrate(expected, case.examples().batches(256, CPU))
    assert case.same(case.weights(result), case.weights(expected))
    assert record.stages[0].loss_before is None
