"""Each ONNX operator against onnxruntime, at two batch sizes, over the opsets that changed it."""

# ruff: noqa: E501  (one row is one case)

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from onnx_builders import error, images, model, node, one, run

from equiaudit.repair.onnx import import_onnx

RNG = np.random.default_rng(0)
INT64 = TensorProto.INT64


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values):
    return np.array(values, dtype=np.int64)


def f32(value):
    return np.float32(value)


W3 = floats(6, 4, 3, 3)
PER_CHANNEL = {name: floats(4) for name in ("scale", "bias", "mean")} | {
    "var": np.abs(floats(4)) + 0.1
}
BN = "x scale bias mean var"

CONV = {
    "plain": one("Conv", "x w b", constants={"w": W3, "b": floats(6)}),
    "old": one("Conv", "x w", constants={"w": W3}, opset=7, listed=True),
    "strided": one("Conv", "x w", constants={"w": W3}, attributes={"strides": [2, 3], "pads": [1, 2, 1, 2], "kernel_shape": [3, 3]}),
    "uneven": one("Conv", "x w", constants={"w": W3}, attributes={"strides": [2, 2], "pads": [0, 0, 1, 1]}),
    "same upper": one("Conv", "x w", constants={"w": W3}, attributes={"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "same lower": one("Conv", "x w", constants={"w": W3}, attributes={"strides": [2, 2], "auto_pad": "SAME_LOWER", "dilations": [1, 1]}),
    "valid": one("Conv", "x w", constants={"w": W3}, attributes={"auto_pad": "VALID"}),
    "dilated": one("Conv", "x w", constants={"w": W3}, attributes={"dilations": [2, 3]}),
    "depthwise": one("Conv", "x w", constants={"w": floats(8, 1, 3, 3)}, attributes={"group": 4, "pads": [1, 1, 1, 1]}),
    "transposed": one("ConvTranspose", "x w b", constants={"w": floats(4, 5, 2, 2), "b": floats(5)}, attributes={"strides": [2, 2]}),
    "transposed grouped": one("ConvTranspose", "x w", constants={"w": floats(4, 3, 3, 3)}, attributes={"strides": [2, 2], "group": 2, "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
    "transposed uneven": one("ConvTranspose", "x w", constants={"w": floats(4, 3, 4, 4)}, attributes={"strides": [2, 2], "pads": [2, 0, 0, 1]}),
    "transposed same": one("ConvTranspose", "x w", constants={"w": floats(4, 3, 3, 3)}, attributes={"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "transposed to size": one("ConvTranspose", "x w", constants={"w": floats(4, 3, 3, 3)}, attributes={"strides": [2, 2], "output_shape": [24, 32]}),
    "transposed dilated": one("ConvTranspose", "x w", constants={"w": floats(4, 3, 3, 3)}, attributes={"dilations": [2, 2]}),
}  # fmt: skip

POOL = {
    "max": one("MaxPool", attributes={"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "max of opset 7": one("MaxPool", attributes={"kernel_shape": [2, 2]}, opset=7),
    "max ceil": one("MaxPool", attributes={"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    "max uneven": one("MaxPool", attributes={"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "max dilated": one("MaxPool", attributes={"kernel_shape": [3, 3], "dilations": [2, 2]}),
    "average": one("AveragePool", attributes={"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "average counting": one("AveragePool", attributes={"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    "average ceil": one("AveragePool", attributes={"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, opset=19),
    "average uneven": one("AveragePool", attributes={"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "average uneven counting": one("AveragePool", attributes={"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1], "count_include_pad": 1}),
    "global average": one("GlobalAveragePool"),
    "global max": one("GlobalMaxPool"),
}  # fmt: skip


def _top(k, opset=13, **attributes):
    """The strongest of whole numbers, many of them equal: values and places."""
    given = {"constants": {"k": ints(k)}} if opset > 9 else {}
    if opset < 10:
        attributes["k"] = k
    rounded = [
        node("Floor", "x", "f"),
        node("TopK", "f k" if opset > 9 else "f", "v i", **attributes),
    ]
    rounded.append(node("Cast", "i", "c", to=TensorProto.FLOAT))
    return model(*rounded, node("Add", "v c", "y"), opset=opset, **given)


TOP = {
    "channels": _top(2, axis=1),
    "smallest": _top(3, axis=1, largest=0),
    "columns": _top(5),
    "of opset 7": _top(2, opset=7, axis=1),
}

NORM = {
    "batch": one("BatchNormalization", BN, constants=PER_CHANNEL, opset=15),
    "batch of opset 7": one("BatchNormalization", BN, constants=PER_CHANNEL, opset=7, attributes={"epsilon": 0.01, "spatial": 1}),
    "batch of opset 14": one("BatchNormalization", BN, constants=PER_CHANNEL, opset=14, attributes={"training_mode": 0, "momentum": 0.5}),
    "instance": one("InstanceNormalization", "x scale bias", constants={k: PER_CHANNEL[k] for k in ("scale", "bias")}),
    "group by channel": one("GroupNormalization", "x s b", constants={"s": floats(4), "b": floats(4)}, attributes={"num_groups": 2}, opset=21),
    "layer": one("LayerNormalization", "x s b", constants={"s": floats(16), "b": floats(16)}),
    "layer of two axes": one("LayerNormalization", "x s", constants={"s": floats(12, 16)}, attributes={"axis": 2, "epsilon": 0.1}),
    "rms": one("RMSNormalization", "x s", constants={"s": floats(16)}, opset=23),
    "lrn": one("LRN", attributes={"size": 3, "alpha": 0.5, "beta": 0.6, "bias": 2.0}),
    "lp": one("LpNormalization", attributes={"axis": 1, "p": 2}),
}  # fmt: skip

UNARY = [
    "Abs", "Ceil", "Cos", "Erf", "Exp", "Floor", "HardSwish", "Identity", "Mish", "Neg", "Relu",
    "Round", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Tanh", "Reciprocal",
]  # fmt: skip

ACTIVATION = {kind: one(kind) for kind in UNARY} | {
    "leaky": one("LeakyRelu", attributes={"alpha": 0.2}),
    "thresholded": one("ThresholdedRelu", attributes={"alpha": 0.7}),
    "elu": one("Elu", attributes={"alpha": 0.7}),
    "celu": one("Celu", attributes={"alpha": 0.7}),
    "selu": one("Selu"),
    "hard sigmoid": one("HardSigmoid"),
    "hard sigmoid of torch": one("HardSigmoid", attributes={"alpha": 1 / 6}),
    "gelu": one("Gelu", opset=20),
    "gelu by tanh": one("Gelu", opset=20, attributes={"approximate": "tanh"}),
    "prelu": one("PRelu", "x s", constants={"s": floats(1)}),
    "prelu per channel": one("PRelu", "x s", constants={"s": floats(4, 1, 1)}),
    "prelu per column": one("PRelu", "x s", constants={"s": floats(16)}),
    "clip of opset 7": one("Clip", attributes={"min": 0.0, "max": 1.5}, opset=7),
    "clip above only": one("Clip", attributes={"max": 1.5}, opset=10),
    "clip": one("Clip", "x lo hi", constants={"lo": f32(-1), "hi": f32(1)}, opset=13),
    "clip below only": one("Clip", "x lo", constants={"lo": f32(-1)}, opset=11),
    "clip of nothing": one("Clip", opset=13),
    "softmax": one("Softmax", attributes={"axis": 1}),
    "softmax of the last axis": one("Softmax", opset=13),
    "softmax of opset 11": one("Softmax", attributes={"axis": 2}, opset=11),
    "softmax of opset 7": one("Softmax", opset=7),
    "log softmax": one("LogSoftmax", attributes={"axis": -1}),
    "dropout of opset 7": one("Dropout", attributes={"ratio": 0.3}, opset=7),
    "dropout": one("Dropout", "x r t", constants={"r": f32(0.3), "t": np.array(False)}, opset=13),
}  # fmt: skip

ARITHMETIC = {
    **{
        f"{kind} {name}": one(kind, "x c", constants={"c": value})
        for kind in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow")
        for name, value in {
            "a number": f32(2),
            "one element": np.full((1,), 3, np.float32),
            "a channel": np.abs(floats(4, 1, 1)).round() + 1,
        }.items()
        if not (kind == "Pow" and name == "a channel")
    },
    **{
        f"{kind} from a number": one(kind, "c x", constants={"c": f32(2)})
        for kind in ("Add", "Sub", "Mul", "Div")
    },
    "a number of four axes": one("Add", "x c", constants={"c": floats(1, 1, 1, 1)}),
    "sums": one("Sum", "x c x", constants={"c": floats(4, 1, 1)}),
    "means": one("Mean", "x c x", constants={"c": floats(4, 1, 1)}),
    "mod": one("Mod", "x c", constants={"c": f32(1.5)}, attributes={"fmod": 1}),
    "sqrt": model(node("Abs", "x", "a"), node("Sqrt", "a")),
    "log": model(node("Abs", "x", "a"), node("Log", "a")),
    "old opset": one("Add", "x c", constants={"c": floats(4, 1, 1)}, opset=7),
    "where": model(node("Greater", "x c", "g"), node("Where", "g x d"), constants={"c": f32(0), "d": f32(9)}),
    "logic": model(
        node("Less", "x c", "a"), node("GreaterOrEqual", "x d", "b"), node("Or", "a b", "o"),
        node("And", "o o", "p"), node("Not", "p", "q"), node("Cast", "q", "y", to=1),
        constants={"c": f32(0), "d": f32(1)},
    ),
    "cast down": model(node("Cast", "x", "i", to=INT64), node("Cast", "i", "y", to=1)),
    "double": model(node("Cast", "x", "d", to=11), node("Mul", "d c", "e"), node("Cast", "e", "y", to=1), constants={"c": np.array(1 / 3)}),
    "cast like": model(node("Cast", "x", "i", to=INT64), node("CastLike", "i x")),
    "half inside": model(node("Cast", "x", "h", to=10), node("Relu", "h", "r"), node("Cast", "r", "y", to=1)),
}  # fmt: skip

DENSE = {
    "matmul": one("MatMul", "x w", constants={"w": floats(16, 5)}),
    "matmul with a bias": model(node("MatMul", "x w", "m"), node("Add", "b m"), constants={"w": floats(16, 5), "b": floats(5)}),
    "matmul of maps": model(node("Transpose", "x", "t", perm=[0, 1, 3, 2]), node("MatMul", "x t")),
    "matmul from the left": one("MatMul", "w x", constants={"w": floats(5, 12)}),
    "gemm": model(node("Flatten", "x", "f"), node("Gemm", "f w b", transB=1), constants={"w": floats(7, 768), "b": floats(7)}),
    "gemm with factors": model(node("Flatten", "x", "f"), node("Gemm", "f w b", alpha=0.5, beta=2.0), constants={"w": floats(768, 7), "b": floats(1, 7)}),
    "gemm with a number": model(node("Flatten", "x", "f"), node("Gemm", "f w b"), constants={"w": floats(768, 7), "b": floats(1)}, opset=9),
    "gemm without a bias": model(node("Flatten", "x", "f"), node("Gemm", "f w"), constants={"w": floats(768, 7)}),
    "einsum": one("Einsum", "x w", constants={"w": floats(4, 5)}, attributes={"equation": "nchw,cd->ndhw"}),
}  # fmt: skip

REDUCE = {
    **{
        f"{kind} by attribute": one(kind, attributes={"axes": [2, 3]}, opset=11)
        for kind in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceL1")
    },
    **{
        f"{kind} by input": one(kind, "x a", constants={"a": ints(-1, -2)}, attributes={"keepdims": 0}, opset=18)
        for kind in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceProd", "ReduceSumSquare", "ReduceLogSumExp")
    },
    "sum since 13": one("ReduceSum", "x a", constants={"a": ints(1)}, opset=13),
    "none named, none reduced": one("ReduceMean", attributes={"noop_with_empty_axes": 1}, opset=18),
    "argmax": model(node("ArgMax", "x", "i", axis=1), node("Cast", "i", "y", to=1)),
    "argmin": model(node("ArgMin", "x", "i", axis=1, keepdims=0), node("Cast", "i", "y", to=1)),
    "cumsum": one("CumSum", "x a", constants={"a": np.array(2)}),
}  # fmt: skip

SHAPE_OF_X = node("Shape", "x", "s")
LAYOUT = {
    "reshape": one("Reshape", "x s", constants={"s": ints(0, -1, 16)}),
    "reshape of opset 7": one("Reshape", "x s", constants={"s": ints(-1, 2, 2, 12, 16)}, opset=7),
    "reshape by shape": model(
        SHAPE_OF_X, node("Gather", "s zero", "n", axis=0), node("Unsqueeze", "n axes", "u"), node("Concat", "u rest", "t", axis=0), node("Reshape", "x t"),
        constants={"zero": np.array(0), "axes": ints(0), "rest": ints(-1)}, opset=13,
    ),
    "reshape by arithmetic": model(
        SHAPE_OF_X, node("Slice", "s one two", "c"), node("Slice", "s zero one", "n"), node("Div", "c half", "h"),
        node("Concat", "n half h rest", "t", axis=0), node("Reshape", "x t"),
        constants={"zero": ints(0), "one": ints(1), "two": ints(2), "half": ints(2), "rest": ints(12, 16)},
    ),
    "batch joined": model(node("Reshape", "x s", "r"), node("Relu", "r", "q"), node("Reshape", "q t"), constants={"s": ints(-1, 12, 16), "t": ints(-1, 4, 12, 16)}),
    "shape from 15 on": model(node("Shape", "x", "s", start=0, end=1), node("Concat", "s r", "t", axis=0), node("Reshape", "x t"), constants={"r": ints(-1)}, opset=15),
    "flatten": one("Flatten"),
    "flatten at 2": model(node("Flatten", "x", "f", axis=2), node("Relu", "f", "r"), node("Reshape", "r s"), constants={"s": ints(-1, 4, 192)}),
    "flatten from the end": model(node("Flatten", "x", "f", axis=-1), node("Reshape", "f s"), constants={"s": ints(-1, 48, 16)}, opset=11),
    "unsqueeze": model(node("Unsqueeze", "x", "u", axes=[1, 5]), node("Relu", "u"), opset=9),
    "transpose": one("Transpose", attributes={"perm": [0, 2, 3, 1]}),
    "transpose twice": model(node("Transpose", "x", "t", perm=[0, 2, 3, 1]), node("Transpose", "t", "y", perm=[0, 3, 1, 2])),
    "squeeze": model(node("ReduceMean", "x", "m", axes=[2, 3]), node("Squeeze", "m", "y", axes=[2, 3]), opset=11),
    "squeeze by input": model(node("GlobalAveragePool", "x", "m"), node("Squeeze", "m a"), constants={"a": ints(-1)}, opset=13),
    "unsqueeze by input": one("Unsqueeze", "x a", constants={"a": ints(-1, 1)}, opset=13),
    "depth to space": one("DepthToSpace", attributes={"blocksize": 2}, shape=("n", 12, 4, 6)),
    "depth to space CRD": one("DepthToSpace", attributes={"blocksize": 2, "mode": "CRD"}, shape=("n", 12, 4, 6)),
    "space to depth": one("SpaceToDepth", attributes={"blocksize": 2}),
}  # fmt: skip

INDEXING = {
    "concat": model(node("Relu", "x", "r"), node("Concat", "x r", "y", axis=1)),
    "concat from the end": model(node("Relu", "x", "r"), node("Concat", "x r", "y", axis=-1)),
    "slice of opset 9": one("Slice", attributes={"starts": [1, 2], "ends": [3, 1000], "axes": [1, 2]}, opset=9),
    "slice": one("Slice", "x s e a t", constants={"s": ints(1, -1), "e": ints(-1, -(2**63)), "a": ints(2, 3), "t": ints(2, -1)}),
    "slice to the end": one("Slice", "x s e a", constants={"s": ints(-3), "e": ints(2**63 - 1), "a": ints(-1)}),
    "slice of all axes": one("Slice", "x s e", constants={"s": ints(0, 1), "e": ints(2**62, 3)}),
    "split": model(node("Split", "x", "a y", axis=1), opset=11),
    "split by attribute": model(node("Split", "x", "a y", axis=1, split=[1, 3]), opset=11),
    "split by input": model(node("Split", "x s", "a y", axis=1), constants={"s": ints(3, 1)}, opset=13),
    "split into": model(node("Split", "x", "a b y", axis=2, num_outputs=3), opset=18),
    "gather one": one("Gather", "x i", constants={"i": np.array(-1)}, attributes={"axis": 1}),
    "gather some": one("Gather", "x i", constants={"i": ints(2, 1, 0, -1)}, attributes={"axis": 1}),
    "gather a table": one("Gather", "x i", constants={"i": np.array([[0, 1], [2, 3]])}, attributes={"axis": 3}),
    "gather by element": one("GatherElements", "x i", constants={"i": np.zeros((1, 4, 1, 16), np.int64)}, attributes={"axis": 2}, shape=(1, 4, 12, 16)),
    "gather nd": model(node("Transpose", "x", "t", perm=[2, 3, 0, 1]), node("GatherND", "t i", "g"), node("Transpose", "g", "y", perm=[1, 2, 0]), constants={"i": np.array([[0, 1], [11, 15], [3, -1]])}),
    "scatter nd": model(node("Transpose", "x", "t", perm=[3, 0, 1, 2]), node("Gather", "t two", "u", axis=0), node("ScatterND", "t i u", "g"), node("Transpose", "g", "y", perm=[1, 2, 3, 0]), constants={"i": np.array([[0], [-1]]), "two": ints(3, 4)}),
    "tile": one("Tile", "x r", constants={"r": ints(1, 2, 1, 3)}),
    "expand": one("Expand", "x s", constants={"s": ints(1, 1, 12, 1)}),
    "expand over the batch": model(SHAPE_OF_X, node("Expand", "c s", "e"), node("Add", "x e"), constants={"c": floats(4, 1, 1)}),
    "constant of shape": model(SHAPE_OF_X, node("ConstantOfShape", "s", "z", value=helper.make_tensor("v", 1, [1], [2.0])), node("Mul", "x z")),
    "constants": model(node("Constant", "", "c", value_floats=[1.0] * 16), node("Constant", "", "d", value_float=2.0), node("Add", "x c", "a"), node("Mul", "a d"), opset=12),
    "range": model(node("Range", "a b c", "r"), node("Add", "x r"), constants={"a": f32(0), "b": f32(16), "c": f32(1)}),
    "triangle": one("Trilu", attributes={"upper": 0}),
    "size": model(node("Shape", "x", "s"), node("Size", "s", "k"), node("Cast", "k", "f", to=1), node("Mul", "x f")),
}  # fmt: skip

PAD = {
    "constant": one("Pad", "x p v", constants={"p": ints(0, 1, 2, 3, 0, 0, 1, 2), "v": f32(5)}),
    "of opset 10": one("Pad", attributes={"pads": [0, 0, 1, 2, 0, 0, 3, 4], "mode": "reflect"}, opset=10),
    "edge": one("Pad", "x p", constants={"p": ints(0, 0, 2, 3, 0, 0, 1, 2)}, attributes={"mode": "edge"}),
    "wrap": one("Pad", "x p", constants={"p": ints(0, 0, 2, 3, 0, 0, 1, 2)}, attributes={"mode": "wrap"}, opset=19),
    "some axes": one("Pad", "x p - a", constants={"p": ints(1, 2), "a": ints(-1)}, opset=18),
    "crop": one("Pad", "x p", constants={"p": ints(0, 0, -2, -3, 0, 0, -1, 2)}),
    "nothing": one("Pad", "x p", constants={"p": ints(*[0] * 8)}),
}  # fmt: skip

SCALES = {
    "c": floats(0),
    "s": np.array([1, 1, 2, 3], np.float32),
    "h": np.array([1, 1, 1.5, 0.6], np.float32),
    "z": ints(0, 0, 30, 20),
}


def resize(inputs, opset=19, **attributes):
    used = {name: SCALES[name] for name in inputs.split() if name in SCALES}
    return one("Resize", inputs, constants=used, attributes=attributes, opset=opset)


RESIZE = {
    "upsample 7": one("Upsample", attributes={"scales": [1.0, 1.0, 2.0, 2.0]}, opset=7),
    "upsample 9": one("Upsample", "x s", constants={"s": SCALES["s"]}, opset=9),
    "upsample 9 linear": one("Upsample", "x s", constants={"s": SCALES["s"]}, attributes={"mode": "linear"}, opset=9),
    "resize 10": one("Resize", "x s", constants={"s": SCALES["s"]}, opset=10),
    "nearest": resize("x - s", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    "nearest by default": resize("x - s"),
    "nearest of no whole ratio": resize("x - h"),
    "nearest ceil": resize("x - h", nearest_mode="ceil", coordinate_transformation_mode="asymmetric"),
    "nearest corners": resize("x - s", nearest_mode="round_prefer_ceil", coordinate_transformation_mode="align_corners"),
    "nearest with a region": resize("x c s", opset=11, coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    "linear": resize("x - s", mode="linear"),
    "linear as torch": resize("x - s", mode="linear", coordinate_transformation_mode="pytorch_half_pixel"),
    "linear corners": resize("x - s", mode="linear", coordinate_transformation_mode="align_corners"),
    "linear asymmetric": resize("x - s", mode="linear", coordinate_transformation_mode="asymmetric"),
    "linear of no whole ratio": resize("x - h", mode="linear"),
    "cubic": resize("x - s", mode="cubic"),
    "cubic corners": resize("x - s", mode="cubic", coordinate_transformation_mode="align_corners"),
    "to sizes": model(
        SHAPE_OF_X, node("Slice", "s zero two", "nc"), node("Concat", "nc hw", "t", axis=0), node("Resize", "x - - t", "y", mode="linear"),
        constants={"zero": ints(0), "two": ints(2), "hw": ints(24, 32)}, opset=13,
    ),
    "some axes": one("Resize", "x - s", constants={"s": np.array([2, 2], np.float32)}, attributes={"axes": [2, 3], "mode": "linear"}, opset=18),
}  # fmt: skip

FAMILIES = {
    "conv": CONV, "pool": POOL, "top": TOP, "norm": NORM, "activation": ACTIVATION, "arithmetic": ARITHMETIC,
    "dense": DENSE, "reduce": REDUCE, "layout": LAYOUT, "indexing": INDEXING, "pad": PAD,
    "resize": RESIZE,
}  # fmt: skip
CASES = {f"{family}: {name}": c for family, cases in FAMILIES.items() for name, c in cases.items()}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_computes_what_onnxruntime_does(name):
    proto = CASES[name]
    imported = import_onnx(proto)
    for batch in [imported.fixed_batch] if imported.fixed_batch else [1, 3]:
        x = images(proto, batch)
        with torch.no_grad():
            actual = imported.module(x)
        assert error(actual, run(proto, x)[0]) <= (1e-3 if imported.widened else 1e-5)


def test_every_translation_is_tested():
    from equiaudit.repair.onnx.ops import OPS

    tested = {n.op_type for proto in CASES.values() for n in proto.graph.node}
    in_integers = {n for n, made in OPS.items() if made.__module__.endswith("quantised")}
    assert (
        OPS.keys() - tested - in_integers
        <= {"Equal", "Greater", "LessOrEqual", "Xor", "IsNaN"} - tested
    )
