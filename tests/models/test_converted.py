import json

import pytest
import torch
from torch import nn

import equiaudit
from equiaudit.errors import InputError
from equiaudit.graphs.capture import capture
from equiaudit.models import Preprocess, needs_arch
from equiaudit.repair.save.write import save

HOW = Preprocess(size=(8, 8), mean=(0.5,) * 3, std=(0.2,) * 3)


@pytest.fixture
def written(tmp_path):
    """A converted checkpoint, and the net it was written from."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    graph = capture(net.eval(), size=HOW.size).graph_module
    example = torch.rand(3, 3, *HOW.size)
    return net, save(graph, tmp_path / "net.safetensors", example=example, preprocess=HOW).path


def test_it_loads_without_an_architecture(written):
    net, path = written
    batch = torch.rand(5, 3, 8, 8)
    assert not needs_arch(path)
    loaded = equiaudit.load_model(path)
    assert torch.equal(loaded.run(batch), net(batch))
    assert loaded.preprocess.size == HOW.size


def test_its_files_must_be_those_that_were_written(written):
    _, path = written
    graph = path.with_suffix(".graph.pt")
    graph.write_bytes(graph.read_bytes() + b"\n")
    with pytest.raises(InputError, match=r"net\.graph\.pt is not the file"):
        equiaudit.load_model(path)
    graph.unlink()
    with pytest.raises(InputError, match="not a file beside it"):
        equiaudit.load_model(path)


@pytest.mark.parametrize("name", ["../net.graph.pt", "/net.graph.pt", None])
def test_its_graph_lies_beside_it(written, name):
    _, path = written
    config = path.with_suffix(".json")
    config.write_text(json.dumps(json.loads(config.read_text()) | {"graph": name}))
    with pytest.raises(InputError, match="not a file beside it"):
        equiaudit.load_model(path)


def test_other_json_files_beside_weights_mean_nothing(written):
    _, path = written
    path.with_suffix(".json").write_text('{"format": "other"}')
    assert needs_arch(path)
    with pytest.raises(InputError, match="without an architecture"):
        equiaudit.load_model(path)
