"""Files that carry code: nothing may run, and the refusal is one sentence."""

import contextlib
import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from artefacts import write_onnx, write_pt2, write_torchscript
from nets import tiny_net
from torch import nn

from equiaudit.errors import InputError
from equiaudit.models import PreprocessOverrides, load

SEEN = PreprocessOverrides(size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)
EXAMPLE = torch.zeros(2, 3, 16, 16)


class Payload:
    def __init__(self, mark: Path) -> None:
        self.command = f"touch {mark}"

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture
def mark(tmp_path):
    """A path that the payloads create when they run."""
    return tmp_path / "ran"


def rewritten(source: Path, target: Path, changes: dict[str, bytes]) -> Path:
    """The archive `source` with the members whose names end with a key of `changes` replaced."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        left = dict(changes)
        for name in old.namelist():
            key = next((k for k in left if name.endswith(k)), None)
            new.writestr(name, old.read(name) if key is None else left.pop(key))
        root = old.namelist()[0].partition("/")[0]
        for name, content in left.items():
            new.writestr(f"{root}/{name}", content)
    return target


def saved(value, **options) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def refused(path: Path, mark: Path, match: str) -> None:
    with contextlib.suppress(Exception):
        load(path, preprocess=SEEN)
    assert not mark.exists(), "the code ran"
    with pytest.raises(InputError, match=match) as caught:
        load(path, preprocess=SEEN)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_control_payload_runs_when_unpickled(mark):
    pickle.loads(pickle.dumps(Payload(mark)))
    assert mark.exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_checkpoint_with_code_is_refused_by_name(tmp_path, mark, zipped, nested):
    value = {"state_dict": {"a": torch.ones(1)}, "more": [Payload(mark)]} if nested else None
    path = tmp_path / "model.pt"
    path.write_bytes(saved(value or Payload(mark), _use_new_zipfile_serialization=zipped))
    refused(path, mark, r"needs code to unpickle \(posix\.system\).*--trust")


def test_bare_pickle_with_code_is_refused(tmp_path, mark):
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(Payload(mark), protocol=2))
    refused(path, mark, "not written by torch, and was not unpickled")
    path.write_bytes(pickle.dumps(Payload(mark), protocol=5))
    refused(path, mark, "not written by torch, and was not unpickled")


def test_text_pickle_with_code_is_not_a_model(tmp_path, mark):
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps(Payload(mark), protocol=0))
    refused(path, mark, "not a model file")


def test_trust_runs_what_the_file_carries(tmp_path, mark):
    path = tmp_path / "model.pt"
    torch.save({"model": tiny_net(), "more": Payload(mark)}, path)
    model = load(path, trust=True, preprocess=SEEN, device="cpu")
    assert mark.exists()
    assert model.trusted
    assert any("--trust" in note for note in model.notes)


def test_pickled_module_needs_trust(tmp_path, mark):
    path = tmp_path / "model.pt"
    torch.save(tiny_net(), path)
    refused(path, mark, r"needs code to unpickle \(nets\.TinyNet\)")
    model = load(path, trust=True, preprocess=SEEN, device="cpu")
    assert (model.kind, model.num_classes, model.module.training) == ("module", 5, False)


@pytest.mark.parametrize("member", ["data.pkl", "constants.pkl"])
def test_code_in_a_torchscript_archive_does_not_run(tmp_path, mark, member):
    good = write_torchscript(tiny_net().eval(), tmp_path / "good.pt", EXAMPLE)
    load(rewritten(good, tmp_path / "same.pt", {}), preprocess=SEEN)  # control
    bad = rewritten(good, tmp_path / "bad.pt", {member: pickle.dumps(Payload(mark), protocol=2)})
    refused(bad, mark, "damaged TorchScript archive")


class WritesAFile(nn.Module):
    def __init__(self, path: str):
        super().__init__()
        self.path = path

    def forward(self, x):
        torch.save(x, self.path)
        return x.mean((2, 3))


def test_torchscript_that_writes_files_is_refused(tmp_path, mark):
    path = write_torchscript(WritesAFile(str(mark)), tmp_path / "w.pt", EXAMPLE, scripted=True)
    refused(path, mark, r"reads or writes files \(torch\.save\)")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return write_pt2(tiny_net().eval(), tmp_path_factory.mktemp("pt2") / "good.pt2", EXAMPLE)


def archive_json(path: Path, name: str) -> dict:
    with zipfile.ZipFile(path) as archive:
        member = next(n for n in archive.namelist() if n.endswith(name))
        return json.loads(archive.read(member))


def test_control_rewritten_export_still_loads(exported, tmp_path):
    assert load(rewritten(exported, tmp_path / "same.pt2", {}), preprocess=SEEN).num_classes == 5


@pytest.mark.parametrize("member", ["data/sample_inputs/model.pt", "data/weights/model.pt"])
def test_pickled_members_of_an_export_do_not_run(exported, tmp_path, mark, member):
    bad = rewritten(exported, tmp_path / "bad.pt2", {member: saved(Payload(mark))})
    refused(bad, mark, r"needs code to unpickle \(posix\.system\)")


def test_pickled_weight_of_an_export_does_not_run(exported, tmp_path, mark):
    config = archive_json(exported, "model_weights_config.json")
    next(iter(config["config"].values()))["use_pickle"] = True
    place = next(iter(config["config"].values()))["path_name"]
    changes = {
        "model_weights_config.json": json.dumps(config).encode(),
        f"data/weights/{place}": saved(Payload(mark)),
    }
    refused(rewritten(exported, tmp_path / "bad.pt2", changes), mark, "needs code")


@pytest.mark.parametrize("prefix", ["custom_obj_0", "opaque_obj_0"])
def test_pickled_constant_of_an_export_does_not_run(exported, tmp_path, mark, prefix):
    payload = {"path_name": prefix, "is_param": False, "use_pickle": True, "tensor_meta": None}
    changes = {
        "model_constants_config.json": json.dumps({"config": {"c": payload}}).encode(),
        f"data/constants/{prefix}": pickle.dumps(Payload(mark)),
    }
    refused(rewritten(exported, tmp_path / "bad.pt2", changes), mark, "carries Python objects")


def test_compiled_code_in_an_export_is_refused(exported, tmp_path, mark):
    changes = {"data/aotinductor/model/model.so": b"\x7fELF"}
    refused(rewritten(exported, tmp_path / "bad.pt2", changes), mark, "compiled code")


def injected(graph: dict, kind: str, mark: Path) -> None:
    code = f"__import__('os').system('touch {mark}')"
    program = graph["graph_module"]
    if kind == "expression":
        sizes = program["graph"]["tensor_values"]["x"]["sizes"]
        sizes[0]["as_expr"]["expr_str"] = code
    elif kind == "argument name":
        program["module_call_graph"][0]["signature"]["forward_arg_names"] = [f"x={code}"]
    elif kind == "placeholder":
        program["graph"]["inputs"][-1]["as_tensor"]["name"] = f"x={code}"
    elif kind == "operator":
        program["graph"]["nodes"][0]["target"] = "torch.serialization.os.system"
    elif kind == "file operator":
        program["graph"]["nodes"][0]["target"] = "torch.ops.aten.from_file.default"
    else:
        tree = json.dumps({"default_factory_module": "antigravity"})
        program["module_call_graph"][0]["signature"]["in_spec"] = tree


@pytest.mark.parametrize(
    "kind",
    ["expression", "argument name", "placeholder", "operator", "file operator", "tree"],
)
def test_code_in_the_graph_of_an_export_does_not_run(exported, tmp_path, mark, kind):
    graph = archive_json(exported, "models/model.json")
    injected(graph, kind, mark)
    changes = {"models/model.json": json.dumps(graph).encode()}
    refused(rewritten(exported, tmp_path / "bad.pt2", changes), mark, "where a graph of operators")


def test_code_in_a_second_graph_of_an_export_does_not_run(exported, tmp_path, mark):
    graph = archive_json(exported, "models/model.json")
    injected(graph, "expression", mark)
    changes = {"models/a": json.dumps(graph).encode()}
    refused(rewritten(exported, tmp_path / "bad.pt2", changes), mark, "where a graph of operators")


@pytest.fixture(scope="module")
def with_external_data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    return write_onnx(tiny_net().eval(), folder / "good.onnx", EXAMPLE, external_data=True)


def moved(source: Path, target: Path, place: str) -> Path:
    import onnx

    proto = onnx.load(source, load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = place
    target.write_bytes(proto.SerializeToString())
    return target


@pytest.mark.parametrize("place", ["../{}", "/etc/passwd", "a/../../{}"])
def test_external_data_outside_the_folder_is_refused(with_external_data, tmp_path, mark, place):
    data = with_external_data.with_name(with_external_data.name + ".data")
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / data.name).write_bytes(data.read_bytes())
    bad = moved(with_external_data, inner / "bad.onnx", place.format(data.name))
    refused(bad, mark, "outside the model's folder")


def test_external_data_through_a_link_is_refused(with_external_data, tmp_path, mark):
    data = with_external_data.with_name(with_external_data.name + ".data")
    (tmp_path / data.name).symlink_to(data)
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(with_external_data.read_bytes())
    refused(bad, mark, "outside the model's folder")


def test_missing_external_data_is_named(with_external_data, tmp_path, mark):
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(with_external_data.read_bytes())
    refused(bad, mark, r"external data 'good\.onnx\.data' .* is missing")
