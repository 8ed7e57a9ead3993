"""Files of integers: imported, fixed by mass, and written with their integers again."""

from __future__ import annotations

import collections

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from artefacts import write_onnx
from onnx import helper, numpy_helper
from onnx_builders import images, model, run
from onnxruntime.quantization import QuantType
from PIL import Image
from quantised import write_dynamic, write_static
from torch import nn

import equiaudit
from equiaudit.errors import NothingToDo
from equiaudit.repair.onnx import import_onnx
from equiaudit.repair.onnx.integer_moves import moved_onto_integers

SIDE = 16
GIVEN = {"size": (SIDE, SIDE), "mean": (0.5,) * 3, "std": (0.25,) * 3, "device": "cpu"}


class Small(nn.Module):
    """Strided and pointwise convolutions, a pool, a sum, and a classifier."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2))
        self.depth = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU6())
        self.point = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        y = self.stem(x)
        return self.head((y + self.point(self.depth(y))).relu().mean((2, 3)))


class Dense(nn.Module):
    """Down, up by both ways, and a skip."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.up, self.out = nn.ConvTranspose2d(8, 4, 2, 2), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        a = self.a(x).relu()
        b = self.b(nn.functional.max_pool2d(a, 2)).relu()
        return self.out(torch.cat([a, self.up(b)], 1))


def kinds(path):
    return collections.Counter(node.op_type for node in onnx.load(path).graph.node)


def integers(path):
    """The kernels, as they are stored."""
    tensors = [t for t in onnx.load(path).graph.initializer if len(t.dims) == 4]
    return {numpy_helper.to_array(t).tobytes() for t in tensors}


def stored(path):
    """Types of the tensors of more than a few elements."""
    tensors = onnx.load(path).graph.initializer
    return {t.data_type for t in tensors if np.prod(t.dims) >= 24}


@pytest.mark.parametrize(
    ("net", "qdq", "per_channel", "activations"),
    [
        pytest.param(Small, True, False, QuantType.QUInt8, marks=pytest.mark.long),
        (Small, False, False, QuantType.QUInt8),
        (Dense, True, True, QuantType.QInt8),
        pytest.param(Dense, True, False, QuantType.QUInt16, marks=pytest.mark.long),
    ],
)
def test_fixed_by_mass(net, qdq, per_channel, activations, tmp_path):
    """Exact in onnxruntime over all phases, where the original is not; int8 as before."""
    path, fixed = tmp_path / "m.onnx", tmp_path / "fixed.onnx"
    how = {"qdq": qdq, "per_channel": per_channel, "activations": activations}
    write_static(net(), path, torch.randn(2, 3, SIDE, SIDE), **how)
    report = equiaudit.fix(path, fixed, seconds=1, **GIVEN)
    found = report.verifications[-1]
    assert found.passed
    assert found.figures.exact
    assert found.phases == found.phases_total
    assert found.control is not None
    assert not found.control.passed
    before, after = kinds(path), kinds(fixed)
    if qdq:
        assert after["QuantizeLinear"] == before["QuantizeLinear"]
    assert after["DequantizeLinear"] >= after["QuantizeLinear"] > 1
    assert onnx.TensorProto.FLOAT not in stored(fixed)
    assert integers(path) == integers(fixed)
    if activations == QuantType.QUInt8:
        assert run_as(path)["Conv"] == run_as(fixed)["Conv"] == 0


