"""`fix --for`: a file whose bits hold in another runtime too, and what is said of it."""

import tomllib
from itertools import product

import onnx
import onnxruntime
import onnxscript.optimizer
import pytest
import torch
from repair import repair_nets as nets
from repair.repair_nets import SIZE, model_of
from torch import fx

import equiaudit
from equiaudit.errors import InputError, NothingToDo
from equiaudit.graphs.capture import capture
from equiaudit.models import load
from equiaudit.models.runtimes import RUNTIMES
from equiaudit.repair.for_runtimes import judged, runtime_notes
from equiaudit.repair.options import FixOptions, checked_out
from equiaudit.repair.pipeline import fix
from equiaudit.repair.rewrite.analyse import analyse
from equiaudit.repair.rewrite.rewrite import rewrite

openvino = pytest.importorskip("openvino")

PLACES = list(product(range(4), range(4)))
"""Every phase of the stride."""


def pictures():
    """Noise, a blank, columns, and an image that equals a shift of itself."""
    noise = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    height, width = SIZE
    columns = noise[:, :, :1].expand(1, 3, height, width)
    tile = noise[:, :, : height // 2, : width // 2].repeat(1, 1, 2, 2)
    return torch.cat([noise, torch.full_like(noise, 0.3), columns, tile])


REDUCTIONS = ("sum", "amax", "argmax", "matmul", "mean", "cumsum")


class Types(fx.Interpreter):
    """What a graph adds up or compares in 64 bits; single values may be so, rounded at once."""

    def __init__(self, graph):
        super().__init__(graph)
        self.wide = {}

    def run_node(self, n):
        value = super().run_node(n)
        if n.op in ("call_function", "call_method") and n.name.startswith(REDUCTIONS):
            read = (self.env[source] for source in n.all_input_nodes)
            kept = [*(x for x in read if isinstance(x, torch.Tensor)), value]
            if any(map(needs_64_bits, kept)):
                self.wide[n.name] = [x.dtype for x in kept]
        return value


def needs_64_bits(x):
    return x.dtype == torch.float64 or (
        x.dtype == torch.int64 and int(x.abs().max()) > torch.iinfo(torch.int32).max
    )


def rewritten(net, **how):
    graph = capture(net, size=SIZE, channels=3, dtype=torch.float32).graph_module
    return rewrite(graph, analyse(graph), **how)


@pytest.mark.parametrize("select", ["features", "input"])
def test_a_narrow_graph_has_no_64_bits_and_keeps_its_bits(select):
    net, images = nets.TinyResNet().eval(), pictures()
    graphs = [rewritten(net, select=select, narrow=narrow) for narrow in (False, True)]
    wide, short = (Types(graph) for graph in graphs)
    with torch.no_grad():
        expected, found = wide.run(images), short.run(images)
        torch.testing.assert_close(found[:1], expected[:1])
        for dy, dx in PLACES:
            moved = graphs[1](images.roll((dy, dx), (2, 3)))
            assert torch.equal(moved, found), (dy, dx)
    assert wide.wide
    assert not short.wide


@pytest.fixture(scope="module")
def fixed(tmp_path_factory):
    """A net written for OpenVINO, and the report."""
    out = tmp_path_factory.mktemp("fixed") / "fixed.onnx"
    options = FixOptions(for_=("openvino",), comparisons=64)
    return out, fix(model_of(nets.TinyResNet()), out, options)


def test_every_phase_is_bit_equal_in_both_runtimes(fixed):
    images = pictures()
    for backend in ("onnxruntime", "openvino"):
        run = load(fixed[0], backend=backend, device="cpu").run
        expected = run(images)
        for dy, dx in PLACES:
            assert torch.equal(run(images.roll((dy, dx), (2, 3))), expected), (backend, dy, dx)


def slimmed(path, target):
    onnx.save(pytest.importorskip("onnxslim").slim(str(path)), target)


def simplified(path, target):
    onnx.save(pytest.importorskip("onnxsim").simplify(str(path))[0], target)


def optimised(path, target):
    onnx.save(onnxscript.optimizer.optimize(onnx.load(path)), target)


def saved_by_onnxruntime(path, target):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def converted(path, target):
    """By OpenVINO's ovc, whose default keeps weights in float16."""
    openvino.save_model(openvino.Core().read_model(path), target.with_suffix(".xml"))


@pytest.mark.parametrize("by", [slimmed, simplified, optimised, saved_by_onnxruntime, converted])
def test_what_others_simplify_keeps_its_bits(fixed, tmp_path, by):
    by(fixed[0], tmp_path / "other.onnx")
    (path,) = [p for p in tmp_path.iterdir() if p.suffix in (".onnx", ".xml")]
    images = pictures()
    for name in ("openvino",) if path.suffix == ".xml" else ("onnxruntime", "openvino"):
        run = RUNTIMES[name].forward(path, torch.device("cpu"), what="other")
        (expected,) = run(images).values()
        for dy, dx in PLACES[1::3]:
            (moved,) = run(images.roll((dy, dx), (2, 3))).values()
            assert torch.equal(moved, expected), (name, dy, dx)


def test_the_record_says_where_it_was_verified(fixed):
    out, report = fixed
    assert report.outcome == "written"
    record = report.verifications[-1]
    assert record.subject == "saved file in OpenVINO"
    assert record.figures.exact
    assert record.control_failed
    written, found = (note for note in report.notes if "OpenVINO" in note)
    assert "Slice and Concat" in written
    assert f"{record.figures.comparisons} of {record.figures.comparisons} comparisons" in found
    assert "inference_precision f32" in found
    table = tomllib.loads(out.with_name("fixed.onnx.toml").read_text())
    assert table["runtimes"] == {"openvino": {"INFERENCE_PRECISION_HINT": "f32"}}


def test_what_is_not_exact_is_a_measurement_while_labels_stay(fixed):
    record = fixed[1].verifications[-1]

    def found(changes):
        figures = record.figures.model_copy(
            update={"comparisons_exact": 3, "worst_relative": 0.048, "label_changes": changes}
        )
        return judged(record.model_copy(update={"passed": False, "figures": figures}))

    assert not found(0).broken
    (said,) = list(runtime_notes(["openvino"], [found(0)]))[1:]
    assert "3 of" in said
    assert said.endswith("worst error 4.8e-02 of the output range, 0 labels changed")
    assert found(1).broken
    faulty = record.model_copy(update={"passed": False, "faults": ("misread",)})
    assert judged(faulty).broken


@pytest.mark.parametrize("how", [{"method": "lps"}, {"window": 1}, {"method": "crop-select+mass"}])
def test_what_needs_64_bits_is_refused(tmp_path, how):
    options = FixOptions(for_=("openvino",), **how)
    with pytest.raises(NothingToDo, match="--for"):
        fix(model_of(nets.TinyResNet()), tmp_path / "a.onnx", options)


def test_only_onnx_files_are_written_for_a_runtime(tmp_path):
    with pytest.raises(InputError, match=r"--for openvino is for ONNX files, and a.pt is none"):
        checked_out(tmp_path / "a.pt", FixOptions(for_=("openvino",)))
    with pytest.raises(InputError, match="for_: input should be"):
        equiaudit.fix("missing.onnx", tmp_path / "a.onnx", for_="tensorflow")
