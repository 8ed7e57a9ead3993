"""One file in two runtimes: how far apart, and which operation drifts first."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import equiaudit
from equiaudit.models import load
from equiaudit.models.runtimes import RUNTIMES, registry
from equiaudit.models.runtimes.drift import first_drift
from equiaudit.models.runtimes.with_onnxruntime import OnnxRuntime
from equiaudit.report.repair import render_verification

BATCH = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) + 1
HOW = {"size": (8, 8), "mean": (0.0,) * 3, "std": (1.0,) * 3, "device": "cpu"}


def node(op, inputs, output, **attributes):
    return helper.make_node(op, inputs.split(), [output], name=f"the_{output}", **attributes)


def write(path, nodes, constants):
    tensors = [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()]
    graph = helper.make_graph(
        nodes, "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        tensors,
    )  # fmt: skip
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A sum in float64 whose large part cancels: only its low bits are left."""
    nodes = [
        node("Mul", "x two", "scaled"),
        node("Cast", "scaled", "double", to=TensorProto.DOUBLE),
        node("Add", "double large", "raised"),
        node("ReduceSum", "raised axes", "sum", keepdims=0),
        node("Sub", "sum total", "rest"),
        node("Cast", "rest", "y", to=TensorProto.FLOAT),
    ]
    constants = {
        "two": np.float32(2), "large": np.float64(2**26), "axes": np.array([2, 3]),
        "total": np.float64(2**26 * 64),
    }  # fmt: skip
    return write(tmp_path_factory.mktemp("wide") / "wide.onnx", nodes, constants)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Nothing that a runtime could get wrong."""
    nodes = [
        node("Add", "x one", "more"),
        node("Sub", "more x", "less"),
        node("Mul", "less x", "scaled"),
        node("ReduceSum", "scaled axes", "y", keepdims=0),
    ]
    constants = {"one": np.float32(1), "axes": np.array([2, 3])}
    return write(tmp_path_factory.mktemp("plain") / "plain.onnx", nodes, constants)


def test_the_operation_that_loses_bits_first_is_named(wide):
    pytest.importorskip("openvino")
    found = first_drift(wide, "openvino", BATCH)
    assert (found.node, found.op) == ("the_raised", "Add") or found.op in (
        "Add",
        "ReduceSum",
        "Sub",
    )
    assert found.error > found.inputs
    assert found.inputs <= 1e-5


class Offset(OnnxRuntime):
    """onnxruntime, with an error in what one operation returns and all that follows."""

    label = "Offset"

    def __init__(self, at, by):
        self.at, self.by = at, by

    def forward(self, source, device, *, what, image="", inputs=None):
        proto = (
            onnx.load(source) if not isinstance(source, bytes) else onnx.load_from_string(source)
        )
        for each in list(proto.graph.node):
            if each.output[0] == self.at:
                each.output[0] = "before"
                shift = numpy_helper.from_array(np.float32(self.by), "shift")
                proto.graph.initializer.append(shift)
                added = helper.make_node("Add", ["before", "shift"], [self.at])
                proto.graph.node.insert(list(proto.graph.node).index(each) + 1, added)
        return super().forward(
            proto.SerializeToString(), device, what=what, image=image, inputs=inputs
        )


@pytest.mark.parametrize("at", ["more", "less", "scaled"])
def test_an_error_is_found_where_it_was_put(plain, monkeypatch, at):
    monkeypatch.setitem(RUNTIMES._rows, "offset", Offset(at, 0.1))
    assert first_drift(plain, "offset", BATCH).node == f"the_{at}"


def test_rounding_is_no_drift(plain, monkeypatch):
    monkeypatch.setitem(RUNTIMES._rows, "offset", Offset("more", 2e-7))
    assert first_drift(plain, "offset", BATCH) is None
    assert registry.installed("offset").label == "Offset"


def test_verify_says_what_another_runtime_makes_of_the_file(wide, tmp_path):
    pytest.importorskip("openvino")
    found = equiaudit.verify(wide, backend="openvino", seconds=0.2, task="regression", **HOW)
    beside = found.elsewhere
    assert beside.images == 16
    assert beside.worst_relative > 1e-3
    assert beside.bit_equal < 16
    assert "OpenVINO" in beside.runtime
    assert beside.drift is not None
    text = render_verification(found)
    assert f"first operation that drifts: {beside.drift.node} ({beside.drift.op})" in text
    run = [load(wide, backend=b, task="regression", normalisation=False).run
           for b in ("onnxruntime", "openvino")]  # fmt: skip
    assert not torch.allclose(run[0](BATCH), run[1](BATCH), rtol=1e-3)


def test_where_two_runtimes_agree_nothing_drifts(plain):
    pytest.importorskip("openvino")
    found = equiaudit.verify(plain, backend="openvino", seconds=0.2, task="regression", **HOW)
    assert found.elsewhere.drift is None
    assert found.elsewhere.worst_relative < 1e-5
    assert "worst difference" in render_verification(found)
    alone = equiaudit.verify(plain, seconds=0.2, task="regression", **HOW)
    assert alone.elsewhere is None
    assert "worst difference" not in render_verification(alone)