def run_as(path):
    """Operators as onnxruntime runs them."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(path.with_suffix(".run.onnx"))
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return kinds(options.optimized_model_filepath)


MOVES = {
    "wraps": (
        [helper.make_node("Pad", ["a", "p"], ["y"], mode="wrap")],
        ["QuantizeLinear", "Pad", "DequantizeLinear"],
    ),
    "fills with zeros": (
        [
            helper.make_node("Pad", ["a", "p"], ["c"]),
            helper.make_node("Greater", ["c", "s"], ["g"]),
            helper.make_node("Where", ["g", "o", "c"], ["y"]),
        ],
        ["QuantizeLinear", "Pad", "DequantizeLinear", "Greater", "Where", "DequantizeLinear"],
    ),
    "fills with others": (
        [helper.make_node("Pad", ["a", "p", "s"], ["y"])],
        ["QuantizeLinear", "DequantizeLinear", "Pad"],
    ),
    "joins one scale": (
        [
            helper.make_node("Slice", ["a", "b1", "b3", "b1"], ["c"]),
            helper.make_node("Concat", ["c", "a"], ["y"], axis=1),
        ],
        ["QuantizeLinear", "Slice", "Concat", "DequantizeLinear"],
    ),
    "joins two scales": (
        [
            helper.make_node("DequantizeLinear", ["q", "t", "z"], ["c"]),
            helper.make_node("Concat", ["a", "c"], ["y"], axis=1),
        ],
        ["QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "Concat"],
    ),
    "read before and after": (
        [
            helper.make_node("MaxPool", ["a"], ["m"], kernel_shape=[1, 1]),
            helper.make_node("Add", ["a", "m"], ["y"]),
        ],
        ["QuantizeLinear", "DequantizeLinear", "MaxPool", "DequantizeLinear", "Add"],
    ),
}


@pytest.mark.parametrize("kind", MOVES)
def test_moves_of_integers_are_those_of_values(kind):
    """In front of the DequantizeLinear, where all that is moved has one scale."""
    nodes, expected = MOVES[kind]
    first = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"])
    decoded = helper.make_node("DequantizeLinear", ["q", "s", "z"], ["a"])
    constants = {
        "s": np.float32(0.03), "t": np.float32(0.04), "z": np.array(9, "uint8"),
        "p": np.array([0, 0, 1, 2, 0, 0, 3, 0]), "b1": np.array([1]), "b3": np.array([3]),
        "o": np.float32(0),
    }  # fmt: skip
    proto = model(first, decoded, *nodes, constants=constants, opset=20)
    moved = onnx.ModelProto()
    moved.CopyFrom(proto)
    tensors = {item.name: item for item in moved.graph.initializer}
    after = moved_onto_integers(list(proto.graph.node), tensors, ["y"])
    del moved.graph.node[:]
    moved.graph.node.extend(after)
    assert [node.op_type for node in after] == expected
    x = images(proto, 2)
    assert torch.equal(run(moved, x)[0], run(proto, x)[0])


def test_dynamic_quantisation_is_refused_for_its_reason(tmp_path):
    path = write_dynamic(Small(), tmp_path / "m.onnx", torch.randn(2, 3, SIDE, SIDE))
    with pytest.raises(NothingToDo, match="the largest value in the whole batch"):
        import_onnx(path, size=(SIDE, SIDE))


def alone(path, pixels):
    """The outputs of onnxruntime, which is given one image at a time."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: x[None].numpy()})[0] for x in pixels])


def test_a_dynamically_quantised_image_has_an_answer_of_its_own(tmp_path):
    """Whatever lies beside it in a batch, which onnxruntime's scales would depend on."""
    path = write_dynamic(Small(), tmp_path / "m.onnx", torch.randn(2, 3, SIDE, SIDE))
    loaded = equiaudit.load_model(path, **GIVEN)
    assert any("one image at a time" in note for note in loaded.notes)
    generator = torch.Generator().manual_seed(4)
    pixels = torch.randn(3, 3, SIDE, SIDE, generator=generator)
    pixels[2] *= 9
    assert np.array_equal(loaded.run(pixels).numpy(), alone(path, pixels))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    together = session.run(None, {session.get_inputs()[0].name: pixels.numpy()})[0]
    assert not np.array_equal(together, alone(path, pixels))


OPTIMISED = {
    "dynamic": (write_dynamic, None),
    "dynamic, fused": (write_dynamic, "ORT_ENABLE_EXTENDED"),
    "float, fused": (None, "ORT_ENABLE_EXTENDED"),
    "float, blocks of channels": (None, "ORT_ENABLE_ALL"),
    "static, fused": (write_static, "ORT_ENABLE_EXTENDED"),
    "static, channels last": (write_static, "ORT_ENABLE_ALL"),
}


def optimised(kind, folder):
    """A file as onnxruntime writes it behind its optimiser."""
    write, level = OPTIMISED[kind]
    path, example = folder / "m.onnx", torch.randn(2, 3, SIDE, SIDE)
    write_onnx(Small().eval(), path, example) if write is None else write(Small(), path, example)
    if level is None:
        return path
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return folder / "optimised.onnx"


@pytest.mark.long
@pytest.mark.parametrize("kind", OPTIMISED)
def test_what_onnxruntime_wrote_is_scanned_verified_and_fixed_by_canonical(kind, tmp_path):
    path, fixed = optimised(kind, tmp_path), tmp_path / "fixed.onnx"
    if kind != "static, fused":  # whose operators have translations
        with pytest.raises(NothingToDo, match="canonical"):
            import_onnx(path, size=(SIDE, SIDE))
    report = equiaudit.fix(path, fixed, method="canonical", seconds=1, **GIVEN)
    found = report.verifications[-1]
    assert (found.passed, found.figures.exact, found.control.passed) == (True, True, False)
    assert equiaudit.verify(fixed, against=path, seconds=1, **GIVEN).passed
    data = tmp_path / "data"
    data.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(data / f"{i}.png")
    how = {"shifts": ("circular",), "max_shift": 2, "offsets": 4, "images": False, **GIVEN}
    before = equiaudit.scan(path, data, **how)
    after = equiaudit.scan(fixed, data, **how)
    assert after.metric("circular.logit_error").value == 0
    assert before.metric("circular.logit_error").value > 0


