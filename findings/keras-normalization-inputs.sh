#!/usr/bin/env bash
# Keras 3.15.1 writes ONNX files without the mean and variance of a Normalization layer, and makes
# two inputs of the graph in their place, without a word: model.export(FILE, format="onnx") with
# tensorflow-cpu 2.21.0 and tf2onnx 1.17.0. The same whether the layer was given its numbers or
# adapted to data. EfficientNetV2 and ConvNeXt of keras.applications begin with such a layer.
#
# Seen: a net of one image input has three in the file, "image", ".../Sub/y:0" and ".../Sqrt/x:0",
# both (1, 1, 1, 3), no tensor of the file holds the mean, and onnxruntime 1.32.0 refuses to run it
# on the image alone. A Rescaling layer of the same effect leaves one input. Fed by hand with the
# mean and the variance, the file agrees with Keras.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet tensorflow-cpu==2.21.0 keras==3.15.1 tf2onnx==1.17.0 onnx==1.23.2 onnxruntime==1.32.0
cd "$work"
cat > export.py <<'PY'
import os

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")

import keras
import numpy as np
import onnx
import onnxruntime
import tf2onnx  # noqa: F401
from keras import layers as L
from onnx import numpy_helper

x = np.random.default_rng(0).normal(3, 2, size=(2, 8, 8, 3)).astype("float32")


def written(name, layer):
    """The file of a net that begins with `layer`, its inputs, and what Keras makes of x."""
    image = L.Input((8, 8, 3))
    net = keras.Model(image, L.GlobalAveragePooling2D()(layer(image)))
    y = np.asarray(net(x))
    net.export(f"{name}.onnx", format="onnx", verbose=False)
    onnx.checker.check_model(f"{name}.onnx")
    return onnx.load(f"{name}.onnx"), [i.name for i in onnx.load(f"{name}.onnx").graph.input], y


def holds(model, numbers):
    """Whether some tensor of the file has these numbers."""
    constants = [a.t for n in model.graph.node for a in n.attribute if n.op_type == "Constant"]
    tensors = [numpy_helper.to_array(t) for t in (*model.graph.initializer, *constants)]
    return any(t.size == 3 and np.allclose(np.ravel(t), numbers) for t in tensors)


mean, variance = np.float32([1.25, 2.5, 3.75]), np.float32([4, 9, 16])
adapted = L.Normalization()
adapted.adapt(x)
for name, layer, kept in (
    ("given", L.Normalization(mean=mean, variance=variance), mean),
    ("adapted", adapted, np.ravel(adapted.mean)),
):
    model, inputs, y = written(name, layer)
    print(name, inputs)
    assert len(inputs) == 3 and not holds(model, kept), "the numbers are in the file now"
    session = onnxruntime.InferenceSession(f"{name}.onnx", providers=["CPUExecutionProvider"])
    try:
        session.run(None, {inputs[0]: x})
        raise SystemExit("it runs on the image alone now")
    except ValueError as error:
        print("onnxruntime:", str(error).splitlines()[0][:100])
    shape = (1, 1, 1, 3)
    by_hand = {inputs[1]: np.reshape(layer.mean, shape), inputs[2]: np.reshape(layer.variance, shape)}
    (found,) = session.run(None, {inputs[0]: x, **{k: np.float32(v) for k, v in by_hand.items()}})
    assert np.allclose(found, y, atol=1e-5)
model, inputs, y = written("rescaled", L.Rescaling(0.5, offset=-1.0))
print("rescaled", inputs)
assert len(inputs) == 1
PY
"$work/venv/bin/python" export.py 2> log || { tail -5 log; echo "the behaviour changed"; exit 1; }
