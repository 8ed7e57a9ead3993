"""An exported graph gets the names, types, layout and batch axis of the file back."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from onnx_builders import error, images, model, node, run
from torch.export import Dim

from equiaudit.errors import RunError
from equiaudit.repair.onnx import import_onnx, restore_interface

RNG = np.random.default_rng(0)
W = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)


def conv_net(dtype=TensorProto.FLOAT, batch="samples"):
    numpy_type = np.float16 if dtype == TensorProto.FLOAT16 else np.float32
    proto = model(
        node("Conv", "x w", "c", strides=[2, 2], pads=[1, 1, 1, 1]), node("Relu", "c"),
        constants={"w": W.astype(numpy_type)}, shape=(batch, 3, 8, 8), dtype=dtype,
    )  # fmt: skip
    helper.set_model_props(proto, {"author": "someone", "equiaudit_preprocess": "old"})
    proto.graph.name = "classifier"
    return proto


def bytes_net():
    return model(
        node("Cast", "x", "f", to=1), node("Mul", "f s", "m"), node("Conv", "m w"),
        constants={"w": W, "s": np.float32(1 / 255)}, shape=(1, 3, 8, 8),
        dtype=TensorProto.UINT8, output_dtype=TensorProto.FLOAT,
    )  # fmt: skip


def channels_last_net():
    return model(
        node("Transpose", "x", "t", perm=[0, 3, 1, 2]), node("Conv", "t w"),
        constants={"w": W}, shape=("n", 8, 10, 3),
    )  # fmt: skip


def two_outputs():
    return model(
        node("Conv", "x w", "c"), node("Relu", "c", "main"), node("Neg", "c", "aux"),
        constants={"w": W}, shape=("n", 3, 8, 8), outputs=("main", "aux"),
    )  # fmt: skip


def exported(imported, names=("image", "output")):
    """The module, as the writer of converted graphs exports it."""
    x = torch.randn(2, imported.channels, *imported.size)
    program = torch.export.export(imported.module, (x,), dynamic_shapes=({0: Dim("b")},))
    several = len(imported.outputs)
    outputs = [names[1], *(f"more{i}" for i in range(several - 1))]
    return torch.onnx.export(
        program, (x,), dynamo=True, verbose=False, input_names=[names[0]], output_names=outputs
    ).model_proto


NETS = {
    "float32": conv_net,
    "float16": lambda: conv_net(TensorProto.FLOAT16, 1),
    "uint8": bytes_net,
    "channels last": channels_last_net,
    "two outputs": two_outputs,
}


@pytest.mark.parametrize("name", NETS)
def test_the_restored_model_takes_and_gives_what_the_file_did(name):
    proto = NETS[name]()
    imported = import_onnx(proto)
    restored = restore_interface(exported(imported), imported)
    onnx.checker.check_model(restored, full_check=True)
    x = images(proto, imported.fixed_batch or 3)
    for actual, expected in zip(run(restored, x), run(proto, x), strict=True):
        assert error(actual, expected) <= (2e-3 if name == "float16" else 1e-5)
    assert _borders(restored) == _borders(proto)


def _borders(proto):
    """Names, types and batch axes."""
    return [
        (item.name, item.type.tensor_type.elem_type, _batch(item))
        for item in (*proto.graph.input, *proto.graph.output)
        if item.name not in {t.name for t in proto.graph.initializer}
    ]


def _batch(item):
    leading = item.type.tensor_type.shape.dim[0]
    return leading.dim_value or (item.name == "x" and leading.dim_param)


def test_metadata_is_kept_and_the_new_wins():
    imported = import_onnx(conv_net())
    fresh = exported(imported)
    helper.set_model_props(fresh, {"equiaudit_preprocess": "new", "more": "1"})
    restored = restore_interface(fresh, imported)
    kept = {item.key: item.value for item in restored.metadata_props}
    assert kept == {"author": "someone", "equiaudit_preprocess": "new", "more": "1"}
    assert restored.graph.name == "classifier"


def test_names_that_the_graph_uses_inside_give_way():
    imported = import_onnx(conv_net())
    fresh = exported(imported)
    for item in fresh.graph.node:
        if item.op_type == "Conv":
            inside, item.output[0] = item.output[0], "y"
    for item in fresh.graph.node:
        for i, given in enumerate(item.input):
            item.input[i] = "y" if given == inside else given
    restored = restore_interface(fresh, imported)
    x = images(conv_net(), 2)
    assert error(run(restored, x)[0], run(conv_net(), x)[0]) <= 1e-5


def test_exchanged_names_do_not_join():
    imported = import_onnx(conv_net())
    restored = restore_interface(exported(imported, ("y", "x")), imported)
    x = images(conv_net(), 2)
    assert error(run(restored, x)[0], run(conv_net(), x)[0]) <= 1e-5


def test_the_original_is_left_alone():
    imported = import_onnx(conv_net())
    fresh = exported(imported)
    before = fresh.SerializeToString(deterministic=True)
    restore_interface(fresh, imported)
    assert fresh.SerializeToString(deterministic=True) == before


def test_an_invalid_graph_is_not_passed_on():
    imported = import_onnx(conv_net())
    fresh = exported(imported)
    fresh.graph.node[0].input[0] = "nowhere"
    with pytest.raises(RunError, match="not valid"):
        restore_interface(fresh, imported)


def test_what_is_known_of_the_file():
    imported = import_onnx(conv_net())
    assert imported.input.name == "x"
    assert imported.dtypes == {"x": "float32", "y": "float32"}
    assert imported.dynamic_axes["x"] == {0: "samples"}
    assert imported.metadata_props["author"] == "someone"
    assert import_onnx(channels_last_net()).layout == "NHWC"
