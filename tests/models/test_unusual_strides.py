"""The total stride is known, or it is not known; it is never 1 for want of a rule."""

from __future__ import annotations

import onnx
import onnxruntime as ort
import pytest
import torch
import torchvision
from artefacts import write_onnx
from onnx import TensorProto, helper
from quantised import write_dynamic, write_static
from torch import nn

from equiaudit.models import total_stride
from equiaudit.models.onnx_stride import onnx_total_stride

IMAGE = torch.rand(2, 3, 32, 32)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    ).eval()  # fmt: skip


def stride_of(path, size=32, layout="NCHW"):
    return onnx_total_stride(path, (size, size), layout)


@pytest.mark.parametrize("qdq", [True, False])
def test_static_quantisation(qdq, tmp_path):
    assert stride_of(write_static(net(), tmp_path / "m.onnx", IMAGE, qdq=qdq)) == (8, 8)


def test_dynamic_quantisation(tmp_path):
    path = write_dynamic(net(), tmp_path / "m.onnx", IMAGE)
    assert "ConvInteger" in {node.op_type for node in onnx.load(path).graph.node}
    assert stride_of(path) == (8, 8)


@pytest.mark.parametrize("qdq", [None, True, False])
def test_what_onnxruntime_has_optimised(qdq, tmp_path):
    """Fused and channels-last operators of its own."""
    path = tmp_path / "m.onnx"
    if qdq is None:
        write_onnx(net(), path, IMAGE)
    else:
        write_static(net(), path, IMAGE, qdq=qdq)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fast.onnx")
    options.log_severity_level = 4
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    domains = {node.domain for node in onnx.load(tmp_path / "fast.onnx").graph.node}
    assert domains & {"com.microsoft", "com.microsoft.nchwc"}
    assert stride_of(tmp_path / "fast.onnx") == (8, 8)


def graph(nodes, *, initialisers=(), functions=(), opset=17, domains=(), output=None):
    """A file from (1, 3, 32, 32), "x", to "y"."""
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        list(initialisers),
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(made, opset_imports=imports, functions=list(functions))


def pool(source, target, step=2, **more):
    return helper.make_node(
        "MaxPool", [source], [target], kernel_shape=[step] * 2, strides=[step] * 2, **more
    )


def test_local_functions(tmp_path):
    twice = helper.make_function(
        "own", "Twice", ["a"], ["c"], [pool("a", "b"), pool("b", "c")],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    nodes = [
        helper.make_node("Twice", ["x"], ["h"], domain="own"),
        helper.make_node("Twice", ["h"], ["y"], domain="own"),
    ]
    onnx.save(graph(nodes, functions=[twice], domains=["own"]), tmp_path / "m.onnx")
    assert stride_of(tmp_path / "m.onnx", 32) == (16, 16)


def floats(name, values):
    return helper.make_tensor(name, TensorProto.FLOAT, [len(values)], values)


def ints(name, values):
    return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)


@pytest.mark.parametrize(
    ("up", "steps", "period"),
    [
        (1.5, (2,), (4, 4)),  # maps of 2/3 and 4/3 px: 4 px are three and whole maps of both
        (1.5, (3,), (2, 2)),
        (1.5, (2, 2), (8, 8)),
        (0.5, (2,), (4, 4)),
        (2 / 3, (1,), (3, 3)),
        (2.0, (4,), (2, 2)),
    ],
)
def test_a_resize_in_front(up, steps, period, tmp_path):
    nodes = [helper.make_node("Resize", ["x", "", "scales"], ["h0"], mode="linear")]
    for i, step in enumerate(steps):
        nodes.append(pool(f"h{i}", f"h{i + 1}", step))
    nodes.append(helper.make_node("Identity", [f"h{len(steps)}"], ["y"]))
    scales = floats("scales", [1, 1, up, up])
    onnx.save(graph(nodes, initialisers=[scales]), tmp_path / "m.onnx")
    assert stride_of(tmp_path / "m.onnx") == period

    def forward(x):
        h = nn.functional.interpolate(x, scale_factor=up, mode="bilinear")
        for step in steps:
            h = nn.functional.max_pool2d(h, step)
        return h

    assert total_stride(Called(forward), IMAGE) == period


