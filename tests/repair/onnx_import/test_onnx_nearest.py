"""Nearest resizing reads what onnxruntime reads, where its float32 rounds a place down too."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from onnx_builders import model, run

from equiaudit.repair.onnx import import_onnx


def resized(side: int, target: int, **attributes) -> onnx.ModelProto:
    sizes = np.array([1, 4, target, target], "int64")
    return model(
        helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="nearest", **attributes),
        constants={"sizes": sizes},
        shape=(1, 4, side, side),
    )


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "floor", "ceil"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric"])
@pytest.mark.parametrize(("side", "target"), [(56, 8), (32, 20), (12, 36), (49, 7)])
def test_places(side, target, coordinates, rounding):
    proto = resized(side, target, coordinate_transformation_mode=coordinates, nearest_mode=rounding)
    places = torch.arange(side * side).float().reshape(1, 1, side, side).expand(1, 4, -1, -1)
    imported = import_onnx(proto)
    assert torch.equal(imported.module(places), run(proto, places)[0])


def test_even_places_are_a_slice():
    """So that a map resized from 32 to 8 has the grid of every fourth position."""
    imported = import_onnx(resized(32, 8))
    assert "slice" in imported.module.code
    assert "index_select" not in imported.module.code
