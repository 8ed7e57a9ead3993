from __future__ import annotations

import functools
import io
import warnings

import pytest
import torch
from repair import repair_nets as nets
from torch import fx, nn

from equiaudit.errors import NothingToDo
from equiaudit.graphs import routes
from equiaudit.graphs.capture import Captured, capture
from equiaudit.graphs.outputs import main_output

SIZE = (16, 24)


def images(n: int) -> torch.Tensor:
    return torch.randn(n, 3, *SIZE, generator=torch.Generator().manual_seed(n))


def operators(graph: fx.GraphModule) -> set[str]:
    return {str(node.target) for node in graph.graph.nodes if node.op == "call_function"}


def scripted(net: nn.Module) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(net)


def traced(net: nn.Module, batch: int = 2) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(net, images(batch))


def exported(net: nn.Module, batch: int, *, dynamic: bool) -> nn.Module:
    shapes = ({0: torch.export.Dim.DYNAMIC},) if dynamic else None
    program = torch.export.export(net, (images(batch),), dynamic_shapes=shapes)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    return torch.export.load(buffer).module()


FORMS = {
    "eager": lambda net: net,
    "traced": traced,
    "traced with batch 1": lambda net: traced(net, 1),
    "scripted": scripted,
    "exported": lambda net: exported(net, 2, dynamic=True),
    "exported for batch 1": lambda net: exported(net, 1, dynamic=False),
    "exported for batch 4": lambda net: exported(net, 4, dynamic=False),
}


@functools.cache
def captured_as(form: str, view: bool = True) -> Captured:
    return capture(FORMS[form](nets.TinyResNet(view=view)), size=SIZE)


@pytest.mark.parametrize("view", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_bits_at_every_batch_size(form: str, view: bool) -> None:
    net = nets.TinyResNet(view=view)
    captured = captured_as(form, view)
    with torch.no_grad():
        for n in (1, 2, 5):
            assert torch.equal(captured.graph_module(images(n)), net(images(n)))
    assert captured.error == 0.0


@pytest.mark.parametrize("form", FORMS)
def test_the_normal_form(form: str) -> None:
    graph = captured_as(form).graph_module
    used = operators(graph)
    assert {"aten.conv2d.default", "aten.batch_norm.default", "aten.relu.default"} <= used
    assert not any("_." in name or "dropout" in name or "assert" in name for name in used)
    for node in graph.graph.nodes:
        if node.op == "call_function" and "conv2d" in str(node.target):
            value = node.meta["val"]
            assert not isinstance(value.shape[0], int)
            assert all(isinstance(side, int) for side in value.shape[1:])


@pytest.mark.parametrize("form", FORMS)
def test_tensors_keep_their_names(form: str) -> None:
    net = nets.TinyResNet()
    graph = captured_as(form).graph_module
    state = {k: v for k, v in net.state_dict().items() if not k.endswith("tracked")}
    assert {k: v.shape for k, v in graph.state_dict().items()} == {
        k: v.shape for k, v in state.items()
    }


@pytest.mark.parametrize("form", ["eager", "traced", "scripted"])
def test_module_paths_are_known(form: str) -> None:
    graph = captured_as(form).graph_module
    conv = next(node for node in graph.graph.nodes if "conv2d" in str(node.target))
    assert list(conv.meta["nn_module_stack"].values())[-1][0] == "block1.conv1"


def test_entry_out_of_a_mapping_is_taken() -> None:
    net = nets.WithDict().eval()
    captured = capture(net, size=SIZE)
    with torch.no_grad():
        assert torch.equal(captured.graph_module(images(2)), net(images(2))["out"])
    assert any("'out'" in note for note in captured.notes)


def test_a_write_through_a_view_is_made_functional() -> None:
    net = nets.WritesThroughView()
    graph = capture(net, size=SIZE).graph_module
    with torch.no_grad():
        assert torch.equal(graph(images(3)), net(images(3)))
    assert "aten.batch_norm.default" in operators(graph)
    assert "aten.relu_.default" not in operators(graph)


def test_the_module_keeps_its_mode_and_weights() -> None:
    net = nets.TinyResNet().train()
    net.block1.eval()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    captured = capture(net, size=SIZE)
    assert net.training
    assert not net.block1.training
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    with torch.no_grad():
        assert torch.equal(captured.graph_module(images(2)), net.eval()(images(2)))


def test_control_flow_on_the_data_is_refused_with_a_way_out() -> None:
    with pytest.raises(NothingToDo, match="cannot be captured") as refusal:
        capture(nets.Branches().eval(), size=SIZE)
    assert "canonical" in str(refusal.value.tip)


def test_control_a_graph_that_computes_something_else_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = nets.randomise(nets.TinyResNet(), seed=1)
    honest = routes.export_eager
    monkeypatch.setattr(routes, "export_eager", lambda module, x, **how: honest(other, x, **how))
    with pytest.raises(NothingToDo, match="differs from the model by"):
        capture(nets.TinyResNet(), size=SIZE)


@pytest.mark.parametrize("kind", ["eager", "traced"])
def test_the_output_asked_for_is_the_one_captured(kind: str) -> None:
    net, x = nets.WithDict().eval(), torch.randn(4, 3, *SIZE)
    module: nn.Module = net
    if kind == "traced":
        module = torch.jit.trace(net, torch.randn(2, 3, *SIZE), strict=False)
    for name in ("aux", "out"):
        found = capture(module, size=SIZE, output=name)
        assert torch.allclose(found.graph_module(x), net(x)[name], atol=1e-5)
        assert found.notes[0] == f"output {name!r} is the one converted"


def test_an_exported_graph_keeps_its_main_output() -> None:
    batch = torch.export.Dim("batch", min=2, max=64)
    net, x = nets.WithDict().eval(), torch.randn(4, 3, *SIZE)
    graph = torch.export.export(net, (x,), dynamic_shapes=({0: batch},)).module()
    assert torch.equal(capture(graph, size=SIZE, output="out").graph_module(x), net(x)["out"])
    with pytest.raises(NothingToDo, match="'aux' is another"):
        capture(graph, size=SIZE, output="aux")


def test_an_output_that_is_not_there_is_refused() -> None:
    with pytest.raises(NothingToDo, match="no output 'edges'"):
        capture(nets.WithDict().eval(), size=SIZE, output="edges")


def test_main_output() -> None:
    assert main_output({"aux": 1, "out": (2, 3)}) == 2
    assert main_output(({"a": 4},)) == 4
    assert main_output(5) == 5
