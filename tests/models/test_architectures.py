"""Weights without an architecture are refused by the names and shapes in the file alone."""

import io
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from equiaudit.errors import InputError
from equiaudit.models.architectures import (
    TABLE,
    digest,
    known_architecture,
    refuse_without_architecture,
)
from equiaudit.models.pickles import checked_shapes


def pickled(value: object) -> bytes:
    """As the pickle of a torch archive."""
    file = io.BytesIO()
    torch.save(value, file)
    reader = torch._C.PyTorchFileReader(io.BytesIO(file.getvalue()))
    return bytes(reader.get_record("data.pkl"))


@pytest.fixture(scope="module")
def state():
    return models.squeezenet1_0(num_classes=7).state_dict()


def test_shapes_are_those_of_the_tensors(state):
    state = {**state, "scalar": torch.tensor(1.0), "half": torch.zeros(3, 0, dtype=torch.float16)}
    assert checked_shapes(pickled(state), what="x") == {k: tuple(v.shape) for k, v in state.items()}


@pytest.mark.parametrize(
    "value",
    [
        {"state_dict": {"a": torch.zeros(2)}},
        {"a": torch.zeros(2), "epoch": 3},
        {"a": torch.zeros(1, 1, 1, 1, 1, 1)},
        [torch.zeros(2)],
        torch.zeros(2),
        {},
        {"a": torch.nn.Parameter(torch.zeros(2))},
        {1: torch.zeros(2)},
    ],
)
def test_what_is_no_flat_dict_of_tensors_has_none(value):
    assert checked_shapes(pickled(value), what="x") is None


def test_another_pickle_has_none():
    assert checked_shapes(pickle.dumps({"a": (1, 2)}, protocol=2), what="x") is None


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
    other = {f"my.{name}": tensor for name, tensor in state.items()}
    torch.save(other, tmp_path / "other")
    refuse_without_architecture(tmp_path / "other", "checkpoint")
    (tmp_path / "broken").write_bytes((tmp_path / "few").read_bytes()[:300])
    refuse_without_architecture(tmp_path / "broken", "checkpoint")
    refuse_without_architecture(tmp_path / "broken", "safetensors")


def test_the_table_has_todays_nets_by_their_own_shapes():
    names = [line.split(" ")[1] for line in TABLE.read_text().splitlines()]
    assert len(names) == len(set(names)) > 80
    for name in ("resnet18", "vit_b_16", "deeplabv3_resnet50"):
        with torch.device("meta"):
            options = {"weights_backbone": None} if "deeplab" in name else {}
            net = models.get_model(name, weights=None, **options)
        shapes = {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}
        assert known_architecture(shapes) == f"torchvision:{name}"
        shapes["more"] = (1,)
        assert known_architecture(shapes) is None


def test_the_digest_tells_widths_but_not_classes():
    wide = {"a.weight": (4, 3, 1, 1), "fc.weight": (10, 4), "fc.bias": (10,)}
    assert digest(wide) == digest({**wide, "fc.weight": (7, 4), "fc.bias": (7,)})
    assert digest(wide) != digest({**wide, "fc.weight": (10, 5)})
    assert digest(wide) == digest({**wide, "n.num_batches_tracked": ()})
