"""What `fix --method canonical` writes: a branch in every kind of file, and the same decision."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
import torch.nn.functional as F
from sampling.pictures import PositionNet, photographs, rolled
from torch import fx, nn

from equiaudit.errors import RunError
from equiaudit.graphs.capture import capture
from equiaudit.models.archives import check_export_archive, check_torchscript_archive
from equiaudit.repair.canonical.onnx_export import with_nodes
from equiaudit.repair.canonical.operators import ORIGIN, ROLL, calls, with_operators
from equiaudit.repair.save.formats import file_format
from equiaudit.sampling.canonical import Canonical

SHIFTS = torch.tensor([[0, 0], [3, 17], [23, 1]])


class Blur(nn.Module):
    def forward(self, x):
        return F.avg_pool2d(x.float(), 3, 1, 1)


def ties(images):
    """Images of which each looks the same from many places, among others that do not."""
    flat = torch.full_like(images[:1], 7)
    board = (torch.arange(images.shape[2])[:, None] // 2 + torch.arange(images.shape[3]) // 2) % 2
    stripes = torch.zeros_like(images[:1]) + board.to(images.dtype) * 90
    return torch.cat([images, flat, stripes])


SUFFIXES = (".pt", ".pt2", ".safetensors", ".onnx")
CASES = {
    "labels": ((24, 20), False, torch.float32),
    "large maps of uint8": ((160, 132), True, torch.uint8),
}


@dataclass(frozen=True)
class Written:
    """A module, the graph of it, and the files: paths and what runs them."""

    images: torch.Tensor
    dense: bool
    model: nn.Module
    graph: fx.GraphModule
    paths: dict[str, Path]
    runs: dict[str, Any]


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    size, dense, dtype = CASES[request.param]
    pixels = photographs(3, size)
    images = pixels if dtype == torch.uint8 else (pixels.float() - 117.0) / 58.0
    model = Canonical(Blur() if dense else PositionNet(size), dense=dense).eval()
    wrapped = with_operators(Canonical(model.module, dense=dense))
    graph = capture(wrapped, size=size, channels=3, dtype=dtype).graph_module
    paths = {suffix: tmp_path_factory.mktemp("files") / f"a{suffix}" for suffix in SUFFIXES}
    for path in paths.values():
        file_format(path).write(graph, path, images[:2], "")
    runs = {suffix: file_format(path).load(path) for suffix, path in paths.items()}
    return Written(images, dense, model, graph, paths, runs)


def test_a_graph_calls_one_operator_per_step(case):
    assert len(calls(case.graph, ORIGIN)) == 1
    assert len(calls(case.graph, ROLL)) == (2 if case.dense else 1)


@pytest.mark.parametrize("suffix", SUFFIXES[:3])
def test_torch_files_keep_every_bit_of_the_module(case, suffix):
    batch = ties(case.images)
    for x in (batch, batch[:1], rolled(case.images, SHIFTS), batch[-1:]):
        assert torch.equal(case.runs[suffix](x), case.model(x))


def test_onnx_files_decide_as_torch_does(case):
    run, batch = case.runs[".onnx"], ties(case.images)
    assert torch.allclose(run(batch), case.model(batch), atol=1e-4)
    still = torch.cat([run(x[None]) for x in case.images])
    moved = torch.cat([run(x[None]) for x in rolled(case.images, SHIFTS)])
    assert torch.equal(moved, rolled(still, SHIFTS) if case.dense else still)


def test_the_hash_is_in_a_branch_of_every_file(case):
    parts = case.runs[".pt"].named_modules()
    assert "if bool(torch.all(" in "".join(getattr(part, "code", "") for _, part in parts)
    assert any("cond" in str(node.target) for node in case.runs[".pt2"].graph.nodes)
    kinds = [node.op_type for node in onnx.load(case.paths[".onnx"]).graph.node]
    assert kinds.count("If") == 1
    assert "Loop" not in kinds  # the hash's doublings, in the branch alone


def test_files_know_no_operator_of_ours_and_pass_the_checks_of_what_is_loaded(case):
    for path in case.paths.values():
        assert b"ops.equiaudit" not in path.read_bytes()
    check_torchscript_archive(case.paths[".pt"].read_bytes(), what="a.pt")
    check_export_archive(case.paths[".pt2"].read_bytes(), what="a.pt2")
    model = onnx.load(case.paths[".onnx"])
    assert {entry.domain for entry in model.opset_import} <= {"", "ai.onnx"}
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("suffix", SUFFIXES[:2])
def test_gradients_flow_through_the_roll(case, suffix):
    if not case.images.is_floating_point():
        pytest.skip("whole numbers have no gradient")
    ours, theirs = (case.images.clone().requires_grad_() for _ in range(2))
    for run, x in ((case.runs[suffix], ours), (case.model, theirs)):
        run(x).square().sum().backward()
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-6)


def test_control_a_node_that_nobody_can_write_is_an_error():
    node = onnx.helper.make_node("Other", ["x"], ["y"], name="it", domain="equiaudit")
    values = [onnx.helper.make_tensor_value_info(name, 1, [1]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:])
    sets = [onnx.helper.make_opsetid("", 20), onnx.helper.make_opsetid("equiaudit", 1)]
    with pytest.raises(RunError, match="has no Other"):
        with_nodes(onnx.helper.make_model(graph, opset_imports=sets))
