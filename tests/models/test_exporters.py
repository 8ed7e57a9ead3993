"""Files as exporters write them: what is read, and what is refused in which words."""

from __future__ import annotations

import json
import warnings
import zipfile

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from artefacts import write_onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import equiaudit
from equiaudit.errors import InputError
from equiaudit.models import PreprocessOverrides, load

GIVEN = PreprocessOverrides(size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
RAW = PreprocessOverrides(size=(16, 16))


def loaded(path, given=GIVEN, **settings):
    return load(path, preprocess=given, device="cpu", **settings)


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    ).eval()


def images(count=3):
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))


# ONNX


def value(name, kind=TensorProto.FLOAT, shape=None):
    return helper.make_tensor_value_info(name, kind, shape)


WEIGHT = numpy_helper.from_array(
    np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype("float32"), "w"
)


def saved(path, nodes, *, inputs=None, outputs=None, more=(), name="g", opset=17, **settings):
    graph = helper.make_graph(
        nodes,
        name,
        inputs or [value("x", shape=["n", 3, "h", "w"])],
        outputs or [value("y", shape=["n", 4])],
        [WEIGHT, *more],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    proto = helper.make_model(graph, opset_imports=imports, **{"ir_version": 8, **settings})
    path.write_bytes(proto.SerializeToString())
    return path


def node(kind, inputs, outputs, **attributes):
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


CONV = node("Conv", "x w", "c", strides=[2, 2])
HEAD = [CONV, node("GlobalAveragePool", "c", "p"), node("Flatten", "p", "y")]


def expected(batch):
    weight = torch.from_numpy(numpy_helper.to_array(WEIGHT).copy())
    return nn.functional.conv2d(batch, weight, stride=2).mean((2, 3))


def agrees(model, batch=None):
    batch = images() if batch is None else batch
    torch.testing.assert_close(model.run(batch), expected(batch), rtol=1e-4, atol=1e-5)
    assert model.total_stride == (2, 2)


@pytest.mark.parametrize(
    "shape",
    [
        ["batch_size", "num_channels", "height", "width"],
        [-1, 3, -1, -1],
        None,
        ["n", "c", 16, 16],
    ],
)
def test_whatever_is_symbolic(shape, tmp_path):
    saved(tmp_path / "m.onnx", HEAD, inputs=[value("x", shape=shape)], outputs=[value("y")])
    agrees(loaded(tmp_path / "m.onnx"))


def test_a_graph_without_a_name_and_nodes_out_of_order(tmp_path):
    model = loaded(saved(tmp_path / "m.onnx", HEAD[::-1], name=""))
    agrees(model)
    assert not any("checker" in note for note in model.notes)


def test_the_word_of_the_checker_is_a_note(tmp_path):
    """An attribute that no schema knows: onnxruntime passes over it."""
    path = saved(tmp_path / "m.onnx", HEAD, outputs=[value("y"), value("p"), value("y")])
    model = loaded(path, output="y")
    agrees(model)
    assert any("onnx's checker" in note for note in model.notes)


def test_a_newer_ir_version_is_said(tmp_path):
    path = saved(tmp_path / "m.onnx", HEAD, ir_version=99)
    with pytest.raises(InputError, match=r"ONNX IR version 99.*reads up to \d+"):
        loaded(path)


@pytest.mark.parametrize("batch", [1, 8])
def test_a_batch_that_is_built_in(batch, tmp_path):
    """By the input, or by a Reshape behind an input that leaves it open."""
    shape = numpy_helper.from_array(np.array([batch, 4], "int64"), "s")
    nodes = [*HEAD[:2], node("Reshape", "p s", "y")]
    for stated in ("n", batch):
        path = saved(
            tmp_path / f"{stated}.onnx", nodes, more=[shape],
            inputs=[value("x", shape=[stated, 3, 16, 16])],
        )  # fmt: skip
        model = loaded(path)
        agrees(model)
        assert model.fixed_batch == batch


def test_several_inputs(tmp_path):
    nodes = [*HEAD[:2], node("Flatten", "p", "f"), node("Mul", "f gain", "g"),
             node("Add", "g offset", "y")]  # fmt: skip
    inputs = [
        value("gain", shape=["n", 1]),
        value("x", shape=["n", 3, 16, 16]),
        value("offset", shape=[1]),
    ]
    path = saved(tmp_path / "m.onnx", nodes, inputs=inputs)
    with pytest.raises(InputError, match="--input gain=zeros --input offset=zeros"):
        loaded(path)
    model = loaded(path, inputs={"gain": "1", "offset": "zeros"})
    agrees(model)
    assert "input 'gain' is 1" in model.notes
    doubled = loaded(path, inputs={"gain": "2", "offset": "3"})
    torch.testing.assert_close(doubled.run(images()), 2 * expected(images()) + 3)
    with pytest.raises(InputError, match="has no input 'scale'"):
        loaded(path, inputs={"scale": "1"})
    with pytest.raises(InputError, match="not a number"):
        loaded(path, inputs={"gain": "much", "offset": "1"})
    with pytest.raises(InputError, match="2 values do not fit"):
        loaded(path, inputs={"gain": "1,2", "offset": "1"})


def test_constants_per_channel_are_no_second_image(tmp_path):
    """Keras' Normalization leaves its constants out of the file and makes them inputs."""
    nodes = [node("Sub", "image mean", "x"), *HEAD]
    inputs = [value("image", shape=["n", 3, 16, 16]), value("mean", shape=[1, 3, 1, 1])]
    path = saved(tmp_path / "m.onnx", nodes, inputs=inputs)
    with pytest.raises(InputError, match="more than the image 'image': mean") as caught:
        equiaudit.load_model(path, size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3, device="cpu")
    assert "input=['mean=zeros']" in caught.value.tip
    agrees(loaded(path, inputs={"mean": "zeros"}))


def test_values_are_for_onnx_only():
    with pytest.raises(InputError, match="--input"):
        loaded(net(), inputs={"a": "1"})


def test_sequences_of_tensors_and_of_maps(tmp_path):
    nodes = [*HEAD[:2], node("Flatten", "p", "f"),
             node("SequenceConstruct", "f f", "y")]  # fmt: skip
    sequence = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    agrees(loaded(saved(tmp_path / "s.onnx", nodes, outputs=[sequence]), output="y.1"))
    nodes[-1] = helper.make_node(
        "ZipMap", ["f"], ["y"], domain="ai.onnx.ml", classlabels_strings=list("abcd")
    )
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(
            TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
        )
    )
    outputs = [helper.make_value_info("y", kind)]
    agrees(loaded(saved(tmp_path / "m.onnx", nodes, outputs=outputs)))


