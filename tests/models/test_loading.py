"""What load makes of every kind of source, and what it says of bad ones."""

import hashlib
import sys
from pathlib import Path

import onnx
import pytest
import torch
import torchvision
from artefacts import write_onnx, write_pt2, write_torchscript
from nets import TinyNet, tiny_net
from onnx import TensorProto, helper
from safetensors.torch import save_file
from torch import nn

import equiaudit.models as models
from equiaudit.errors import InputError, RunError
from equiaudit.models import PreprocessOverrides, load

SEEN = PreprocessOverrides(size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)
EXAMPLE = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
BATCH = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(2))


def loaded(spec, **options):
    return load(spec, **{"preprocess": SEEN, "device": "cpu", **options})


def expected() -> torch.Tensor:
    with torch.no_grad():
        return tiny_net().eval()(BATCH)


def write_checkpoint(path: Path, zipped: bool = True) -> Path:
    torch.save(tiny_net().state_dict(), path, _use_new_zipfile_serialization=zipped)
    return path


def write_safetensors(path: Path) -> Path:
    save_file(tiny_net().state_dict(), path)
    return path


WRITERS = {
    "torchscript": lambda p: write_torchscript(tiny_net().eval(), p, EXAMPLE),
    "scripted": lambda p: write_torchscript(tiny_net().eval(), p, EXAMPLE, scripted=True),
    "export": lambda p: write_pt2(tiny_net().eval(), p, EXAMPLE),
    "export-fixed": lambda p: write_pt2(tiny_net().eval(), p, EXAMPLE, dynamic_batch=False),
    "onnx": lambda p: write_onnx(tiny_net().eval(), p, EXAMPLE),
    "onnx-fixed": lambda p: write_onnx(tiny_net().eval(), p, EXAMPLE, dynamic_batch=False),
    "onnx-external": lambda p: write_onnx(tiny_net().eval(), p, EXAMPLE, external_data=True),
    "checkpoint": write_checkpoint,
    "legacy": lambda p: write_checkpoint(p, zipped=False),
    "safetensors": write_safetensors,
}
NEED_ARCH = {"checkpoint", "legacy", "safetensors"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One file of every kind, all named .bin: the suffix tells nothing."""
    folder = tmp_path_factory.mktemp("models")
    return {kind: write(folder / f"{kind}.bin") for kind, write in WRITERS.items()}


def arch_of(kind: str) -> str | None:
    return "nets:tiny_net" if kind in NEED_ARCH else None


@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_gives_the_module_s_logits(files, kind):
    model = loaded(files[kind], arch=arch_of(kind))
    assert torch.allclose(model.run(BATCH), expected(), atol=1e-5)
    assert model.run(BATCH).dtype == torch.float32
    assert (model.task, model.num_classes, model.total_stride) == ("classification", 5, (4, 4))
    assert model.fixed_batch == (2 if kind.endswith("fixed") else None)
    assert not model.outputs_probabilities
    assert any("eval mode" in note for note in model.notes)


@pytest.mark.parametrize("kind", sorted(set(WRITERS) - {"onnx-external"}))
def test_sha256_is_of_the_file(files, kind):
    digest = hashlib.sha256(files[kind].read_bytes()).hexdigest()
    assert loaded(files[kind], arch=arch_of(kind)).sha256 == digest


def test_sha256_covers_external_data(files):
    path = files["onnx-external"]
    data = path.with_name(path.name + ".data")
    before = loaded(path).sha256
    content = data.read_bytes()
    assert before == hashlib.sha256(path.read_bytes() + content).hexdigest()


@pytest.mark.parametrize("kind", sorted(set(WRITERS) - {"onnx-external"}))
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_files_are_one_sentence(files, kind, share, tmp_path):
    content = files[kind].read_bytes()
    path = tmp_path / "cut.bin"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"damaged|truncated|not a valid") as caught:
        loaded(path, arch=arch_of(kind))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello, I am a text file\n" * 9, b"PK", b"\x89PNG\r\n"])
def test_other_files_are_not_models(tmp_path, content):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not a model file"):
        loaded(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        loaded(tmp_path / "nothing.pt")
    with pytest.raises(InputError, match="is a folder"):
        loaded(tmp_path)


@pytest.mark.parametrize("kind", sorted(NEED_ARCH))
def test_weights_need_an_architecture(files, kind):
    with pytest.raises(InputError, match="Add --arch"):
        loaded(files[kind])


@pytest.mark.parametrize("kind", ["torchscript", "export", "onnx"])
def test_archives_have_their_own_architecture(files, kind):
    with pytest.raises(InputError, match="Leave --arch out"):
        loaded(files[kind], arch="nets:tiny_net")


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict", "net"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "model."])
def test_wrappers_and_prefixes_are_taken_off(tmp_path, wrapper, prefix):
    state = {prefix + name: value for name, value in tiny_net().state_dict().items()}
    torch.save({"epoch": 3, wrapper: state}, tmp_path / "c.pt")
    model = loaded(tmp_path / "c.pt", arch="nets:tiny_net")
    assert torch.allclose(model.run(BATCH), expected(), atol=1e-6)


def test_wrong_architecture_names_the_keys(tmp_path):
    state = tiny_net().state_dict()
    state["extra"] = torch.zeros(1)
    del state["conv2.bias"], state["conv2.weight"]
    state["head.weight"] = torch.zeros(7, 9)
    torch.save(state, tmp_path / "c.pt")
    with pytest.raises(InputError) as caught:
        loaded(tmp_path / "c.pt", arch="nets:tiny_net")
    said = str(caught.value)
    assert "2 missing from the file (conv2.weight, conv2.bias)" in said
    assert "1 not in the architecture (extra)" in said
    assert "head.weight is 7x9 in the file and 5x8 in the architecture" in said


def test_torchvision_classifier_width_is_inferred(tmp_path):
    net = torchvision.models.squeezenet1_1(weights=None, num_classes=7)
    torch.save(net.state_dict(), tmp_path / "c.pt")
    seen = PreprocessOverrides(size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)
    model = loaded(tmp_path / "c.pt", arch="torchvision:squeezenet1_1", preprocess=seen)
    assert model.num_classes == 7


def test_state_dict_is_found_when_there_is_none(tmp_path):
    torch.save({"epoch": 3, "loss": 0.5}, tmp_path / "c.pt")
    with pytest.raises(InputError, match=r"no state dict \(found a dict with the keys epoch, loss"):
        loaded(tmp_path / "c.pt", arch="nets:tiny_net")


@pytest.mark.parametrize(
    ("arch", "said"),
    [
        ("resnet18", "is not an architecture"),
        ("torchvision:resnet19", "Did you mean resnet18"),
        ("no_such_package:make", "no_such_package cannot be imported"),
        ("nets:no_such_net", "has no factory 'no_such_net'"),
        ("builtins:dict", "returned dict, not a torch module"),
        ("nets:CifarBlock", "failed: TypeError"),
    ],
)
def test_bad_architectures_are_one_sentence(files, arch, said):
    with pytest.raises(InputError, match=said):
        loaded(files["checkpoint"], arch=arch)


def test_factories_are_found_in_the_current_folder(files, tmp_path, monkeypatch):
    (tmp_path / "my_own_net.py").write_text("from nets import tiny_net as make\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert loaded(files["checkpoint"], arch="my_own_net:make").num_classes == 5
    assert sys.path == before


def test_torchvision_name_needs_weights():
    with pytest.raises(InputError, match="IMAGENET1K_V1"):
        loaded("torchvision:resnet18")
    with pytest.raises(InputError, match="has no model 'resnet19'"):
        loaded("torchvision:resnet19/IMAGENET1K_V1")
    with pytest.raises(InputError, match="has no weights 'NOPE'"):
        loaded("torchvision:resnet18/NOPE")


def test_torchvision_weights_bring_their_preprocessing(monkeypatch):
    weights = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    state = torchvision.models.squeezenet1_1(weights=None).state_dict()
    monkeypatch.setattr(type(weights), "get_state_dict", lambda self, *a, **k: state)
    model = load("torchvision:squeezenet1_1/IMAGENET1K_V1", device="cpu")
    seen = model.preprocess
    assert (seen.size, seen.resize, seen.mean) == ((224, 224), 256, (0.485, 0.456, 0.406))
    assert seen.source["mean"].startswith("torchvision weights SqueezeNet1_1_Weights")
    assert len(model.class_names) == 1000
    assert model.class_names[0] == "tench"


def test_weights_that_cannot_be_fetched_are_one_sentence(monkeypatch):
    weights = torchvision.models.ResNet18_Weights.IMAGENET1K_V1

    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(type(weights), "get_state_dict", offline)
    with pytest.raises(InputError, match="cannot be fetched: no route to host"):
        loaded("torchvision:resnet18/IMAGENET1K_V1")


def test_timm_absent_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"timm is not installed.*equiaudit\[timm\]"):
        loaded("timm:resnet18")


def test_timm_state_dict(tmp_path):
    timm = pytest.importorskip("timm")
    torch.save(timm.create_model("test_resnet", num_classes=6).state_dict(), tmp_path / "c.pt")
    seen = PreprocessOverrides(size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)
    model = loaded(tmp_path / "c.pt", arch="timm:test_resnet", preprocess=seen)
    assert model.num_classes == 6


def test_modules_are_put_in_eval_mode_and_hashed():
    first, second, other = loaded(tiny_net()), loaded(tiny_net()), loaded(TinyNet())
    assert not first.module.training
    assert first.sha256 == second.sha256 != other.sha256
    assert torch.equal(first.run(BATCH), expected())


def test_modules_of_exported_programs_have_no_modes():
    def module_of(net):
        return torch.export.export(net, (EXAMPLE,)).module()

    eval_mode, reading = loaded(module_of(tiny_net().eval())).notes
    assert eval_mode == "exported in eval mode"
    assert reading == "read as scores of 5 classes, which nothing contradicts"
    with pytest.raises(InputError, match="in training mode"):
        loaded(module_of(tiny_net().train()))


@pytest.mark.parametrize("write", [write_torchscript, write_pt2])
def test_training_mode_that_cannot_be_left_is_refused(tmp_path, write):
    path = write(tiny_net().train(), tmp_path / "m.bin", EXAMPLE)
    with pytest.raises(InputError, match="in training mode"):
        loaded(path)


def test_scripted_training_mode_is_left(tmp_path):
    path = write_torchscript(tiny_net().train(), tmp_path / "m.pt", EXAMPLE, scripted=True)
    assert torch.allclose(loaded(path).run(BATCH), expected(), atol=1e-6)


class Returns(nn.Module):
    """Returns what `make` makes of the batch."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x)


def scores(x, classes=4):
    return x.flatten(1)[:, :classes]


@pytest.mark.parametrize(
    ("make", "task", "shape"),
    [
        (lambda x: (x.sum(), scores(x)), "classification", (5, 4)),
        (lambda x: {"aux": x[:, 0], "out": scores(x)}, "classification", (5, 4)),
        (lambda x: [None, {"deep": [scores(x)]}], "classification", (5, 4)),
        (lambda x: scores(x)[:, :, None, None], "classification", (5, 4)),
        (lambda x: x[:, :2, ::2, ::2], "segmentation", (5, 2, 8, 8)),
    ],
)
def test_the_first_output_that_fits_is_taken(make, task, shape):
    model = loaded(Returns(make))
    assert model.task == task
    assert model.run(BATCH).shape == shape
    assert model.num_classes == shape[1]


@pytest.mark.parametrize("output", ["small", 1, "1"])
def test_named_output(output):
    module = Returns(lambda x: {"large": scores(x, 9), "small": scores(x, 3)})
    assert loaded(module, output=output).num_classes == 3
    assert loaded(module).num_classes == 9
    with pytest.raises(InputError, match=r"large \(2, 9\), small \(2, 3\)"):
        loaded(module, output="none")


def test_task_chooses_among_outputs():
    module = Returns(lambda x: (scores(x), x))
    assert loaded(module).task == "classification"
    assert loaded(module, task="segmentation").run(BATCH).shape == BATCH.shape
    assert loaded(module, task="image").task == "image"


@pytest.mark.parametrize(
    "make", [lambda x: x.sum(), lambda x: x[:, 0], lambda x: x.mean((1, 2, 3))]
)
def test_outputs_that_fit_no_task_are_shown(make):
    with pytest.raises(InputError, match=r"returns no scores .* for a batch of 2: output \("):
        loaded(Returns(make))


def test_probabilities_are_told_from_logits():
    assert loaded(Returns(lambda x: scores(x).softmax(1))).outputs_probabilities
    assert not loaded(Returns(scores)).outputs_probabilities
    assert loaded(Returns(lambda x: x.softmax(1))).outputs_probabilities


def fails(x):
    raise ValueError("the first line\nthe second line")


def test_a_model_that_raises_is_a_run_error_with_its_first_line():
    with pytest.raises(RunError, match=r"ValueError: the first line\.$") as caught:
        loaded(Returns(fails))
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_model_that_raises_later_is_a_run_error():
    model = loaded(Returns(lambda x: scores(x) if len(x) < 3 else fails(x)))
    with pytest.raises(RunError, match="5x3x16x16"):
        model.run(BATCH)


def test_one_image_per_batch_is_found_out():
    module = Returns(lambda x: scores(x.view(1, 3, 16, 16)))
    model = loaded(module)
    assert model.fixed_batch == 1
    assert torch.equal(model.run(BATCH), scores(BATCH))


def test_given_stride_wins():
    assert loaded(tiny_net(), stride=8).total_stride == (8, 8)
    assert loaded(tiny_net(), stride=(8, 2)).total_stride == (8, 2)


def test_devices_and_backends(files):
    for device in ("tpu9", "cuda:99", "mps"):
        with pytest.raises(InputError, match="device"):
            loaded(tiny_net(), device=device)
    for backend in ("torch", "compile"):
        with pytest.raises(InputError, match="is an ONNX model"):
            loaded(files["onnx"], backend=backend)
    with pytest.raises(InputError, match="is an archive"):
        loaded(files["torchscript"], backend="compile")
    with pytest.raises(InputError, match="Unknown backend 'tvm'"):
        loaded(tiny_net(), backend="tvm")


def test_onnxruntime_runs_a_torch_module():
    model = loaded(tiny_net(), backend="onnxruntime")
    assert model.backend == "onnxruntime"
    assert torch.allclose(model.run(BATCH), expected(), atol=1e-5)


class ExportsWrongly(nn.Module):
    def forward(self, x):
        return scores(x) * (2 if torch.compiler.is_exporting() else 1)


def test_an_export_that_differs_from_torch_is_refused():
    with pytest.raises(InputError, match="differs from torch"):
        loaded(ExportsWrongly(), backend="onnxruntime")


def test_compile_gives_the_same(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda module: module)
    assert loaded(tiny_net(), backend="compile").backend == "compile"


def write_graph(path, shape, elem_type, nodes, *, initializers=(), listed=False) -> Path:
    """A hand-made ONNX file: input "x" of `shape` through `nodes` to the output "y"."""
    infos = [helper.make_tensor_value_info("x", elem_type, shape)]
    if listed:
        infos += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in initializers]
    graph = helper.make_graph(
        nodes, "g", infos, [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "c"])],
        list(initializers),
    )  # fmt: skip
    opset = helper.make_opsetid("", 17)
    path.write_bytes(
        helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
    )
    return path


