"""CropSelect as an artefact: the files choose the crops that the module chooses."""

import pytest
import torch
from pictures import PositionNet, photographs
from torch import nn

from equiaudit.graphs.capture import capture
from equiaudit.repair.save.formats import file_format
from equiaudit.sampling.crop_select import CropSelect

MARGIN, WINDOW, INPUT = 4, (24, 20), (28, 24)


@pytest.fixture(scope="module", params=["labels", "maps, 4 votes"])
def case(request):
    dense, votes = request.param.startswith("maps"), 4 if "votes" in request.param else 1
    net = nn.AvgPool2d(3, 1, 1) if dense else PositionNet(WINDOW)
    model = CropSelect(net, MARGIN, WINDOW, dense=dense, votes=votes).eval()
    return model, capture(model, size=INPUT, channels=3, dtype=torch.float32).graph_module


@pytest.mark.parametrize("suffix", [".pt", ".pt2", ".onnx"])
def test_the_file_chooses_as_the_module_does(case, suffix, tmp_path):
    model, graph = case
    images = photographs(3, INPUT).float() / 255
    assert len(model.position(images).unique(dim=0)) > 1
    path = tmp_path / f"crop{suffix}"
    form = file_format(path)
    form.write(graph, path, images, "")
    run = form.load(path)
    assert torch.allclose(run(images), model(images), atol=1e-5)
    assert torch.allclose(run(images[:1]), model(images[:1]), atol=1e-5)
