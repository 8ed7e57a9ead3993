"""ONNX in, ONNX out: the fixed file looks like the one it came from, and is exact where run."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_builders import model, node

from equiaudit.errors import InputError, RunError
from equiaudit.graphs.nodes import module_path
from equiaudit.graphs.routes import reexport
from equiaudit.models import PreprocessOverrides, load
from equiaudit.models.preprocess import PREPROCESS_KEY
from equiaudit.repair import FixOptions, fix, inspect, verify_model
from equiaudit.repair.onnx import capture_onnx, import_onnx
from equiaudit.repair.save.formats import file_format
from equiaudit.repair.save.onnx_net import OnnxNet
from equiaudit.repair.save.write import save
from equiaudit.results.repair import FixReport

SIZE = (16, 24)
SHIFTS = ((1, 0), (0, 1), (3, 2), (9, 15))
BRIEF = {"comparisons": 60, "devices": ("cpu",)}


def weights(half: bool = False) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"w1": (8, 3, 3, 3), "w2": (8, 8, 3, 3), "w3": (5, 8)}
    kind = np.float16 if half else np.float32
    return {
        name: (rng.standard_normal(shape) / np.prod(shape[1:]) ** 0.5 * 1.5).astype(kind)
        for name, shape in shapes.items()
    }


def layers(x: str = "x") -> list[onnx.NodeProto]:
    """Total stride 4, zero padding in every convolution, five classes."""
    convs = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
    return [
        node("Conv", f"{x} w1", "c1", **convs), node("Relu", "c1", "r1"),
        node("Conv", "r1 w2", "c2", pads=[1, 1, 1, 1]), node("Relu", "c2", "r2"),
        node("Conv", "r2 w2", "c3", **convs), node("Relu", "c3", "r3"),
        node("GlobalAveragePool", "r3", "g"), node("Flatten", "g", "f"),
        node("Gemm", "f w3", transB=1),
    ]  # fmt: skip


def plain() -> onnx.ModelProto:
    """Height and width are left open."""
    proto = model(*layers(), constants=weights(), shape=("samples", 3, *SIZE))
    helper.set_model_props(proto, {"author": "someone"})
    sides = proto.graph.input[0].type.tensor_type.shape.dim[2:]
    sides[0].dim_param, sides[1].dim_param = "h", "w"
    proto.graph.input[0].type.denotation = "IMAGE"
    proto.graph.input[0].doc_string = "a picture"
    proto.domain, proto.model_version = "org.example", 3
    return proto


def half() -> onnx.ModelProto:
    return model(
        *layers(), constants=weights(half=True), shape=(1, 3, *SIZE), dtype=TensorProto.FLOAT16
    )


def pixels() -> onnx.ModelProto:
    """uint8, channels last, batches of two."""
    front = [
        node("Transpose", "x", "t", perm=[0, 3, 1, 2]), node("Cast", "t", "f32", to=1),
        node("Mul", "f32 scale", "m"),
    ]  # fmt: skip
    return model(
        *front, *layers("m"), constants={**weights(), "scale": np.float32(1 / 64)},
        shape=(2, *SIZE, 3), dtype=TensorProto.UINT8, output_dtype=TensorProto.FLOAT, axes=2,
    )  # fmt: skip


def several() -> onnx.ModelProto:
    """A map, the classes, and the class itself; the classes are the main output."""
    return model(
        *layers(), node("Resize", "r3 - scales", "map", mode="nearest"),
        constants={**weights(), "scales": np.float32([1, 1, 4, 4])},
        shape=("n", 3, *SIZE), outputs=("map", "y"),
    )  # fmt: skip


KINDS = {"plain": plain, "half": half, "pixels": pixels, "several": several}


@dataclass(frozen=True)
class Case:
    source: Path
    out: Path
    report: FixReport


def loaded(path: Path, **how):
    settings = {"size": SIZE} if onnx_side(path) is None else {}
    return load(path, preprocess=PreprocessOverrides(**settings, **how), normalisation=False)


def onnx_side(path: Path) -> int | None:
    sides = onnx.load(path).graph.input[0].type.tensor_type.shape.dim
    return sides[2].dim_value or None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("onnx")


@pytest.fixture(scope="module")
def made(folder: Path):
    """The fixed file of a kind, converted once."""
    known: dict[str, Case] = {}

    def case(kind: str) -> Case:
        if kind not in known:
            source, out = folder / f"{kind}.onnx", folder / f"{kind}-fixed.onnx"
            onnx.save(KINDS[kind](), source)
            task = {"task": "classification"} if kind == "several" else {}
            found = load(
                source,
                preprocess=PreprocessOverrides(size=SIZE),
                normalisation=False,
                **task,
            )
            known[kind] = Case(source, out, fix(found, out, FixOptions(**BRIEF)))
        return known[kind]

    return case


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def batch(net: onnxruntime.InferenceSession, seed: int) -> np.ndarray:
    """Noise in the input's own layout, type and batch."""
    item = net.get_inputs()[0]
    shape = [side if isinstance(side, int) else 2 for side in item.shape]
    shape[2:] = [s if isinstance(k, int) else f for s, k, f in
                 zip(shape[2:], item.shape[2:], SIZE, strict=True)]  # fmt: skip
    rng = np.random.default_rng(seed)
    if "uint8" in item.type:
        return rng.integers(0, 256, shape, dtype=np.uint8)
    return rng.standard_normal(shape).astype(np.float16 if "16" in item.type else np.float32)


