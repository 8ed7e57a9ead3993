"""canonical as ONNX nodes: the decision of the torch layer, and nothing else changed."""

import itertools

import cases
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from sampling.pictures import photographs

from equiaudit.errors import InputError
from equiaudit.models import PreprocessOverrides, load
from equiaudit.repair.canonical import onnx_position as canonical_onnx_position
from equiaudit.repair.canonical.onnx_file import PREFIX, canonical_onnx, with_canonical
from equiaudit.repair.pipeline import FixOptions, fix
from equiaudit.repair.verify.synthetic import synthetic_images
from equiaudit.sampling.canonical import canonical_origin

LARGE, WIDE, SMALL = (128, 128), (120, 150), (31, 24)
ELEMENTS = {
    torch.float32: TensorProto.FLOAT,
    torch.float16: TensorProto.FLOAT16,
    torch.float64: TensorProto.DOUBLE,
    torch.uint8: TensorProto.UINT8,
}


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run(model, x):
    return session(model).run(None, {model.graph.input[0].name: x})


def identity(shape, element=TensorProto.FLOAT, opset=13, out=None):
    """A model that returns what it sees."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", element, shape)],
        [helper.make_tensor_value_info("y", element, out or shape)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def pixels(size):
    """Photographs, the synthetic set, and both moved: uint8 (N, 3, H, W)."""
    made = torch.stack(list(synthetic_images(size).values()))
    both = torch.cat([(made * 255).round().byte(), photographs(4, size)])
    return torch.cat([both, torch.roll(both, (5, 17), (2, 3))])


def seen_by_torch(x):
    size = tuple(x.shape[2:])
    origins = canonical_origin(x, x.shape[1], size).tolist()
    rolled = [torch.roll(one, (-r, -c), (1, 2)) for one, (r, c) in zip(x, origins, strict=True)]
    return torch.stack(rolled)


def seen_by_onnx(x, shape, opset=13, layout="NCHW"):
    model = with_canonical(identity(shape, ELEMENTS[x.dtype], opset), layout=layout)
    onnx.checker.check_model(model, full_check=True)
    batch = x.permute(0, 2, 3, 1) if layout == "NHWC" else x
    run_ = session(model)
    pieces = batch.split(1) if shape[0] == 1 else [batch]
    found = [run_.run(None, {"x": piece.contiguous().numpy()})[0] for piece in pieces]
    seen = torch.from_numpy(np.concatenate(found))
    return seen.permute(0, 3, 1, 2) if layout == "NHWC" else seen


KINDS = {
    "uint8": lambda p: p,
    "normalised": lambda p: (p / 255 - 0.45) / 0.225,
    "float16": lambda p: ((p / 255 - 0.45) / 0.225).half(),
    "float64": lambda p: p.double() / 255 - 0.45,
    "bgr 0..255": lambda p: p.flip(1).float() - 110.0,
    "gray": lambda p: p[:, :1] / 255,
}


@pytest.mark.parametrize("size", [LARGE, WIDE, SMALL], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_the_model_sees_what_it_sees_behind_the_torch_layer(kind, size):
    x = KINDS[kind](pixels(size))
    assert torch.equal(seen_by_onnx(x, ["n", x.shape[1], *size]), seen_by_torch(x))


@pytest.mark.parametrize("opset", [10, 11, 12, 13, 17, 18, 21])
def test_every_opset_and_every_way_to_state_the_shape(opset):
    for size in (LARGE, SMALL):
        x = KINDS["normalised"](pixels(size))[::5]
        expected, sides = seen_by_torch(x), list(size)
        for shape in ([1, 3, *sides], ["n", 3, "h", "w"], [len(x), 3, *sides]):
            assert torch.equal(seen_by_onnx(x, shape, opset), expected), (shape, size)


@pytest.mark.parametrize("shape", [[1, *WIDE, 3], ["n", "h", "w", 3]], ids=str)
def test_nhwc(shape):
    x = KINDS["normalised"](pixels(WIDE))[::4]
    assert torch.equal(seen_by_onnx(x, shape, layout="NHWC"), seen_by_torch(x))


@pytest.mark.parametrize("size", [LARGE, SMALL], ids=str)
def test_synthetic_images_look_the_same_from_every_shift(size):
    x = torch.stack(list(synthetic_images(size).values()))
    still = seen_by_onnx(x, ["n", 3, *size])
    for shift in ((1, 0), (7, 19)):
        assert torch.equal(seen_by_onnx(torch.roll(x, shift, (2, 3)), ["n", 3, *size]), still)


def test_the_first_of_equal_candidates_would_not_do(monkeypatch):
    """The control: without the views, ties fall to the first index, which does not move."""

    def nothing(w, image):
        flat = w.reduce("ReduceMax", w.cast(image.raw, TensorProto.INT64), [1])
        return w("Mul", flat, w.constant(0))

    monkeypatch.setattr(canonical_onnx_position, "_exact_views", nothing)
    x = torch.stack(list(synthetic_images(SMALL).values()))
    still = seen_by_onnx(x, ["n", 3, *SMALL])
    moved = seen_by_onnx(torch.roll(x, (7, 19), (2, 3)), ["n", 3, *SMALL])
    assert not torch.equal(moved, still)


def test_unrounded_sums_would_not_do(monkeypatch):
    """The control: floats that are not whole numbers sum to other bits in another order."""
    from equiaudit.repair.canonical.onnx_nodes import Writer

    def gaps(x):
        model = identity(["n", 3, *LARGE])
        graph = with_canonical(model).graph
        steps = next(node.output[0] for node in graph.node if node.op_type == "TopK")
        changed = with_canonical(model)
        changed.graph.output.append(helper.make_tensor_value_info(steps, 1, None))
        del changed.graph.output[0]
        changed.graph.output[0].type.tensor_type.shape.Clear()
        return session(changed).run(None, {"x": x.numpy()})[0]

    x = KINDS["normalised"](photographs(3, LARGE))
    shifts = [(0, k) for k in range(1, 12)]
    exact = [np.array_equal(gaps(torch.roll(x, s, (2, 3))), gaps(x)) for s in shifts]
    assert all(exact)
    monkeypatch.setattr(Writer, "round", lambda self, name: name)
    rough = [np.array_equal(gaps(torch.roll(x, s, (2, 3))), gaps(x)) for s in shifts]
    assert not all(rough)


def segmenter(scale, shape, out):
    """A map that knows places: zero padding, then as many steps as `scale` says."""
    kernel = numpy_helper.from_array(np.full((3, 1, 3, 3), 1 / 9, np.float32), "k")
    nodes = [helper.make_node("Conv", ["x", "k"], ["c"], group=3, pads=[1, 1, 1, 1])]
    last = {
        1: helper.make_node("Identity", ["c"], ["y"]),
        4: helper.make_node("AveragePool", ["c"], ["y"], kernel_shape=[4, 4], strides=[4, 4]),
    }[scale]
    graph = helper.make_graph(
        [*nodes, last],
        "g",
        [helper.make_tensor_value_info("x", 1, shape)],
        [helper.make_tensor_value_info("y", 1, out)],
        [kernel],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize("batch", [1, 3, "n"])
@pytest.mark.parametrize("scale", [1, 4])
def test_maps_come_back_in_place(scale, batch):
    size = (48, 40)
    out = [batch, 3, *(n // scale for n in size)]
    model = segmenter(scale, [batch, 3, *size], out)
    fixed = session(with_canonical(model, dense_outputs=["y"]))
    x = KINDS["normalised"](photographs(3, size))
    for one in x.split(1) if batch == 1 else [x]:
        still = fixed.run(None, {"x": one.numpy()})[0]
        for shift in ((4, 12), (24, 8)):
            moved = fixed.run(None, {"x": torch.roll(one, shift, (2, 3)).numpy()})[0]
            steps = [s // scale for s in shift]
            assert np.array_equal(moved, np.roll(still, steps, (2, 3)))
    assert fixed.get_outputs()[0].shape == out


def test_what_is_no_map_is_refused():
    model = segmenter(4, [1, 3, 48, 42], [1, 3, 12, 10])
    with pytest.raises(InputError, match="10 steps for 42 pixels"):
        with_canonical(model, dense_outputs=["y"])
    with pytest.raises(InputError, match="no output 'z'"):
        with_canonical(model, dense_outputs=["z"])


def test_the_interface_and_the_nodes_stay():
    model = segmenter(1, ["n", 3, *SMALL], ["n", 3, *SMALL])
    entry = model.metadata_props.add()
    entry.key, entry.value = "author", "someone"
    fixed = with_canonical(with_canonical(model, dense_outputs=["y"]), dense_outputs=["y"])
    assert list(fixed.graph.input) == list(model.graph.input)
    assert list(fixed.graph.output) == list(model.graph.output)
    assert list(fixed.metadata_props) == list(model.metadata_props)
    assert fixed.opset_import == model.opset_import
    own = [node for node in fixed.graph.node if not node.name.startswith(PREFIX)]
    assert [node.op_type for node in own] == ["Conv", "Identity"]
    names = list(itertools.chain.from_iterable(node.output for node in fixed.graph.node))
    assert len(names) == len(set(names))
    x = photographs(2, SMALL).float().numpy()
    once = with_canonical(model, dense_outputs=["y"])
    assert np.array_equal(run(fixed, x)[0], run(once, x)[0])


def test_a_branch_inside_the_model_reads_the_rolled_image():
    then = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["a"])],
        "t",
        [],
        [helper.make_tensor_value_info("a", 1, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["b"])],
        "e",
        [],
        [helper.make_tensor_value_info("b", 1, None)],
    )
    model = identity(["n", 3, *SMALL])
    condition = numpy_helper.from_array(np.array(False), "condition")
    model.graph.initializer.append(condition)
    del model.graph.node[:]
    model.graph.node.append(
        helper.make_node("If", ["condition"], ["y"], then_branch=then, else_branch=other)
    )
    x = KINDS["normalised"](pixels(SMALL))[::6]
    found = torch.from_numpy(run(with_canonical(model), x.numpy())[0])
    assert torch.equal(found, -seen_by_torch(x))


def test_external_data_goes_along_under_the_new_name(tmp_path):
    model = segmenter(1, [1, 3, *SMALL], [1, 3, *SMALL])
    onnx.save(
        model,
        tmp_path / "m.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
        convert_attribute=False,
    )
    companions = canonical_onnx(tmp_path / "m.onnx", tmp_path / "out.onnx")
    assert companions == (tmp_path / "out.onnx.data",)
    (tmp_path / "weights.bin").unlink()
    x = photographs(1, SMALL).float().numpy()
    found = onnxruntime.InferenceSession(tmp_path / "out.onnx").run(None, {"x": x})[0]
    inside = segmenter(1, [1, 3, *SMALL], [1, 3, *SMALL])
    assert np.array_equal(found, run(with_canonical(inside), x)[0])


def test_old_files_are_declared_to_be_of_opset_10_where_nothing_changes_meaning():
    x = KINDS["normalised"](photographs(1, SMALL))
    model = identity([1, 3, *SMALL], opset=7)
    changed = with_canonical(model)
    assert [entry.version for entry in changed.opset_import] == [10]
    assert [entry.version for entry in model.opset_import] == [7]
    assert torch.equal(torch.from_numpy(run(changed, x.numpy())[0]), seen_by_torch(x))


def test_old_files_are_refused_by_name_where_something_does():
    model = identity([1, 3, *SMALL], opset=9)
    crop = helper.make_node("Slice", ["x"], ["y"], name="crop", starts=[0], ends=[4], axes=[2])
    model.graph.node[0].CopyFrom(crop)
    with pytest.raises(InputError, match=r"operator set 9, and its Slice \(crop\)"):
        with_canonical(model, what="old.onnx")
    with pytest.raises(InputError, match="operator set 6"):
        with_canonical(identity([1, 3, *SMALL], opset=6))


def test_what_cannot_be_rolled_is_refused():
    with pytest.raises(InputError, match="int64 input"):
        with_canonical(identity([1, 3, *SMALL], TensorProto.INT64))
    with pytest.raises(InputError, match="4-D batch"):
        with_canonical(identity([1, 3]))
    with pytest.raises(InputError, match="how many channels"):
        with_canonical(identity([1, "c", *SMALL]))


def test_an_input_that_names_its_channels_is_given_their_count():
    """As Optimum writes it: batch_size, num_channels, height, width."""
    x = np.random.default_rng(0).normal(size=(2, 3, *SMALL)).astype("float32")
    right = run(with_canonical(identity(["n", 3, *SMALL]), dense_outputs=["y"]), x)
    open_one = identity(["n", "num_channels", "h", "w"])
    found = run(with_canonical(open_one, dense_outputs=["y"], channels=3), x)
    assert np.array_equal(found, right)
    assert np.array_equal(found[0], x)


def test_a_real_float16_file_of_opset_7_keeps_its_output_under_shifts(tmp_path):
    folder = cases.path("imagenet")
    source, target = folder / "weights/SqueezeNet_fp16.onnx", tmp_path / "fixed.onnx"
    canonical_onnx(source, target)
    plain = onnxruntime.InferenceSession(source)
    fixed = onnxruntime.InferenceSession(target)
    name = plain.get_inputs()[0].name
    assert [i.shape for i in fixed.get_inputs()] == [i.shape for i in plain.get_inputs()]
    x = (photographs(2, (224, 224)).flip(1).float() - 110.0).half()
    for one in x.split(1):
        expected = plain.run(None, {name: one.numpy()})[0]
        assert torch.equal(seen_by_torch(one), one)
        for shift in ((0, 0), (3, 100), (223, 1)):
            moved = torch.roll(one, shift, (2, 3)).numpy()
            assert np.array_equal(fixed.run(None, {name: moved})[0], expected)
        assert not np.array_equal(plain.run(None, {name: moved})[0], expected)


def quantised(path):
    """8-bit arithmetic and a head for one size: nothing that a torch graph is made of."""
    rng = np.random.default_rng(0)
    arrays = {
        "k": rng.integers(0, 255, (4, 3, 3, 3), dtype=np.uint8),
        "s": np.float32(0.02),
        "z": np.uint8(128),
        "w": rng.normal(size=(4 * 30 * 26, 5)).astype(np.float32),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("ConvInteger", ["q", "k", "z", "z"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Cast", ["c"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["f"], ["v"]),
        helper.make_node("MatMul", ["v", "w"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, ["n", 3, 30, 26])],
        [helper.make_tensor_value_info("scores", 1, ["n", 5])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


def test_fix_takes_a_file_that_is_no_torch_graph(tmp_path):
    source, target = quantised(tmp_path / "int8.onnx"), tmp_path / "fixed.onnx"
    model = load(source, preprocess=PreprocessOverrides(mean=(0.5,) * 3, std=(0.25,) * 3))
    report = fix(model, target, FixOptions(method="canonical", comparisons=100))
    assert report.outcome == "written", report.reason
    for record in report.verifications:
        assert record.passed
        assert record.control_failed
        assert record.figures.exact
    assert report.verifications[-1].borders is not None
    plain, fixed = (onnxruntime.InferenceSession(path) for path in (source, target))
    x = KINDS["normalised"](photographs(3, (30, 26)))
    still = fixed.run(None, {"x": x.numpy()})[0]
    moved = torch.roll(x, (4, 9), (2, 3)).numpy()
    assert np.array_equal(fixed.run(None, {"x": moved})[0], still)
    assert not np.array_equal(plain.run(None, {"x": moved})[0], still)