class Called(nn.Module):
    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, x):
        return self.call(x)


def test_the_period_of_a_resize_is_that_of_its_outputs():
    """The independent check: which circular shifts of the input move the map by whole px."""

    def forward(x):
        return nn.functional.max_pool2d(nn.functional.interpolate(x, scale_factor=1.5), 2)

    image = torch.rand(1, 1, 24, 24)
    out = forward(image)
    periods = []
    for shift in range(1, 13):
        moved = forward(image.roll(shift, 3))
        if any(torch.equal(moved, out.roll(k, 3)) for k in range(out.shape[3])):
            periods.append(shift)
    assert periods[0] == total_stride(Called(forward), image)[1] == 4


def test_sizes_that_do_not_divide_are_not_known(tmp_path):
    """A resize to 31 of 32 columns: no shift within the image moves every map by whole px."""
    nodes = [helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="linear")]
    sizes = ints("sizes", [1, 3, 31, 31])
    onnx.save(graph(nodes, initialisers=[sizes]), tmp_path / "m.onnx")
    assert stride_of(tmp_path / "m.onnx") is None
    assert total_stride(Called(lambda x: nn.functional.interpolate(x, (31, 31))), IMAGE) is None


def test_bodies_of_if(tmp_path):
    def body(step):
        inner = pool("x", f"o{step}", step)
        out = helper.make_tensor_value_info(f"o{step}", TensorProto.FLOAT, None)
        return helper.make_graph([inner], f"b{step}", [], [out])

    nodes = [
        helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
        helper.make_node("Greater", ["top", "zero"], ["cond"]),
        helper.make_node("If", ["cond"], ["y"], then_branch=body(2), else_branch=body(4)),
    ]
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0])
    onnx.save(graph(nodes, initialisers=[zero]), tmp_path / "m.onnx")
    assert stride_of(tmp_path / "m.onnx") is None


def test_an_operator_without_a_rule_that_samples(tmp_path):
    nodes = [helper.make_node("Gather", ["x", "every"], ["y"], axis=3)]
    every = ints("every", list(range(0, 32, 2)))
    onnx.save(graph(nodes, initialisers=[every]), tmp_path / "m.onnx")
    assert stride_of(tmp_path / "m.onnx") is None
    assert total_stride(Called(lambda x: x[:, :, :, torch.arange(0, 32, 2)]), IMAGE) is None


def test_patches_without_a_rule_are_not_known():
    assert total_stride(Called(lambda x: nn.functional.unfold(x, 4, stride=4)), IMAGE) is None
    assert total_stride(Called(lambda x: x.unfold(2, 4, 4).unfold(3, 2, 2).sum((4, 5))), IMAGE) == (
        4,
        2,
    )


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18"])
@pytest.mark.filterwarnings("ignore")
def test_torchvisions_int8_nets(name):
    engine = torch.backends.quantized.engine
    torch.backends.quantized.engine = next(
        e for e in torch.backends.quantized.supported_engines if e != "none"
    )
    try:
        build = getattr(torchvision.models.quantization, name)
        module = build(weights=None, quantize=True).eval()
        scripted = torch.jit.script(module)
        image = torch.rand(1, 3, 64, 64)
        assert total_stride(module, image) == total_stride(scripted, image) == (32, 32)
    finally:
        torch.backends.quantized.engine = engine


def test_nodes_that_are_not_in_order(tmp_path):
    nodes = [pool("h", "y", 4), pool("x", "h", 2)]
    onnx.save(graph(nodes), tmp_path / "m.onnx")
    assert stride_of(tmp_path / "m.onnx") == (8, 8)
