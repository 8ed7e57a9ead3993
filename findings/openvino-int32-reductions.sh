#!/usr/bin/env bash
# OpenVINO 2026.4.1 adds, compares and takes the maximum of int32 in float32 on the CPU, while it
# multiplies and adds elements of int32 as integers, with their wrap at 2^32.
#
# Seen: of 2^24 + 1 and 2^24 as int32, ReduceMax gives 2^24 and Equal says that they are equal;
# ReduceSum of 2^24 + 1 and 0 gives 2^24. onnxruntime 1.32.0 gives 2^24 + 1, false and 2^24 + 1. The
# products and sums of elements are those of 32-bit integers in both. INFERENCE_PRECISION_HINT f32
# changes nothing. So int32 is exact there only element by element, or below 2^24.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet openvino==2026.4.1 onnx==1.23.2 onnxruntime==1.32.0 numpy
cd "$work"
cat > narrow.py <<'END'
import sys

import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper


def answers(node, inputs, element, constants=()):
    """What both runtimes make of one node."""
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(n, TensorProto.INT32, v.shape) for n, v in inputs.items()],
        [helper.make_tensor_value_info("y", element, None)],
        list(constants),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, inputs)
    core = openvino.Core()
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    return expected, core.compile_model(core.read_model(content), "CPU", hint)(inputs)[0]


large = 2**24 + 1
axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
pair = {"x": np.array([[large, 2**24]], np.int32)}
alone = {"x": np.array([[large, 0]], np.int32)}
other = {"x": np.array([[large]], np.int32), "z": np.array([[2**24]], np.int32)}
rng = np.random.default_rng(0)
words = {n: rng.integers(-(2**31), 2**31, (1, 999)).astype(np.int32) for n in ("x", "z")}
node = helper.make_node
found = {
    "ReduceMax": answers(node("ReduceMax", ["x", "axes"], ["y"]), pair, TensorProto.INT32, [axes]),
    "ReduceSum": answers(node("ReduceSum", ["x", "axes"], ["y"]), alone, TensorProto.INT32, [axes]),
    "Equal": answers(node("Equal", ["x", "z"], ["y"]), other, TensorProto.BOOL),
}
for name, values in found.items():
    print(name, *(int(np.ravel(v)[0]) for v in values))
elements = [answers(node(op, ["x", "z"], ["y"]), words, TensorProto.INT32) for op in ("Mul", "Add")]
print("Mul and Add wrap alike:", all(np.array_equal(*pair) for pair in elements))
seen = (
    [int(np.ravel(v)[0]) for pair in found.values() for v in pair]
    == [large, 2**24, large, 2**24, 0, 1]
    and all(np.array_equal(*pair) for pair in elements)
)
sys.exit(0 if seen else "OpenVINO behaves otherwise now")
END
"$work/venv/bin/python" narrow.py
