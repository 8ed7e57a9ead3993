#!/usr/bin/env bash
# OpenVINO 2026.4.1 computes the float64 and int64 of an ONNX file in 32 bits on the CPU, also under
# INFERENCE_PRECISION_HINT f32, and says nothing.
#
# A graph that casts to double in order to add exactly, and one that multiplies int64 beyond 2^31,
# are valid and pass onnx.checker; onnxruntime 1.32.0 computes them as written.
#
# Seen: of 2^24 + 1 + 1 + 1, less 2^24, onnxruntime leaves 3 and OpenVINO 0 (each 1 is lost in a
# float32 sum). Of 2^24 * 2^16 / 2^31 as int64, onnxruntime gives 512 and OpenVINO another number.
# So a file whose sums are exact because they are double, or whose ties are settled by an int64
# hash, is neither in OpenVINO, although it loads and runs.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet openvino==2026.4.1 onnx==1.23.2 onnxruntime==1.32.0 numpy
cd "$work"
cat > wide.py <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper

image = np.array([[2.0**24, 1, 1, 1]], np.float32)


def answers(name, nodes, constants, shape):
    """What both runtimes make of the graph."""
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    path = f"{name}.onnx"
    onnx.save(model, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": image})
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(path, "CPU", hint)
    return float(np.ravel(expected)[0]), float(np.ravel(compiled({"x": image})[0])[0])


doubles = answers(
    "double",
    [
        helper.make_node("Cast", ["x"], ["d"], to=TensorProto.DOUBLE),
        helper.make_node("ReduceSum", ["d"], ["s"], keepdims=0),
        helper.make_node("Sub", ["s", "first"], ["rest"]),
        helper.make_node("Cast", ["rest"], ["y"], to=TensorProto.FLOAT),
    ],
    [helper.make_tensor("first", TensorProto.DOUBLE, [], [2.0**24])],
    [],
)
longs = answers(
    "long",
    [
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64),
        helper.make_node("Mul", ["i", "by"], ["p"]),
        helper.make_node("Div", ["p", "over"], ["q"]),
        helper.make_node("Cast", ["q"], ["y"], to=TensorProto.FLOAT),
    ],
    [
        helper.make_tensor("by", TensorProto.INT64, [], [2**16]),
        helper.make_tensor("over", TensorProto.INT64, [], [2**31]),
    ],
    [1, 4],
)
print(f"double sum: onnxruntime {doubles[0]:g}, OpenVINO {doubles[1]:g}")
print(f"int64 product: onnxruntime {longs[0]:g}, OpenVINO {longs[1]:g}")
seen = doubles == (3.0, 0.0) and longs[0] == 512.0 and longs[1] != 512.0
sys.exit(0 if seen else "OpenVINO behaves otherwise now")
PY
"$work/venv/bin/python" wide.py