def mean_nodes(axes):
    cast = helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT)
    return [cast, helper.make_node("ReduceMean", ["f"], ["y"], axes=axes, keepdims=0)]


def test_onnx_uint8_nhwc_input_takes_raw_pixels(tmp_path):
    path = write_graph(tmp_path / "m.onnx", ["n", 16, 16, 3], TensorProto.UINT8, mean_nodes([1, 2]))
    model = load(path, device="cpu")
    seen = model.preprocess
    assert (seen.size, seen.dtype, seen.layout) == ((16, 16), "uint8", "NHWC")
    assert (seen.mean, seen.std) == ((0.0,) * 3, (1.0,) * 3)
    pixels = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    assert torch.allclose(model.run(pixels), pixels.float().mean((2, 3)), rtol=1e-5)
    with pytest.raises(InputError, match="raw uint8 pixels, so mean"):
        loaded(path)


def test_onnx_float16_input(tmp_path):
    path = write_graph(tmp_path / "m.onnx", [1, 3, 16, 16], TensorProto.FLOAT16, mean_nodes([2, 3]))
    model = loaded(path)
    assert (model.preprocess.dtype, model.fixed_batch) == ("float16", 1)
    assert model.run(BATCH.half()).dtype == torch.float32
    assert torch.allclose(model.run(BATCH.half()), BATCH.mean((2, 3)), atol=1e-3)