@pytest.mark.parametrize("kind", ["uint8", "int8", "int16", "uint16"])
def test_rounding(kind):
    """Halves to even, bounds and zero points, against onnxruntime."""
    limits = np.iinfo(kind)
    zero = np.array(limits.min // 4 + 7, kind)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("MaxPool", ["q"], ["p"], kernel_shape=[2, 2])
        if "16" not in kind else helper.make_node("Identity", ["q"], ["p"]),
        helper.make_node("DequantizeLinear", ["p", "s", "z"], ["y"]),
    ]  # fmt: skip
    proto = model(*nodes, constants={"s": np.float32(0.25), "z": zero}, opset=21)
    x = (images(proto, 2) * 200).round() / 8
    imported = import_onnx(proto, size=(12, 16), channels=4)
    assert torch.equal(imported.module(x), run(proto, x)[0])


def test_scales_by_channel():
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.integers(-127, 128, (5, 4, 3, 3)).astype("int8"),
        "ws": rng.uniform(0.01, 0.1, 5).astype("float32"),
        "wz": np.zeros(5, "int8"),
        "s": rng.uniform(0.1, 0.5, 4).astype("float32"),
        "z": rng.integers(100, 150, 4).astype("uint8"),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=1),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], axis=1),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["v"], axis=0),
        helper.make_node("Conv", ["d", "v"], ["y"], pads=[1, 1, 1, 1]),
    ]
    proto = model(*nodes, constants=constants)
    x = images(proto, 2)
    imported = import_onnx(proto, size=(12, 16), channels=4)
    torch.testing.assert_close(imported.module(x), run(proto, x)[0], rtol=1e-5, atol=1e-4)


def test_a_wrong_scale_would_be_seen():
    """The control of the comparison with onnxruntime: a scale off by a third is refused."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "t", "z"], ["y"]),
    ]
    constants = {"s": np.float32(0.03), "t": np.float32(0.04), "z": np.array(128, "uint8")}
    proto = model(*nodes, constants=constants)
    with pytest.raises(NothingToDo, match="differs from onnxruntime"):
        import_onnx(proto, size=(12, 16), channels=4)


MICROSOFT = {"domain": "com.microsoft"}
AB = ["q", "s", "z", "q", "s", "z", "t", "u"]
ONE = ["q", "s", "z", "t", "u"]
BEHIND = {
    "QLinearConv": (["q", "s", "z", "w", "ws", "wz", "t", "u", "b"], {"pads": [1, 1, 1, 1]}),
    "QLinearMatMul": (["q", "s", "z", "m", "s", "mz", "t", "u"], {}),
    "QLinearAdd": (AB, MICROSOFT),
    "QLinearMul": (AB, MICROSOFT),
    "QLinearGlobalAveragePool": (ONE, MICROSOFT),
    "QLinearAveragePool": (ONE, {"kernel_shape": [2, 2], **MICROSOFT}),
    "QLinearSigmoid": (ONE, MICROSOFT),
    "QLinearLeakyRelu": (ONE, {"alpha": 0.1, **MICROSOFT}),
    "QLinearConcat": (["t", "u", "q", "s", "z", "q", "s", "z"], {"axis": 1, **MICROSOFT}),
    "QGemm": (["f", "s", "z", "g", "gs", "gz", "gb", "t", "u"], {"transB": 1, **MICROSOFT}),
}


@pytest.mark.parametrize("kind", BEHIND)
def test_operators_on_integers(kind):
    """To a step of the result's scale, which a sum that lies half way may go either way."""
    rng = np.random.default_rng(0)

    def whole(*shape):
        return rng.integers(-100, 100, shape).astype("int8")

    constants = {
        "s": np.float32(0.05), "z": np.array(120, "uint8"), "u": np.array(100, "uint8"),
        "t": np.float32(0.073), "w": whole(5, 4, 3, 3), "ws": np.full(5, 0.02, "float32"),
        "wz": np.zeros(5, "int8"), "b": rng.integers(-900, 900, 5).astype("int32"),
        "m": whole(16, 6), "mz": np.array(0, "int8"), "g": whole(3, 4), "gz": np.array(0, "int8"),
        "gs": np.float32(0.02), "gb": rng.integers(-900, 900, 3).astype("int32"),
    }  # fmt: skip
    inputs, attributes = BEHIND[kind]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node(kind, inputs, ["r"], **attributes),
        helper.make_node("DequantizeLinear", ["r", "t", "u"], ["y"]),
    ]
    if kind == "QGemm":
        pooled = helper.make_node("GlobalMaxPool", ["x"], ["p"])
        flat = helper.make_node("Flatten", ["p"], ["e"])
        nodes[0] = helper.make_node("QuantizeLinear", ["e", "s", "z"], ["f"])
        nodes = [pooled, flat, *nodes]
    used = {name: constants[name] for node in nodes for name in node.input if name in constants}
    proto = model(*nodes, constants=used, domains=["com.microsoft"])
    x = images(proto, 3)
    off = (import_onnx(proto, size=(12, 16)).module(x) - run(proto, x)[0]).abs()
    assert off.max() <= 0.073 + 1e-5
    assert (off > 1e-5).float().mean() <= 0.01


def test_every_operator_on_integers_is_tested():
    from equiaudit.repair.onnx.ops import CONTRIB

    by_files = {"QuantizeLinear", "DequantizeLinear"}  # those of 16 bits, above
    assert CONTRIB.keys() <= BEHIND.keys() | by_files
