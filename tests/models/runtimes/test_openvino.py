"""OpenVINO runs ONNX files and its own, and says how; what it cannot do is one sentence."""

import importlib.util
import re

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import equiaudit
from equiaudit.errors import InputError
from equiaudit.models import load
from equiaudit.models.onnx import onnx_forward
from equiaudit.models.preprocess import PREPROCESS_KEY
from equiaudit.models.runtimes import RUNTIMES, registry

openvino = pytest.importorskip("openvino")

STATED = "size = [16, 16]\nmean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\nchannels = 'bgr'"
BATCH = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
CLASSES = 4
ENTITY = '<!DOCTYPE n [<!ENTITY a "b">]>'


def write_net(path, *, batch="batch", pad=None, nhwc=False, extra=False):
    """Two convolutions, a mean and a dense layer, with names of its own and metadata."""
    rng = np.random.default_rng(0)
    shapes = {"w1": (8, 3, 3, 3), "w2": (8, 8, 3, 3), "d": (8, CLASSES)}
    tensors = [
        numpy_helper.from_array(rng.normal(size=s).astype(np.float32) / 3, n)
        for n, s in shapes.items()
    ]
    nodes = [
        *([helper.make_node("Transpose", ["photo"], ["first"], perm=[0, 3, 1, 2])] if nhwc else []),
        *([helper.make_node("Pad", ["photo", "p"], ["first"], mode=pad)] if pad else []),
        helper.make_node(
            "Conv", ["first" if nhwc or pad else "photo", "w1"], ["a"], strides=[2, 2]
        ),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["m"]),
        helper.make_node("Flatten", ["m"], ["f"]),
        helper.make_node("MatMul", ["f", "d"], ["logits"]),
    ]
    if extra:
        nodes[-1].output[0] = "plain"
        nodes.append(helper.make_node("Mul", ["plain", "gain"], ["logits"]))
    if pad:
        tensors.append(numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1]), "p"))
    shape = [batch, 16, 16, 3] if nhwc else [batch, 3, 16, 16]
    inputs = [helper.make_tensor_value_info("photo", TensorProto.FLOAT, shape)]
    if extra:
        inputs.append(helper.make_tensor_value_info("gain", TensorProto.FLOAT, [1]))
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, CLASSES])
    graph = helper.make_graph(nodes, "net", inputs, [output], tensors)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    entry = proto.metadata_props.add()
    entry.key, entry.value = PREPROCESS_KEY, STATED
    onnx.save(proto, path)
    return path


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return write_net(tmp_path_factory.mktemp("net") / "net.onnx")


def convert(path, target):
    """An ONNX file as OpenVINO's own two, in full precision."""
    openvino.save_model(openvino.Core().read_model(path), target, compress_to_fp16=False)
    return target


@pytest.fixture(scope="module")
def converted(net):
    return convert(net, net.with_suffix(".xml"))


@pytest.fixture
def own(converted, tmp_path):
    """The same net as OpenVINO's own files, to be changed."""
    for suffix in (".xml", ".bin"):
        (tmp_path / f"net{suffix}").write_bytes(converted.with_suffix(suffix).read_bytes())
    return tmp_path / "net.xml"


def near(found, expected):
    return torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("nhwc", [False, True])
def test_an_onnx_file_gives_what_onnxruntime_gives(tmp_path, nhwc):
    path = write_net(tmp_path / "net.onnx", nhwc=nhwc)
    theirs, ours = (load(path, backend=name, device="cpu") for name in ("onnxruntime", "openvino"))
    assert ours.backend == "openvino"
    assert ours.output == theirs.output == "logits"
    assert near(ours.run(BATCH), theirs.run(BATCH))


def test_precision_threads_and_version_are_said(net):
    (said,) = (note for note in load(net, backend="openvino").notes if "OpenVINO" in note)
    threads = torch.get_num_threads()
    wanted = rf"OpenVINO \d+\.\d+\S* on the CPU, inference_precision f32, threads: {threads}$"
    assert re.search(wanted, said)


def test_its_own_files_say_what_the_onnx_file_said(own, net):
    model, source = load(own), load(net, device="cpu")
    assert (model.kind, model.backend) == ("openvino", "openvino")
    assert (model.preprocess.mean, model.preprocess.channels) == ((0.5, 0.5, 0.5), "bgr")
    assert model.preprocess.source["mean"] == "OpenVINO metadata"
    assert near(model.run(BATCH), source.run(BATCH))