def changes(path: Path) -> list[float]:
    """Largest change of each output, over its range, by shifts of the image."""
    net = session(path)
    axes = (1, 2) if net.get_inputs()[0].shape[-1] == 3 else (2, 3)
    worst = [0.0] * len(net.get_outputs())
    for seed, shift in enumerate(SHIFTS):
        x = batch(net, seed)
        before = net.run(None, {net.get_inputs()[0].name: x})
        after = net.run(None, {net.get_inputs()[0].name: np.roll(x, shift, axes)})
        for i, (y, z) in enumerate(zip(before, after, strict=True)):
            same = np.roll(y, shift, (2, 3)) if y.ndim == 4 else y
            gap = np.abs(z.astype(np.float64) - same).max() / np.ptp(y.astype(np.float64))
            worst[i] = max(worst[i], float(gap))
    return worst


@pytest.mark.parametrize("kind", KINDS)
def test_the_fixed_file_is_exact_in_onnxruntime_and_the_original_is_not(made, kind) -> None:
    case = made(kind)
    assert (case.report.outcome, case.report.reason) == ("written", None)
    assert changes(case.out) == [0.0] * len(session(case.out).get_outputs())
    assert min(changes(case.source)) > 1e-3
    saved = [record for record in case.report.verifications if "saved" in record.subject]
    assert all(record.passed and record.control_failed for record in saved)


@pytest.mark.parametrize("kind", KINDS)
def test_the_fixed_file_looks_like_the_original(made, kind) -> None:
    case = made(kind)
    before, after = onnx.load(case.source), onnx.load(case.out)
    onnx.checker.check_model(after, full_check=True)
    ports = [(session(path).get_inputs(), session(path).get_outputs())
             for path in (case.source, case.out)]  # fmt: skip
    for old, new in zip(*ports, strict=True):
        assert [(p.name, p.type) for p in old] == [(p.name, p.type) for p in new]
    old, new = (inputs[0].shape for inputs, _ in ports)
    assert new[0] == old[0]
    assert [n for n, o in zip(new, old, strict=True) if isinstance(o, int)] == [
        o for o in old if isinstance(o, int)
    ]
    kept = {item.key: item.value for item in after.metadata_props}
    assert {item.key: item.value for item in before.metadata_props}.items() <= kept.items()
    assert PREPROCESS_KEY in kept
    assert (after.domain, after.model_version) == (before.domain, before.model_version)
    words = [(p.graph.input[0].doc_string, p.graph.input[0].type.denotation)
             for p in (before, after)]  # fmt: skip
    assert words[0] == words[1]


