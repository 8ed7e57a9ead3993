"""Weights without an architecture are refused by the names and shapes in the file alone."""

import argparse
import collections
import contextlib
import fractions
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from equiaudit.errors import InputError
from equiaudit.models.architectures import (
    TABLES,
    digest,
    known_architecture,
    refuse_without_architecture,
)
from equiaudit.models.checkpoint import read_checkpoint
from equiaudit.models.pickled_weights import pickled_weights
from equiaudit.models.weights import found_weights
from equiaudit.models.zoo import build_architecture


@pytest.fixture(scope="module")
def state():
    return models.squeezenet1_0(num_classes=7).state_dict()


def shapes_of(state):
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def saved(value, path, *, legacy=False):
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.parametrize("legacy", [False, True])
def test_weights_are_found_where_loading_finds_them(state, tmp_path, legacy):
    """Dicts and shapes, against torch's own unpickler and the walk over what that builds."""
    tensors = {
        **state,
        "scalar": torch.tensor(1.0),
        "half": torch.zeros(3, 0, dtype=torch.float16),
        "own": torch.nn.Parameter(torch.zeros(2, 3)),
    }
    value = {
        "arch": "squeezenet1_0",
        "epoch": 3,
        "best": 0.5,
        "args": argparse.Namespace(lr=0.1),
        "state_dict": tensors,
        "optimizer": {"state": {0: torch.zeros(2)}, "param_groups": []},
        "more": {"model_ema": {"a": torch.zeros(4)}, "epochs": [1, "x", {"b": torch.zeros(1)}]},
        "twice": tensors,
        "trained": {"param_groups": [], "weights": {"a": torch.zeros(1)}},
        "lists": ["a", {"b": torch.zeros(1)}],
        "numbered": {1: torch.zeros(2)},
    }
    path = saved(value, tmp_path / "net", legacy=legacy)
    found = pickled_weights(path)
    walked = found_weights(read_checkpoint(path, trust=False).value, what="x")
    assert found.arch == "squeezenet1_0"
    assert list(found.states) == [shapes_of(each.value) for each in walked]
    assert len(found.states) == 2


@pytest.mark.parametrize(
    "value",
    [
        {"a": torch.zeros(1, 1, 1, 1, 1, 1)},
        {"a": torch.zeros(2).to_sparse()},
        {"a": np.zeros(2)},
        [torch.zeros(2)],
        torch.nn.Conv2d(1, 1, 1),
        collections.OrderedDict({"a": fractions.Fraction(1, 2)}),
    ],
)
def test_what_is_not_plain_is_left_to_loading(value, tmp_path):
    with contextlib.suppress(ValueError):
        assert pickled_weights(saved(value, tmp_path / "net")) is None


def test_a_pickle_that_is_not_torchs_is_left_to_loading(tmp_path):
    (tmp_path / "net").write_bytes(pickle.dumps({"a": (1, 2)}, protocol=2))
    assert pickled_weights(tmp_path / "net") is None


@pytest.mark.parametrize("wrap", ["{}", "module.{}", "net.model._orig_mod.{}"])
def test_words_before_the_names_do_not_hide_a_net(state, wrap):
    own = {wrap.format(name): shape for name, shape in shapes_of(state).items()}
    beside = {f"criterion.{i}": (3,) for i in range(20)}
    assert known_architecture(own) == "torchvision:squeezenet1_0"
    assert known_architecture(own | beside) == (None if wrap == "{}" else known_architecture(own))
    other = {name: (*shape, 2) for name, shape in own.items()}
    assert known_architecture(other) is None


def test_the_net_that_is_stated_is_preferred():
    """Both nets of timm have tensors of these shapes, and torchvision's."""
    with torch.device("meta"):
        shapes = shapes_of(models.resnet18().state_dict())
    assert known_architecture(shapes) == "torchvision:resnet18"
    assert known_architecture(shapes, "resnet18") == "torchvision:resnet18"
    assert known_architecture(shapes, "nobodys") == "torchvision:resnet18"


@pytest.mark.parametrize("kind", ["checkpoint", "safetensors"])
def test_a_net_of_the_table_is_named_whatever_its_classes(state, tmp_path, kind):
    path = tmp_path / "net"
    torch.save(state, path) if kind == "checkpoint" else save_file(state, path)
    with pytest.raises(InputError, match=r"architecture.*--arch torchvision:squeezenet1_0 fits"):
        refuse_without_architecture(path, kind)


def test_few_tensors_are_refused_and_those_of_no_line_are_left_to_the_search(state, tmp_path):
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "few")
    with pytest.raises(InputError, match=r"Add --arch"):
        refuse_without_architecture(tmp_path / "few", "checkpoint")
    other = {f"{name}.my": tensor for name, tensor in state.items()}
    torch.save(other, tmp_path / "other")
    refuse_without_architecture(tmp_path / "other", "checkpoint")
    (tmp_path / "broken").write_bytes((tmp_path / "few").read_bytes()[:300])
    refuse_without_architecture(tmp_path / "broken", "checkpoint")
    refuse_without_architecture(tmp_path / "broken", "safetensors")


@pytest.mark.parametrize(
    ("arch", "fewest"),
    [
        ("torchvision:resnet18", 80),
        ("torchvision:vit_b_16", 80),
        ("torchvision:deeplabv3_resnet50", 80),
        ("timm:test_vit", 1000),
        ("timm:convnext_atto", 1000),
    ],
)
def test_the_tables_have_todays_nets_by_their_own_shapes(arch, fewest):
    zoo, _, name = arch.partition(":")
    names = [line.split(" ")[1] for line in TABLES[zoo].read_text().splitlines()]
    assert len(names) == len(set(names)) > fewest
    with torch.device("meta"):
        shapes = shapes_of(build_architecture(arch, ()).state_dict())
    assert known_architecture(shapes, name) == arch
    shapes["more"] = (1,)
    assert known_architecture(shapes, name) is None


def test_the_digest_tells_widths_but_not_classes():
    wide = {"a.weight": (4, 3, 1, 1), "fc.weight": (10, 4), "fc.bias": (10,)}
    assert digest(wide) == digest({**wide, "fc.weight": (7, 4), "fc.bias": (7,)})
    assert digest(wide) != digest({**wide, "fc.weight": (10, 5)})
    assert digest(wide) == digest({**wide, "n.num_batches_tracked": ()})