def test_the_hash_covers_the_weights(own):
    before = load(own).sha256
    weights = own.with_suffix(".bin")
    content = bytearray(weights.read_bytes())
    content[3] ^= 1
    weights.write_bytes(content)
    assert load(own).sha256 != before


def test_an_answer_is_not_overwritten_by_the_next(net):
    run = RUNTIMES["openvino"].forward(net, torch.device("cpu"), what="net")
    first = run(BATCH)["logits"]
    kept = first.clone()
    run(BATCH.flip(0))
    assert torch.equal(first, kept)


def test_many_sizes_of_batches_give_one_answer(net):
    model = load(net, backend="openvino")
    whole = model.run(torch.cat([BATCH, BATCH]))
    for count in (1, 2, 3, 4, 5, 1):
        assert near(model.run(torch.cat([BATCH, BATCH])[:count]), whole[:count])


def test_a_fixed_batch_is_fed_in_pieces(tmp_path):
    path = write_net(tmp_path / "two.onnx", batch=2)
    model = load(path, backend="openvino")
    assert model.fixed_batch == 2
    assert near(model.run(BATCH), load(path, device="cpu").run(BATCH))


def test_another_input_gets_its_value(tmp_path):
    path = write_net(tmp_path / "net.onnx", extra=True)
    convert(path, tmp_path / "net.xml")
    plain = load(path, inputs={"gain": "1"}, backend="openvino").run(BATCH)
    for file in (path, tmp_path / "net.xml"):
        twice = load(file, inputs={"gain": "2"}, backend="openvino").run(BATCH)
        assert near(twice, 2 * plain)
    with pytest.raises(InputError, match=r"Give all others a value with --input NAME=VALUE"):
        load(tmp_path / "net.xml")


def test_a_torch_net_goes_through_onnx():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    how = {"size": (16, 16), "mean": (0.5,) * 3, "std": (0.25,) * 3, "device": "cpu"}
    model = equiaudit.load_model(module.eval(), backend="openvino", **how)
    assert model.backend == "openvino"
    assert near(model.run(BATCH), module(BATCH))


def test_what_it_cannot_read_is_named(tmp_path):
    path = write_net(tmp_path / "wraps.onnx", pad="wrap")
    assert onnx_forward(path, torch.device("cpu"), what="it")(BATCH)
    with pytest.raises(InputError, match=r"cannot read wraps.onnx: .*\[wrap\].* --for openvino"):
        load(path, backend="openvino")


def test_it_runs_on_the_cpu_alone(net):
    with pytest.raises(InputError, match=r"cannot run net on cuda. Use --device cpu"):
        RUNTIMES["openvino"].forward(net, torch.device("cuda"), what="net")


def test_a_missing_package_is_one_sentence(net, monkeypatch):
    find = importlib.util.find_spec
    hidden = lambda name: None if name == "openvino" else find(name)  # noqa: E731
    monkeypatch.setattr(registry, "find_spec", hidden)
    with pytest.raises(InputError, match=r"not installed. pip install 'equiaudit\[openvino\]'"):
        load(net, backend="openvino")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda xml: xml.with_suffix(".bin").unlink(), r"weights net.bin are not beside it"),
        (lambda xml: xml.write_bytes(xml.read_bytes()[:900]), "damaged"),
        (lambda xml: _edit(xml, "<net ", f"{ENTITY}<net "), "not a model file"),
        (lambda xml: _edit(xml, "<net ", f"<!---->{ENTITY}<!----><net "), "entities"),
        (lambda xml: _edit(xml, 'element_type="f32" />', 'element_type="i32" />', 1), "i32 input"),
    ],
)
def test_a_damaged_or_hostile_graph_is_refused(own, change, said):
    change(own)
    with pytest.raises(InputError, match=said):
        load(own)


def _edit(path, old, new, count=-1):
    path.write_text(path.read_text().replace(old, new, count))


def test_other_backends_cannot_run_its_files(own):
    with pytest.raises(InputError, match=r"the backend 'torch' cannot run it. Use --backend open"):
        load(own, backend="torch")
    with pytest.raises(InputError, match=r"the backend 'onnxruntime' cannot run it"):
        load(own, backend="onnxruntime")