def test_the_weights_of_a_float16_file_stay_float16(made) -> None:
    stored = {
        tuple(item.dims): numpy_helper.to_array(item)
        for item in onnx.load(made("half").out).graph.initializer
    }
    wanted = weights(half=True)["w2"]
    assert stored[wanted.shape].dtype == np.float16
    assert np.array_equal(stored[wanted.shape], wanted)
    assert any("float16" in note for note in made("half").report.inspection.notes)


def test_every_output_is_verified_by_itself(made) -> None:
    subjects = [record.subject for record in made("several").report.verifications]
    assert subjects == ["converted graph", "saved file", "saved file's output 'map'"]
    dense = [record.dense for record in made("several").report.verifications]
    assert dense == [False, False, True]
    assert any("y, map" in note for note in made("several").report.inspection.notes)


def test_open_sides_are_fixed_and_that_is_said(made) -> None:
    case = made("plain")
    assert session(case.out).get_inputs()[0].shape == ["samples", 3, *SIZE]
    assert any("16x24 only" in note for note in case.report.inspection.notes)


def test_operations_are_where_the_file_has_them(made) -> None:
    found = inspect(loaded(made("plain").source))
    assert [row.where for row in found.ops] == ["Conv_0", "Conv_2", "Conv_4", "GlobalAveragePool_6"]


def wrapping(path: Path) -> int:
    return sum(
        item.op_type == "Pad" and any(a.s == b"wrap" for a in item.attribute)
        for item in onnx.load(path).graph.node
    )


def test_both_ways_to_pad_give_the_same_bits(made, folder) -> None:
    case, out = made("plain"), folder / "sliced.onnx"
    options = FixOptions(pad="slices", **BRIEF)
    assert fix(loaded(case.source), out, options).outcome == "written"
    assert (wrapping(case.out), wrapping(out)) == (1, 0)
    assert onnx.load(out).opset_import[0].version == 18
    x = batch(session(out), 5)
    ours, theirs = (session(path).run(None, {"x": x})[0] for path in (case.out, out))
    assert np.array_equal(ours, theirs)
    assert changes(out) == [0.0]