def test_local_functions(tmp_path):
    body = helper.make_function(
        "own", "Head", ["a"], ["b"],
        [node("GlobalAveragePool", "a", "p"), node("Flatten", "p", "b")],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    graph = helper.make_graph(
        [CONV, helper.make_node("Head", ["c"], ["y"], domain="own")], "g",
        [value("x", shape=["n", 3, "h", "w"])], [value("y", shape=["n", 4])], [WEIGHT],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    proto = helper.make_model(graph, opset_imports=imports, functions=[body], ir_version=8)
    onnx.save(proto, tmp_path / "m.onnx")
    agrees(loaded(tmp_path / "m.onnx"))


def test_preprocessing_inside(tmp_path):
    """Raw pixels, channels last, of any size in; cast, laid out, resized and normalised."""
    more = [
        numpy_helper.from_array(np.array([127.5], "float32"), "mean"),
        numpy_helper.from_array(np.array([1, 3, 16, 16], "int64")[[0, 1, 2, 3]], "sizes"),
    ]
    nodes = [
        node("Cast", "u", "f", to=TensorProto.FLOAT),
        node("Transpose", "f", "t", perm=[0, 3, 1, 2]),
        helper.make_node("Resize", ["t", "", "", "sizes"], ["r"], mode="linear"),
        node("Sub", "r mean", "s"),
        node("Div", "s mean", "x"),
        *HEAD,
    ]
    inputs = [value("u", TensorProto.UINT8, [1, "h", "w", 3])]
    path = saved(tmp_path / "m.onnx", nodes, inputs=inputs, more=more)
    model = load(path, preprocess=PreprocessOverrides(size=(32, 32)), device="cpu")
    assert (model.preprocess.dtype, model.preprocess.layout) == ("uint8", "NHWC")
    assert (model.preprocess.mean, model.preprocess.std) == ((0.0,) * 3, (1.0,) * 3)
    assert model.preprocess.source["mean"] == "raw uint8 pixels"
    assert model.total_stride == (4, 4)
    raw = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    small = nn.functional.interpolate(raw.float(), (16, 16), mode="bilinear")
    torch.testing.assert_close(model.run(raw), expected(small / 127.5 - 1), rtol=1e-3, atol=1e-4)


def test_double_input(tmp_path):
    nodes = [node("Cast", "d", "x", to=TensorProto.FLOAT), *HEAD]
    inputs = [value("d", TensorProto.DOUBLE, ["n", 3, 16, 16])]
    agrees(loaded(saved(tmp_path / "m.onnx", nodes, inputs=inputs)))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (["n", 3, 64], r"sequences or signals \(3-D\)"),
        (["n", 3, 8, 16, 16], r"volumes or clips \(5-D\)"),
        (["n", 40, 16, 16], "images of 40 channels"),
    ],
)
def test_other_than_images_is_refused_by_name(shape, words, tmp_path):
    path = saved(
        tmp_path / "m.onnx", [node("Identity", "x", "y")],
        inputs=[value("x", shape=shape)], outputs=[value("y", shape=shape)],
    )  # fmt: skip
    with pytest.raises(InputError, match=words):
        loaded(path)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.Conv1d(3, 4, 3), r"signals \(1-D\)"),
        (nn.Conv3d(3, 4, 3), r"volumes or clips \(3-D\)"),
        (nn.Conv2d(12, 4, 3), "images of 12 channels"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_modules_for_other_than_images(layer, words):
    for module in (nn.Sequential(layer), torch.jit.script(nn.Sequential(layer))):
        with pytest.raises(InputError, match=words):
            loaded(module)


# Archives of torch


def exported(path, module, args, kwargs=None, shapes=None):
    program = torch.export.export(module.eval(), args, kwargs or {}, dynamic_shapes=shapes)
    torch.export.save(program, path)
    return path


class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.down, self.up = nn.Conv2d(3, 8, 2, 2), nn.ConvTranspose2d(8, 4, 2, 2)

    def forward(self, x):
        return self.up(self.down(x).relu())


def test_free_height_and_width(tmp_path):
    """Their sizes are products, Mul(Integer(2), Symbol(...)), in the archive."""
    sides = {2: 2 * torch.export.Dim("h", max=64), 3: 2 * torch.export.Dim("w", max=64)}
    shapes = ({0: torch.export.Dim("n"), **sides},)
    path = exported(tmp_path / "m.pt2", Dense(), (images(),), shapes=shapes)
    with zipfile.ZipFile(path) as archive:
        assert any(b"Mul(" in archive.read(name) for name in archive.namelist())
    model = loaded(path)
    assert model.total_stride == (2, 2)
    with torch.no_grad():
        torch.testing.assert_close(model.run(images()), Dense()(images()))


class ByKeyword(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, pixel_values=None, mask=None):
        return {"logits": self.net(pixel_values)}


def test_exported_by_keyword(tmp_path):
    shapes = {"pixel_values": {0: torch.export.Dim("n")}}
    path = exported(tmp_path / "m.pt2", ByKeyword(), (), {"pixel_values": images()}, shapes)
    model = loaded(path)
    with torch.no_grad():
        torch.testing.assert_close(model.run(images()), net()(images()))
    assert model.total_stride == (2, 2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.filterwarnings("ignore")
def test_other_floats(dtype, tmp_path):
    module, example = net().to(dtype), images().to(dtype)
    shapes = ({0: torch.export.Dim("n")},)
    script = torch.jit.trace(module, example)
    torch.jit.save(script, str(tmp_path / "m.pt"))
    exported(tmp_path / "m.pt2", module, (example,), shapes=shapes)
    with torch.no_grad():
        right = module(example).float()
    for source in (tmp_path / "m.pt", tmp_path / "m.pt2", module):
        model = loaded(source)
        assert any(str(dtype).partition(".")[2] in note for note in model.notes)
        assert model.total_stride == (2, 2)
        torch.testing.assert_close(model.run(images()), right)


class OnCuda(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, x):
        made = torch.ones(1, 3, 1, 1, device=torch.device("cuda:0"))
        return self.net(x + made).to("cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="the constants stay where they are")
@pytest.mark.filterwarnings("ignore")
def test_scripted_on_cuda_with_constants_there(tmp_path):
    torch.jit.save(torch.jit.script(OnCuda().eval()), str(tmp_path / "m.pt"))
    model = loaded(tmp_path / "m.pt")
    assert any("made on the CPU" in note for note in model.notes)
    with torch.no_grad():
        torch.testing.assert_close(model.run(images()), net()(images() + 1))


def test_a_newer_minor_schema_is_said(tmp_path):
    path = exported(tmp_path / "m.pt2", net(), (images(),), shapes=({0: torch.export.Dim("n")},))
    newer = tmp_path / "newer.pt2"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(newer, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("model.json"):
                stated = json.loads(content)
                stated["schema_version"]["minor"] += 1
                stated["colour"] = "unknown"
                content = json.dumps(stated).encode()
            new.writestr(name, content)
    assert not any("schema" in note for note in loaded(path).notes)
    assert any("passes over what is new" in note for note in loaded(newer).notes)


def test_half_precision_files_whose_casts_come_last(tmp_path):
    """onnxconverter-common appends them to the list of nodes."""
    half = onnx.load(write_onnx(net(), tmp_path / "m.onnx", images(2)))
    first = half.graph.input[0].name
    for each in half.graph.node:
        for place, name in enumerate(each.input):
            if name == first:
                each.input[place] = "cast"
    half.graph.node.append(helper.make_node("Cast", [first], ["cast"], to=TensorProto.FLOAT))
    half.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(half, tmp_path / "half.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = loaded(tmp_path / "half.onnx")
    assert model.preprocess.dtype == "float16"
    session = ort.InferenceSession(tmp_path / "half.onnx", providers=["CPUExecutionProvider"])
    right = session.run(None, {first: images().half().numpy()})[0]
    assert np.array_equal(model.run(images().half()).numpy(), right)
