"""What cannot be imported is refused in one sentence; hostile files are wrong input."""

from __future__ import annotations

import itertools
import time

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_builders import model as built
from onnx_builders import node

from equiaudit.errors import EquiauditError, InputError, NothingToDo
from equiaudit.repair.onnx import import_onnx
from equiaudit.repair.onnx.ops.registry import OPS

W = np.ones((4, 4, 3, 3), np.float32)


def model(*nodes, **given):
    """Onnxruntime is not asked about any of these: some would take all memory."""
    return built(*nodes, **({"axes": 4} | given))


def one(kind, inputs="x", **given):
    attributes = given.pop("attributes", {})
    return model(node(kind, inputs, **attributes), **given)


def ints(*values):
    return np.array(values, dtype=np.int64)


def sub_graph(kind, **attributes):
    value = helper.make_tensor_value_info("o", 1, ["n", 4, 12, 16])
    body = helper.make_graph([helper.make_node("Relu", ["x"], ["o"])], "body", [], [value])
    return helper.make_node(
        kind, ["c"], ["y"], **dict.fromkeys(attributes.pop("bodies"), body), **attributes
    )


def branching():
    item = sub_graph("If", bodies=("then_branch", "else_branch"))
    return model(item, constants={"c": np.array(True)})


REFUSED = {
    "an unknown operator": (one("Hardmax"), r"Hardmax \(node Hardmax_0, opset 18\)"),
    "another domain": (
        model(helper.make_node("Gizmo", ["x"], ["y"], domain="com.acme"), domains=["com.acme"]),
        r"Gizmo .* the operators of com\.acme",
    ),
    "a branch": (branching(), r"If .*runs sub-graphs"),
    "an opset of the future": (one("Relu", opset=24), "opset 24"),
    "an old opset": (one("Relu", opset=6), "opset 6"),
    "the indices of a pool": (
        model(
            node("MaxPool", "x", "m i", kernel_shape=[2, 2]), node("Cast", "i", "f", to=1),
            node("Add", "m f"),
        ),
        "MaxPool .*output 'i'",
    ),
    "a convolution over one axis": (
        model(
            node("Reshape", "x s", "r"), node("Conv", "r w", "c"), node("Reshape", "c t"),
            constants={"s": ints(-1, 4, 192), "w": W[..., 0, :1], "t": ints(-1, 4, 12, 16)},
        ),
        "Conv .*3 axes",
    ),
    "a window computed from the image": (
        model(
            node("ReduceMax", "x", "m", keepdims=0), node("Cast", "m", "k", to=7),
            node("Unsqueeze", "k zero", "u"), node("Tile", "one u", "p"), node("Reshape", "x p"),
            constants={"zero": ints(0), "one": ints(1)}, opset=13,
        ),
        "is computed from the image",
    ),
    "the batch as a number": (
        model(
            node("Shape", "x", "s"), node("Cast", "s", "f", to=1), node("Gather", "f z", "g"),
            node("Mul", "x g"), constants={"z": np.array(0)},
        ),
        "computes with the batch size",
    ),
    "part of the batch": (
        one("Slice", "x s e a", constants={"s": ints(0), "e": ints(1), "a": ints(0)}),
        "takes a part of the batch",
    ),
    "statistics over the batch": (
        model(node("ReduceMean", "x", "m", axes=[0]), node("Relu", "m"), opset=11),
        "not one result per image",
    ),
    "a constant output": (
        model(node("Constant", "", "y", value_floats=[1.0]), opset=13),
        "does not depend on the image",
    ),
    "an antialiased resize": (
        one("Resize", "x - s", constants={"s": np.array([1, 1, 0.5, 0.5], np.float32)},
            attributes={"antialias": 1, "mode": "linear"}),
        "antialias is 1",
    ),
    "an absurd shape": (
        model(
            node("ConstantOfShape", "s", "c"), node("Add", "x c"),
            constants={"s": ints(2**30, 2**30)},
        ),
        "absurdly large",
    ),
    "an absurd pad": (
        one("Pad", "x p", constants={"p": ints(0, 0, 0, 0, 0, 0, 0, 2**40)}),
        "absurdly large",
    ),
    "an absurd resize": (
        one("Resize", "x - s", constants={"s": np.array([1, 1, 1e5, 1e5], np.float32)}),
        "absurdly large",
    ),
    "constants that grow": (
        model(
            node("Constant", "", "c0", value_floats=[1.0]),
            node("Expand", "c0 s", "c1"),
            *[node("Concat", f"c{i} " * 16, f"c{i + 1}", axis=0) for i in range(1, 9)],
            node("ReduceSum", "c9", "r", keepdims=0), node("Add", "x r"),
            constants={"s": ints(2**12)},
        ),
        "elements|absurdly large",
    ),
    "a window without a step": (
        one("MaxPool", attributes={"kernel_shape": [2, 2], "strides": [0, 0]}), "MaxPool",
    ),
    "a convolution without groups": (
        one("Conv", "x w", constants={"w": W}, attributes={"group": 0}), "Conv",
    ),
    "a matrix of all channels": (
        one("LRN", attributes={"size": 3}, shape=("n", 5000, 2, 2)), "channels",
    ),
    "a resize to billions": (
        one("Resize", "x - s", constants={"s": np.array([1, 1, 1e8, 1], np.float32)}),
        "absurdly large",
    ),
    "a reshape that does not fit": (
        one("Reshape", "x s", constants={"s": ints(0, 7, -1)}), "cannot make",
    ),
    "an empty axis": (one("Reshape", "x s", constants={"s": ints(0, 0, 0, 5)}), "cannot make"),
    "a 16-bit float of another kind": (
        model(node("Cast", "x", "b", to=16), node("Cast", "b", "y", to=1)), "converts to type 16",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_names_what_and_where(name):
    proto, pattern = REFUSED[name]
    with pytest.raises(NothingToDo, match=pattern) as refusal:
        import_onnx(proto)
    assert refusal.value.exit_code == 5
    assert refusal.value.message.count(". ") == 0
    assert "canonical" in str(refusal.value)


def test_a_wrong_translation_does_not_pass(monkeypatch):
    aten = torch.ops.aten
    monkeypatch.setitem(OPS, "Relu", lambda call: call.emit(aten.silu.default, call.input(0)))
    with pytest.raises(NothingToDo, match="differs from onnxruntime's"):
        import_onnx(_relu_net())


def test_a_slightly_wrong_constant_does_not_pass(monkeypatch):
    right = OPS["LeakyRelu"]

    def wrong(call):
        y = right(call)
        return call.emit(torch.ops.aten.mul.Tensor, y, 1 + 1e-4)

    proto = one("LeakyRelu")
    import_onnx(proto)
    monkeypatch.setitem(OPS, "LeakyRelu", wrong)
    with pytest.raises(NothingToDo, match="of its range"):
        import_onnx(proto)


def _relu_net():
    return model(node("Conv", "x w", "c"), node("Relu", "c"), constants={"w": W})


def written(tmp_path, proto, name="net.onnx"):
    path = tmp_path / name
    path.write_bytes(proto.SerializeToString())
    return path


def truncated(tmp_path):
    path = written(tmp_path, _relu_net())
    path.write_bytes(path.read_bytes()[:-40])
    return path


def noise(tmp_path):
    path = tmp_path / "noise.onnx"
    path.write_bytes(np.random.default_rng(0).bytes(4096))
    return path


def cyclic(tmp_path):
    proto = _relu_net()
    proto.graph.node[0].input[0] = "y"
    return written(tmp_path, proto)


def without_weights(tmp_path):
    proto = _relu_net()
    del proto.graph.initializer[:]
    return written(tmp_path, proto)


def twice_the_same_name(tmp_path):
    proto = _relu_net()
    proto.graph.node[1].output[0] = "c"
    return written(tmp_path, proto)


def short_weights(tmp_path):
    proto = _relu_net()
    proto.graph.initializer[0].raw_data = proto.graph.initializer[0].raw_data[:-4]
    return written(tmp_path, proto)


def huge_weights(tmp_path):
    proto = _relu_net()
    del proto.graph.initializer[0].dims[:]
    proto.graph.initializer[0].dims.extend([2**30, 2**30, 1, 1])
    return written(tmp_path, proto)


def negative_weights(tmp_path):
    proto = _relu_net()
    proto.graph.initializer[0].dims[0] = -4
    return written(tmp_path, proto)


def external(tmp_path, **entries):
    proto = _relu_net()
    tensor = proto.graph.initializer[0]
    (tmp_path / "net.data").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in ({"location": "net.data"} | entries).items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return written(tmp_path, proto)


def outside(tmp_path):
    return external(tmp_path, location="../net.data")


def absolute(tmp_path):
    return external(tmp_path, location="/etc/hostname")


def linked(tmp_path):
    path = external(tmp_path, location="link.data")
    (tmp_path / "link.data").symlink_to("/etc/hostname")
    return path


def too_long(tmp_path):
    return external(tmp_path, offset="0", length=str(2**60))


def past_the_end(tmp_path):
    return external(tmp_path, offset=str(2**40))


def no_number(tmp_path):
    return external(tmp_path, offset="-0x10")


def functions(*bodies):
    proto = model(helper.make_node("f0", ["x"], ["y"], domain="own"), domains=["own"])
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    for i, body in enumerate(bodies):
        proto.functions.append(helper.make_function("own", f"f{i}", ["a"], ["b"], body, imports))
    return proto


def recursive(tmp_path):
    call = helper.make_node("f1", ["a"], ["b"], domain="own")
    back = helper.make_node("f0", ["a"], ["b"], domain="own")
    return written(tmp_path, functions([call], [back]))


def a_billion_nodes(tmp_path):
    def level(i):
        names = ["a", *(f"v{k}" for k in range(9)), "b"]
        pairs = itertools.pairwise(names)
        return [helper.make_node(f"f{i + 1}", [p], [q], domain="own") for p, q in pairs]

    leaf = [helper.make_node("Relu", ["a"], ["b"])]
    return written(tmp_path, functions(*[level(i) for i in range(9)], leaf))


def huge_image(tmp_path):
    return written(tmp_path, one("Relu", shape=("n", 3, 2**60, 2**60)))


def three_axes(tmp_path):
    return written(tmp_path, one("Relu", shape=("n", 3, 8)))


def two_images(tmp_path):
    proto = model(node("Add", "x z"))
    proto.graph.input.append(helper.make_tensor_value_info("z", 1, ["n", 4, 12, 16]))
    return written(tmp_path, proto)


def whole_numbers(tmp_path):
    return written(tmp_path, one("Abs", dtype=TensorProto.INT64))


def no_outputs(tmp_path):
    proto = _relu_net()
    del proto.graph.output[:]
    return written(tmp_path, proto)


HOSTILE = [
    no_outputs,
    truncated, noise, cyclic, without_weights, twice_the_same_name, short_weights, huge_weights,
    negative_weights, outside, absolute, linked, too_long, past_the_end, no_number, recursive,
    a_billion_nodes, huge_image, three_axes, two_images, whole_numbers,
]  # fmt: skip


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_a_hostile_file_is_wrong_input(make, tmp_path):
    path = make(tmp_path)
    start = time.process_time()
    with pytest.raises(InputError) as refusal:
        import_onnx(path)
    assert refusal.value.message.endswith(".")
    assert "\n" not in refusal.value.message
    assert time.process_time() - start < 10  # it neither hangs nor builds what the file asks for


def test_every_prefix_of_a_file_is_refused_or_imported(tmp_path):
    data = _relu_net().SerializeToString()
    for end in range(0, len(data), 37):
        path = tmp_path / "part.onnx"
        path.write_bytes(data[:end])
        with pytest.raises(EquiauditError):
            import_onnx(path)


def test_external_data_beside_the_file_is_read(tmp_path):
    path = external(tmp_path)
    weight = next(iter(import_onnx(path).module.parameters()))
    assert torch.equal(weight, torch.from_numpy(W))


def test_a_model_in_memory_must_hold_its_tensors(tmp_path):
    proto = onnx.load(external(tmp_path), load_external_data=False)
    with pytest.raises(InputError, match="in another file"):
        import_onnx(proto)


def test_functions_of_the_file_are_inlined(tmp_path):
    inner = helper.make_node("f1", ["a"], ["b"], domain="own")
    leaf = helper.make_node("Relu", ["a"], ["b"])
    imported = import_onnx(functions([inner], [leaf]))
    x = torch.randn(2, 4, 12, 16)
    assert torch.equal(imported.module(x), x.relu())


@pytest.mark.parametrize("given", [{}, {"size": (12, 16)}])
def test_an_open_size_must_be_given(given):
    proto = one("Relu", shape=("n", 3, "h", "w"))
    if given:
        assert import_onnx(proto, **given).size == (12, 16)
    else:
        with pytest.raises(InputError, match="open"):
            import_onnx(proto)


def test_a_size_that_contradicts_the_file_is_wrong():
    with pytest.raises(InputError, match="height is 12, not 13"):
        import_onnx(one("Relu"), size=(13, 16))


def test_nodes_that_no_output_needs_may_be_anything():
    item = helper.make_node("Hardmax", ["x"], ["unused"])
    x = torch.randn(2, 4, 12, 16)
    assert torch.equal(import_onnx(model(item, node("Relu"))).module(x), x.relu())


def test_a_sparse_constant_is_refused():
    values = numpy_helper.from_array(np.ones(1, np.float32), "v")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(ints(0)), [16])
    proto = model(
        helper.make_node("Constant", [], ["c"], sparse_value=sparse), node("Add", "x c"), opset=13
    )
    with pytest.raises(EquiauditError):
        import_onnx(proto)