def test_onnx_initialisers_listed_as_inputs(tmp_path):
    weight = helper.make_tensor("w", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[2, 3], keepdims=0),
        helper.make_node("Mul", ["m", "w"], ["y"]),
    ]
    path = write_graph(
        tmp_path / "m.onnx", ["n", 3, 16, 16], TensorProto.FLOAT, nodes,
        initializers=[weight], listed=True,
    )  # fmt: skip
    assert torch.allclose(
        loaded(path).run(BATCH), BATCH.mean((2, 3)) * torch.tensor([1.0, 2, 3]), atol=1e-5
    )


def test_onnx_with_several_outputs(tmp_path):
    module = Returns(lambda x: (x * 2, scores(x, 3)))
    path = write_onnx(module, tmp_path / "m.onnx", EXAMPLE)
    assert loaded(path).task == "segmentation"
    model = loaded(path, output=1)
    assert torch.allclose(model.run(BATCH), scores(BATCH, 3))
    assert any(note.startswith("output ") for note in model.notes)


def test_onnx_invalid_graph_and_inputs(tmp_path):
    bad = [helper.make_node("NoSuchOperator", ["x"], ["y"])]
    with pytest.raises(InputError, match=r"not a valid ONNX model|cannot run"):
        loaded(write_graph(tmp_path / "a.onnx", [1, 3, 16, 16], TensorProto.FLOAT, bad))
    with pytest.raises(InputError, match="takes int64 input"):
        loaded(
            write_graph(tmp_path / "b.onnx", [1, 3, 8, 8], TensorProto.INT64, mean_nodes([2, 3]))
        )
    with pytest.raises(InputError, match="one 4-D batch"):
        loaded(write_graph(tmp_path / "c.onnx", [1, 3], TensorProto.FLOAT, mean_nodes([1])))
    with pytest.raises(InputError, match="images of 2 channels"):
        loaded(
            write_graph(tmp_path / "d.onnx", [1, 2, 8, 8], TensorProto.FLOAT, mean_nodes([2, 3]))
        )


