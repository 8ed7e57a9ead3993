"""Values as Python programmers write them are taken or refused in a sentence."""

import pytest
import torch
from nets import tiny_net
from PIL import Image

import equiaudit
from equiaudit.api.loading import listed
from equiaudit.errors import InputError

HOW = {"size": (32, 32), "mean": (0, 0, 0), "std": (1, 1, 1)}


def test_one_side_is_that_of_a_square():
    net = tiny_net()
    for size in (32, [32, 32], torch.Size([32, 32])):
        assert equiaudit.load_model(net, **{**HOW, "size": size}).preprocess.size == (32, 32)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("size", value) for value in ("32", 32.5, (32,), (32, 32, 3), (32, 0.5), object())],
        *[("mean", value) for value in (0.5, "0,0,0", (0, 0), object(), ("a", "b", "c"))],
        *[("std", value) for value in (1.0, (1, 1, 0), float("nan"))],
        *[("image_range", value) for value in (5, (5,), (1, 2, 3), "0,1")],
    ],
)
def test_other_values_are_refused_by_name(name, value):
    with pytest.raises(InputError) as caught:
        equiaudit.load_model(tiny_net(), **{**HOW, name: value})
    assert name.replace("_", " ") in str(caught.value).replace("_", " ")
    assert "--" not in str(caught.value)


def test_what_is_no_model_is_refused():
    with pytest.raises(InputError, match="not function"):
        equiaudit.load_model(lambda x: x, **HOW)


def test_a_single_word_is_no_list_of_letters(tmp_path):
    assert listed("circular") == ("circular",)
    assert listed(["a", "b"]) == ("a", "b")
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="'wrap' is unknown"):
        equiaudit.scan(tiny_net(), tmp_path, shifts="wrap", **HOW)
    with pytest.raises(InputError, match="'nonsense' is not a gate"):
        equiaudit.scan(tiny_net(), tmp_path, gates="nonsense", **HOW)


def test_an_audit_leaves_the_module_in_training(tmp_path):
    net = tiny_net().train()
    part = next(net.children()).eval()
    equiaudit.inspect(net, **HOW)
    assert net.training
    assert not part.training
    with pytest.raises(InputError):
        equiaudit.scan(net, tmp_path / "none", **HOW)
    assert net.training
    assert not part.training
    equiaudit.load_model(net, **HOW)  # What runs from now on runs in eval mode.
    assert not net.training