def test_a_torch_graph_can_be_padded_by_slices_too(folder) -> None:
    from equiaudit.graphs.capture import capture

    net = torch.nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")
    graph = capture(net, size=SIZE).graph_module
    x = torch.randn(3, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    paths = [folder / f"torch-{pad}.onnx" for pad in ("wrap", "slices")]
    for path, pad in zip(paths, ("wrap", "slices"), strict=True):
        assert save(graph, path, example=x, kind=file_format(path, pad)).verified
    assert wrapping(paths[0]) > 0 == wrapping(paths[1])
    results = [session(path).run(None, {"image": x.numpy()})[0] for path in paths]
    assert np.array_equal(*results)


def test_settings_of_padding_are_checked(folder) -> None:
    with pytest.raises(InputError, match="for ONNX files"):
        file_format(folder / "a.pt", "slices")
    with pytest.raises(InputError, match="--pad is 'mirror'"):
        file_format(folder / "a.onnx", "mirror")


def test_torch_files_take_what_the_onnx_file_took_channels_first(made, folder) -> None:
    out = folder / "pixels.pt"
    assert fix(loaded(made("pixels").source), out, FixOptions(**BRIEF)).outcome == "written"
    net = torch.jit.load(out)
    x = torch.randint(0, 256, (3, 3, *SIZE), dtype=torch.uint8)
    expected = session(made("pixels").out).run(None, {"x": x[:2].permute(0, 2, 3, 1).numpy()})[0]
    with torch.no_grad():
        assert torch.allclose(net(x)[:2], torch.from_numpy(expected), atol=1e-5)
        assert torch.equal(net(x.roll((5, 3), (2, 3))), net(x))
    assert load(out, normalisation=False).preprocess.layout == "NCHW"


@pytest.mark.parametrize("kind", ["half", "pixels"])
def test_verify_compares_the_files_through_their_borders(made, kind) -> None:
    case = made(kind)
    record = verify_model(loaded(case.out), against=loaded(case.source), comparisons=60)
    assert record.passed
    assert record.figures.exact
    assert record.control_failed


def test_verify_takes_a_control_of_another_type(made) -> None:
    record = verify_model(
        loaded(made("plain").out), against=loaded(made("half").source), comparisons=60
    )
    assert record.passed
    assert record.control_failed


@pytest.mark.parametrize("kind", ["plain", "half", "pixels"])
def test_control_an_unmodified_file_does_not_verify(made, kind) -> None:
    assert not verify_model(loaded(made(kind).source), comparisons=60).passed


def test_control_zero_padding_left_in_is_measured_inexact(made, folder) -> None:
    out = folder / "left.pt"
    report = fix(loaded(made("plain").source), out, FixOptions(skip="Conv_2", **BRIEF))
    assert report.claim is not None
    assert not report.claim.exact
    assert [record.passed for record in report.verifications] == [False, False]


def test_control_a_wrong_file_is_caught_though_the_graph_is_right(
    made, folder, monkeypatch
) -> None:
    """A writer that loses the wrapping: the graph verifies, the file must not."""
    from equiaudit.repair.save import onnx_like as like

    def zeros(proto, path):
        for item in proto.graph.node:
            for attribute in item.attribute:
                if attribute.s == b"wrap":
                    attribute.s = b"constant"
        onnx.save(proto, path)

    monkeypatch.setattr(like, "write_onnx", zeros)
    report = fix(loaded(made("plain").source), folder / "zeros.onnx", FixOptions(**BRIEF))
    assert report.outcome == "unverified"
    assert "differs from the graph" in str(report.reason)


def test_outputs_that_would_be_lost_are_named(made, folder) -> None:
    one, two = (import_onnx(made(kind).source, size=SIZE) for kind in ("plain", "several"))
    net = OnnxNet(capture_onnx(one).graph_module, imported=two)
    how = loaded(made("plain").source).preprocess
    for name in ("lost.onnx", "lost.pt"):
        with pytest.raises(RunError, match=f"{name} would lose the output 'y'"):
            net.save(
                folder / name, example=torch.rand(2, 3, *SIZE), preprocess=how, check=lambda _: None
            )
        assert not (folder / name).exists()


def test_a_file_whose_name_is_not_text_is_read(made, folder, capfd) -> None:
    path = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.onnx"))
    try:
        shutil.copy(made("plain").source, path)
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    net = load(path, preprocess=PreprocessOverrides(size=SIZE), normalisation=False)
    assert net.run(torch.randn(2, 3, *SIZE)).shape == (2, 5)
    assert capfd.readouterr() == ("", "")


def test_kinds_differ() -> None:
    """The table above holds different nets."""
    assert max(Counter(KINDS[k]().SerializeToString() for k in KINDS).values()) == 1


def test_a_graph_without_a_call_stack_is_located_by_its_weights() -> None:
    root = torch.nn.Module()
    root.features = torch.nn.Conv2d(3, 4, 3, padding=1)
    graph = torch.fx.Graph()
    image = graph.placeholder("image")
    weight = graph.get_attr("features.weight")
    graph.output(graph.call_function(torch.ops.aten.conv2d.default, (image, weight)))
    found = reexport(torch.fx.GraphModule(root, graph), torch.randn(2, 3, *SIZE))
    (conv,) = (node for node in found.graph.nodes if node.op == "call_function")
    assert module_path(conv) == "features"
