"""Canonical as an artefact: one graph for TorchScript, torch.export and ONNX, any batch size."""

import pytest
import torch
import torch.nn.functional as F
from pictures import PositionNet, photographs, rolled
from torch import nn

from equiaudit.graphs.capture import capture
from equiaudit.repair.save.formats import file_format
from equiaudit.sampling.canonical import Canonical

SIZE = (24, 20)
SHIFTS = torch.tensor([[0, 0], [3, 17], [23, 1]])


class Blur(nn.Module):
    def forward(self, x):
        return F.avg_pool2d(x, 3, 1, 1)


def prepared(kind):
    pixels = photographs(3, SIZE)
    return pixels if kind == "uint8" else (pixels.float() - 117.0) / 58.0


@pytest.fixture(scope="module", params=["maps", "uint8"])
def case(request):
    """Each type of pixels and each shape of output once; exporting takes seconds."""
    images = prepared(request.param)
    dense = request.param == "maps"
    model = Canonical(Blur() if dense else PositionNet(SIZE), dense=dense).eval()
    graph = capture(model, size=SIZE, channels=3, dtype=images.dtype).graph_module
    return images, dense, model, graph


@pytest.mark.parametrize("suffix", [".pt", ".pt2", ".onnx"])
def test_the_file_is_bit_equal_over_shifts_and_batches(case, suffix, tmp_path):
    images, dense, model, graph = case
    path = tmp_path / f"canonical{suffix}"
    form = file_format(path)
    form.write(graph, path, images, "")
    run = form.load(path)
    still = torch.cat([run(x[None]) for x in images])
    assert torch.allclose(still, model(images), atol=1e-5)
    moved = torch.cat([run(x[None]) for x in rolled(images, SHIFTS)])
    assert torch.equal(moved, rolled(still, SHIFTS) if dense else still)
    assert torch.allclose(run(rolled(images, SHIFTS)), moved, atol=1e-5)