def test_onnx_metadata_states_the_preprocessing(files, tmp_path):
    proto = onnx.load(files["onnx"])
    text = "size = [16, 16]\nmean = [0, 0, 0]\nstd = [1, 1, 1]\npixel_range = 255\n"
    helper.set_model_props(proto, {models.PREPROCESS_KEY: text})
    onnx.save(proto, tmp_path / "m.onnx")
    seen = load(tmp_path / "m.onnx", device="cpu").preprocess
    assert seen.std == pytest.approx((1 / 255,) * 3)
    assert seen.source["std"] == "ONNX metadata"


@pytest.mark.parametrize("write", [write_torchscript, write_pt2])
def test_extra_files_state_the_preprocessing(tmp_path, write):
    text = "size = [16, 16]\nmean = [0.5, 0.5, 0.5]\nstd = [1, 1, 1]\n"
    net = tiny_net().eval()
    path = write(net, tmp_path / "m.bin", EXAMPLE, extra_files={"preprocess.toml": text})
    assert load(path, device="cpu").preprocess.mean == (0.5,) * 3


def test_safetensors_metadata_states_the_preprocessing(tmp_path):
    text = "size = [16, 16]\nmean = [0.5, 0.5, 0.5]\nstd = [1, 1, 1]\n"
    save_file(tiny_net().state_dict(), tmp_path / "m.st", metadata={models.PREPROCESS_KEY: text})
    seen = load(tmp_path / "m.st", arch="nets:tiny_net", device="cpu").preprocess
    assert seen.source["size"] == "safetensors metadata"


class OneScore(nn.Module):
    """A binary classifier: one number per image, behind a sigmoid or bare."""

    def __init__(self, sigmoid: bool) -> None:
        super().__init__()
        self.head = nn.Linear(3, 1)
        self.sigmoid = sigmoid

    def forward(self, x):
        score = self.head(x.mean((2, 3)))
        return score.sigmoid() if self.sigmoid else score * 0.1 + 0.5


@pytest.mark.parametrize("sigmoid", [True, False])
def test_a_single_score_is_told_from_a_probability(sigmoid):
    stated = PreprocessOverrides(size=(8, 8), mean=(0.5,) * 3, std=(0.2,) * 3)
    torch.manual_seed(0)
    model = load(OneScore(sigmoid), preprocess=stated)
    assert model.num_classes == 1
    assert model.outputs_probabilities is sigmoid


def test_several_classes_come_before_a_single_score():
    class Both(OneScore):
        def forward(self, x):
            return {"quality": super().forward(x), "label": x.mean((2, 3))}

    stated = PreprocessOverrides(size=(8, 8), mean=(0.5,) * 3, std=(0.2,) * 3)
    assert load(Both(False), preprocess=stated).num_classes == 3
    assert load(Both(False), preprocess=stated, output="quality").num_classes == 1
