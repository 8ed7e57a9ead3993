"""Keras nets as tf2onnx writes them, each with images and what Keras makes of them.

    python keras_files.py FOLDER        (tensorflow, tf2onnx; no equiaudit)

FOLDER/NAME.onnx and NAME.npz: x (N, H, W, C) float32, and y as Keras returns it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")

import keras
import numpy as np
import tensorflow as tf
import tf2onnx  # noqa: F401  (Keras' exporter asks for it)
from keras import layers as L

SIDE = 16


def main(folder: Path) -> None:
    keras.utils.set_random_seed(0)
    for name, model in nets().items():
        x = np.random.default_rng(0).normal(size=(3, SIDE, SIDE, 3)).astype("float32")
        y = model(x, training=False)
        y = np.asarray(y[0] if isinstance(y, list | tuple) else y)
        model.export(str(folder / f"{name}.onnx"), format="onnx", verbose=False)
        np.savez(folder / f"{name}.npz", x=x, y=y)


def nets() -> dict[str, keras.Model]:
    """By the name of the file."""
    found = {f"maps_{n}": segmenter(n) for n in (1, 5, 64)}
    found["classes"] = head(L.GlobalAveragePooling2D(), L.Dense(7, activation="softmax"))
    found["labels"] = head(L.GlobalAveragePooling2D(), L.Dense(5, activation="sigmoid"))
    found["flat"] = head(L.Flatten(), L.Dense(4))
    found["kept"] = head(L.GlobalAveragePooling2D(keepdims=True), L.Conv2D(7, 1))
    found["unit"] = head(L.GlobalAveragePooling2D(), L.Dense(16), L.UnitNormalization())
    found["first"] = head(L.GlobalAveragePooling2D(), L.Dense(6), L.Lambda(ranks))
    found["ids"] = head(L.UpSampling2D(), L.Conv2D(5, 1), L.Lambda(ids))
    found["boxes"] = head(L.Conv2D(5, 1), L.Lambda(likeliest))
    found["normalised"] = head(
        L.GlobalAveragePooling2D(),
        L.Dense(4),
        first=L.Normalization(mean=[0.1] * 3, variance=[2] * 3),
    )
    return found


def ranks(scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The places of the best three, and their scores."""
    best = tf.math.top_k(scores, 3)
    return best.indices, best.values


def ids(scores: tf.Tensor) -> tf.Tensor:
    """A map of labels, uint8 (N, H, W, 1)."""
    return tf.cast(tf.argmax(scores, -1), tf.uint8)[..., None]


def likeliest(maps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Scores and boxes of the ten likeliest places."""
    rows = tf.sigmoid(tf.reshape(maps, (tf.shape(maps)[0], -1, 5)))
    best = tf.math.top_k(rows[..., 4], 10)
    return best.values, tf.gather(rows[..., :4], best.indices, batch_dims=1)


def head(*last: L.Layer, first: L.Layer | None = None) -> keras.Model:
    image = L.Input((SIDE, SIDE, 3))
    x = image if first is None else first(image)
    x = L.Conv2D(8, 3, strides=2, padding="same")(x)
    x = L.ReLU(6.0)(L.BatchNormalization()(x))
    x = L.Activation("swish")(L.DepthwiseConv2D(3, padding="same")(x))
    for layer in last:
        x = layer(x)
    return keras.Model(image, x)


def segmenter(classes: int) -> keras.Model:
    """Down and up by UpSampling2D, with a pooled branch laid over the map as DeepLab has it."""
    image = L.Input((SIDE, SIDE, 3))
    fine = L.Conv2D(8, 3, padding="same", activation="relu")(image)
    deep = L.Conv2D(8, 3, padding="same", activation="relu")(L.MaxPool2D()(fine))
    pooled = L.Conv2D(4, 1)(L.GlobalAveragePooling2D(keepdims=True)(deep))
    deep = L.Concatenate()([deep, L.UpSampling2D(SIDE // 2)(pooled)])
    x = L.Concatenate()([fine, L.UpSampling2D()(deep)])
    return keras.Model(image, L.Conv2D(classes, 1)(x))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
