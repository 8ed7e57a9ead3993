"""The architecture that weights of another fit is named in the tip."""

import itertools

import pytest
import torch
from torchvision import models

from equiaudit.errors import InputError
from equiaudit.models import PreprocessOverrides, load, suggesting
from equiaudit.models.suggesting import suggested_architecture

SEEN = PreprocessOverrides(size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.fixture(scope="module")
def state():
    with torch.device("meta"):
        return models.squeezenet1_0(num_classes=7).state_dict()


@pytest.mark.parametrize("arch", ["torchvision:squeezenet1_1", None])
def test_a_net_of_the_registry_is_found_whatever_its_classes(monkeypatch, state, arch):
    nets = {"a": ["torchvision:alexnet"], "s": ["torchvision:squeezenet1_1"]}
    nets["s"].append("torchvision:squeezenet1_0")
    monkeypatch.setattr(suggesting, "_torchvision_modules", lambda: nets)
    monkeypatch.setattr(suggesting, "_timm_modules", dict)
    assert suggested_architecture(state, arch) == "--arch torchvision:squeezenet1_0 fits."
    wrapped = {"model." + name: tensor for name, tensor in state.items()}
    assert suggested_architecture(wrapped, arch) == "--arch torchvision:squeezenet1_0 fits."
    cut = {name: tensor for name, tensor in state.items() if name != "features.3.squeeze.bias"}
    near = suggested_architecture(cut, arch)
    assert near == "Nearest is --arch torchvision:squeezenet1_0 (94% of the tensors)."


def test_the_net_that_the_file_states_is_tried_first(monkeypatch, state):
    monkeypatch.setattr(suggesting, "_torchvision_modules", dict)
    monkeypatch.setattr(suggesting, "_timm_modules", dict)
    assert suggested_architecture(state, None) is None
    found = suggested_architecture(state, None, stated="squeezenet1_0")
    assert found == "--arch torchvision:squeezenet1_0 fits."


def test_weights_of_no_registry_name_nothing(monkeypatch):
    monkeypatch.setattr(suggesting, "_timm_modules", dict)
    nets = {"a": ["torchvision:alexnet"]}
    monkeypatch.setattr(suggesting, "_torchvision_modules", lambda: nets)
    other = {f"part{i}.kernel": torch.zeros(3) for i in range(40)}
    assert suggested_architecture(other, "torchvision:alexnet") is None
    assert suggested_architecture({"fc.weight": torch.zeros(3)}, None) is None


def test_the_search_ends(monkeypatch, state):
    built = []
    monkeypatch.setattr(suggesting, "_shapes_of", lambda name: built.append(name) or {})
    ticks = itertools.count(step=5)
    assert suggested_architecture(state, None, now=lambda: next(ticks)) is None
    assert len(built) < 10


def test_the_tip_of_a_wrong_architecture(tmp_path):
    torch.save({"state_dict": models.squeezenet1_0(num_classes=3).state_dict()}, tmp_path / "c.pt")
    with pytest.raises(InputError, match=r"does not fit.*--arch torchvision:squeezenet1_0 fits\."):
        load(tmp_path / "c.pt", arch="torchvision:squeezenet1_1", preprocess=SEEN)
