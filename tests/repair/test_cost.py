"""What files hold is what the cost table counts: parameters and bytes, wherever they are kept."""

from __future__ import annotations

import math
from pathlib import Path

import onnx
import pytest
import torch
from artefacts import write_onnx
from onnx import TensorProto, helper, numpy_helper
from repair import repair_nets as nets
from repair.repair_nets import SIZE, model_of

from equiaudit.graphs.capture import capture
from equiaudit.graphs.nodes import learned_numbers
from equiaudit.models import PreprocessOverrides, load
from equiaudit.repair.cost import onnx_parameters
from equiaudit.repair.pipeline import FixOptions, fix

QUICK = FixOptions(method="canonical", comparisons=64)


def held() -> int:
    return sum(parameter.numel() for parameter in nets.TinyResNet().parameters())


def test_a_frozen_script_has_the_parameters_that_it_keeps_as_constants() -> None:
    script = torch.jit.trace(nets.TinyResNet(), torch.rand(1, 3, *SIZE))
    frozen = torch.jit.freeze(script)
    assert not list(frozen.parameters())  # the control: where one would look for them
    for module in (script, frozen):
        graph = capture(module, size=SIZE).graph_module
        assert learned_numbers(graph) == pytest.approx(held(), rel=0.1)


def test_external_data_counts_before_and_after(tmp_path: Path) -> None:
    path = write_onnx(nets.TinyResNet(), tmp_path / "net.onnx", torch.rand(2, 3, *SIZE))
    whole = onnx.load(path)
    onnx.save(whole, path, save_as_external_data=True, location="net.data", size_threshold=64)
    model = load(path, preprocess=PreprocessOverrides(size=SIZE), normalisation=False)
    report = fix(model, tmp_path / "a.onnx", QUICK)
    before, after = report.cost_before, report.cost_after
    assert before is not None
    assert after is not None
    beside = (tmp_path / "net.data").stat().st_size
    assert beside > 0
    assert before.bytes == path.stat().st_size + beside
    assert after.bytes == sum((tmp_path / n).stat().st_size for n in ("a.onnx", "a.onnx.data"))
    assert before.parameters == after.parameters == pytest.approx(held(), rel=0.1)


def test_weights_as_constants_and_whole_numbers_count_and_shapes_do_not(tmp_path: Path) -> None:
    def constant(name: str, shape: tuple[int, ...], kind: int) -> onnx.NodeProto:
        dtype = helper.tensor_dtype_to_np_dtype(kind)
        array = numpy_helper.from_array(torch.ones(shape).numpy().astype(dtype))
        return helper.make_node("Constant", [], [name], value=array)

    nodes = [
        constant("w8", (4, 3, 3, 3), TensorProto.INT8),
        constant("wf", (5, 7), TensorProto.FLOAT),
        constant("shape", (4,), TensorProto.INT64),
        constant("one", (), TensorProto.FLOAT),
        helper.make_node("DequantizeLinear", ["b32", "one"], ["b"]),
    ]
    bias = helper.make_tensor("b32", TensorProto.INT32, [6], [0] * 6)
    index = helper.make_tensor("i32", TensorProto.INT32, [6], [0] * 6)
    graph = helper.make_graph(nodes, "g", [], [], [bias, index])
    onnx.save(helper.make_model(graph), tmp_path / "a.onnx")
    assert onnx_parameters(tmp_path / "a.onnx") == math.prod((4, 3, 3, 3)) + 5 * 7 + 6


def test_a_torch_net_counts_as_torch_does(tmp_path: Path) -> None:
    report = fix(model_of(nets.TinyResNet()), tmp_path / "a.pt", QUICK)
    assert report.cost_before is not None
    assert report.cost_before.parameters == held()
