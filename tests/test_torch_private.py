"""Each test says by its name which private API of torch a new version broke."""

from __future__ import annotations

import io

import pytest
import torch
from repair import repair_nets as nets
from torch import fx, nn

from equiaudit import torch_private as private
from equiaudit.graphs import routes
from equiaudit.graphs.quiet import quiet

SIZE = (16, 24)
CONV = torch.ops.aten.conv2d.default


def images(count: int) -> torch.Tensor:
    return torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(count))


def traced(net: nn.Module) -> torch.jit.ScriptModule:
    return torch.jit.trace(net.eval(), images(2), check_trace=False)


def exported(module: nn.Module) -> torch.export.ExportedProgram:
    return torch.export.export(module, (images(2),))


def test_torch_export_converter() -> None:
    net = nets.TinyResNet()
    with quiet():
        graph = routes.convert_torchscript(traced(net), images(7))
    with torch.no_grad():
        assert torch.equal(graph(images(3)), net(images(3)))


def test_torch_fx_proxy_tensor() -> None:
    net = nets.TinyResNet(view=True)
    with quiet():
        graph = routes.retrace_torchscript(torch.jit.script(net.eval()), images(7))
    with torch.no_grad():
        assert torch.equal(graph(images(3)), net(images(3)))
    assert "block1.conv1.weight" in graph.state_dict()


def test_names_and_schemas_of_operators() -> None:
    assert isinstance(CONV, private.OpOverload)
    assert isinstance(torch.ops.aten.conv2d, private.OpOverloadPacket)
    assert private.operator_name(CONV) == "conv2d"
    assert private.operator_name(torch.relu) == ""
    assert private.overload_name(torch.ops.aten.add.Tensor) == "Tensor"
    schema = private.schema_of(torch.ops.aten.relu_.default)
    assert schema.is_mutable
    assert schema.returns[0].alias_info is not None
    stride = next(each for each in private.schema_of(CONV).arguments if each.name == "stride")
    assert stride.has_default_value()


def test_the_pad_of_recorded_graphs() -> None:
    graph = fx.symbolic_trace(lambda x: nn.functional.pad(x, (1, 1)))
    targets = {node.target for node in graph.graph.nodes}
    assert targets & {private.NATIVE_PAD, nn.functional.pad}
    assert private.NATIVE_PAD(torch.ones(1, 1), (1, 1)).shape == (1, 3)


class Two(nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"a": x + 1, "b": x}


def test_exported_graphs_carry_their_structure() -> None:
    spec = private.output_spec(exported(Two()).module())
    assert spec is not None
    assert private.tree_unflatten([1, 2], spec) == {"a": 1, "b": 2}
    assert private.output_spec(nn.ReLU()) is None


def test_trees() -> None:
    assert private.tree_leaves({"a": (1, [2])}) == [1, 2]
    assert private.tree_map(lambda leaf: leaf + 1, (1, [2])) == (2, [3])


def test_a_graph_is_called_as_another() -> None:
    module = exported(Two()).module()
    graph = fx.Graph()
    x = graph.placeholder("x")
    graph.output((x, x))
    private.called_as(graph, module)
    assert set(fx.GraphModule(nn.Module(), graph)(images(2))) == {"a", "b"}


def test_children_are_replaced_in_a_copy() -> None:
    net = nn.Sequential(nn.ReLU(), nn.Flatten())
    twin = private.with_children(net, {"0": nn.Sigmoid()})
    assert [type(child).__name__ for child in twin.children()] == ["Sigmoid", "Flatten"]
    assert isinstance(net[0], nn.ReLU)


def test_every_call_is_dispatched() -> None:
    seen = []

    class Watch(private.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(private.operator_name(func))
            return func(*args, **(kwargs or {}))

    with Watch():
        torch.ones(2).relu()
    assert seen[-1] == "relu"


def test_graphs_of_scripts() -> None:
    graphs = list(private.script_graphs(traced(nets.TinyResNet())))
    assert any(graph.findAllNodes("aten::_convolution", recurse=True) for graph in graphs)


@pytest.mark.parametrize("kind", ["script", "exported"])
def test_archives_are_read(kind: str) -> None:
    content = io.BytesIO()
    if kind == "script":
        torch.jit.save(traced(nets.TinyResNet()), content)
    else:
        torch.export.save(exported(nn.ReLU()), content)
    reader = private.archive_reader(io.BytesIO(content.getvalue()))
    names = reader.get_all_records()
    assert sum(len(bytes(reader.get_record(name))) for name in names) > 100


def test_the_schema_of_exported_programs() -> None:
    assert private.export_schema() >= (8, 0)


def test_batch_norms_have_one_base() -> None:
    assert all(issubclass(kind, private.AnyBatchNorm) for kind in (nn.BatchNorm2d, nn.BatchNorm1d))


def test_operators_on_integers_are_known() -> None:
    private.know_integer_operators()
    ops = torch.ops.quantized_decomposed
    x = torch.tensor([0.1, 0.6])
    q = ops.quantize_per_tensor.default(x, 0.5, 1, 0, 255, torch.uint8)
    assert q.tolist() == [1, 2]
    assert ops.dequantize_per_tensor.default(q, 0.5, 1, 0, 255, torch.uint8).tolist() == [0.0, 0.5]
