from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch
from repair import repair_nets as nets
from torch import fx

from equiaudit.errors import InputError, RunError
from equiaudit.graphs.capture import capture
from equiaudit.graphs.portable import plain_graph, scriptable
from equiaudit.models.preprocess import PREPROCESS_KEY, read_preprocess_file
from equiaudit.models.types import Preprocess
from equiaudit.repair.save.formats import FORMATS
from equiaudit.repair.save.write import save

SIZE = (16, 24)
PREPROCESS = Preprocess(size=SIZE, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), channels="bgr")
SUFFIXES = tuple(FORMATS)

# What a user without equiaudit writes. `path` is given; `run` must come out.
PLAIN_USE = {
    ".pt": """
        import torch
        run = torch.jit.load(path)""",
    ".pt2": """
        import torch
        run = torch.export.load(path).module()""",
    ".onnx": """
        import onnxruntime, torch
        net = onnxruntime.InferenceSession(path)
        run = lambda x: torch.from_numpy(net.run(None, {"image": x.numpy()})[0])""",
    ".safetensors": """
        import torch
        from safetensors.torch import load_file
        run = torch.jit.load(path.replace(".safetensors", ".graph.pt"))
        run.load_state_dict({k: v.clone() for k, v in load_file(path).items()}, assign=True)""",
}
RUN_ALONE = """
import sys
sys.modules["equiaudit"] = None  # importing it fails, wherever it may be installed
path, data = sys.argv[1:]
{use}
cases = torch.load(data)
with torch.no_grad():
    for x, expected in cases:
        actual = run(x)
        scale = float(expected.max() - expected.min())
        assert actual.shape == expected.shape
        error = float((actual - expected).abs().max()) / scale
        assert error <= {tolerance}, error
try:
    import equiaudit
except ImportError:
    print("ran alone")
"""


def images(n: int) -> torch.Tensor:
    return torch.randn(n, 3, *SIZE, generator=torch.Generator().manual_seed(n))


@pytest.fixture(scope="module")
def graph() -> fx.GraphModule:
    return capture(nets.TinyResNet(circular=True, view=True), size=SIZE).graph_module


@pytest.fixture(scope="module", params=SUFFIXES)
def saved(request: pytest.FixtureRequest, graph: fx.GraphModule, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / f"fixed{request.param}"
    return save(graph, path, example=images(3), preprocess=PREPROCESS)


def test_the_file_runs_without_equiaudit_at_other_batch_sizes(saved, graph, tmp_path) -> None:
    data = tmp_path / "cases.pth"
    with torch.no_grad():
        torch.save([(images(n), graph(images(n))) for n in (1, 5)], data)
    suffix = saved.path.suffix
    use = "\n".join(line.strip() for line in PLAIN_USE[suffix].splitlines())
    code = RUN_ALONE.format(use=use, tolerance=1e-5 if suffix == ".onnx" else 0)
    result = subprocess.run(
        [sys.executable, "-I", "-W", "ignore", "-c", code, str(saved.path), str(data)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert result.stdout.strip() == "ran alone", result.stderr


def test_nothing_else_is_left_in_the_folder(saved) -> None:
    there = {file.name for file in saved.path.parent.iterdir()}
    assert there == {saved.path.name, *(file.name for file in saved.companions)}
    assert saved.verified
    assert saved.bytes == sum(file.stat().st_size for file in saved.path.parent.iterdir())


def test_the_preprocessing_travels_as_a_sidecar(saved) -> None:
    fields = read_preprocess_file(saved.path.with_name(saved.path.name + ".toml"))
    assert {key: item.value for key, item in fields.items()} == {
        "size": SIZE,
        "mean": PREPROCESS.mean,
        "std": PREPROCESS.std,
        "channels": "bgr",
        "dtype": "float32",
        "layout": "NCHW",
        "interpolation": "bilinear",
    }


def test_no_path_of_this_machine_is_in_the_file(saved) -> None:
    for file in (saved.path, *saved.companions):
        assert str(Path(__file__).parents[3]).encode() not in file.read_bytes()


def test_onnx_names_its_batch_axis_and_states_its_preprocessing(graph, tmp_path) -> None:
    path = save(graph, tmp_path / "a.onnx", example=images(2), preprocess=PREPROCESS).path
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    (image,) = model.graph.input
    dims = [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim]
    assert (image.name, dims) == ("image", ["batch", 3, *SIZE])
    assert model.opset_import[0].version >= 19
    assert any(p.key == PREPROCESS_KEY and "mean" in p.value for p in model.metadata_props)


def test_a_checkpoint_keeps_the_names_of_the_weights(graph, tmp_path) -> None:
    saved = save(graph, tmp_path / "a.safetensors", example=images(2))
    config = json.loads((tmp_path / "a.json").read_text())
    assert config["format"] == "equiaudit-graph"
    assert config["weights_sha256"] == saved.sha256
    assert config["input"] == [3, *SIZE]
    from safetensors.torch import load_file

    state = load_file(saved.path)
    assert "block1.conv1.weight" in state
    assert torch.equal(state["block1.conv1.weight"], graph.state_dict()["block1.conv1.weight"])
    weights = sum(t.nbytes for t in state.values())
    hollow = torch.jit.load(tmp_path / "a.graph.pt").state_dict().values()
    assert sum(t.untyped_storage().nbytes() for t in hollow) < weights / 20


def test_a_check_that_fails_leaves_the_old_file_alone(graph, tmp_path) -> None:
    path = tmp_path / "fixed.pt"
    path.write_bytes(b"older")
    seen = []

    def check(run) -> str:
        seen.append(run(images(1)).shape)
        return "It moved."

    saved = save(graph, path, example=images(2), check=check)
    assert (saved.verified, saved.reason, seen) == (False, "It moved.", [(1, 5)])
    assert saved.path == tmp_path / "fixed.pt.unverified"
    assert path.read_bytes() == b"older"
    assert sorted(f.name for f in tmp_path.iterdir()) == ["fixed.pt", "fixed.pt.unverified"]


def test_control_a_file_that_computes_something_else_is_caught(graph, tmp_path, monkeypatch):
    kind = FORMATS[".pt"]
    monkeypatch.setattr(type(kind), "load", lambda self, path: lambda x: graph(x) * (1 + 1e-6))
    saved = save(graph, tmp_path / "fixed.pt", example=images(2))
    assert not saved.verified
    assert "differs from the graph" in str(saved.reason)
    assert not (tmp_path / "fixed.pt").exists()


def test_control_a_file_with_a_fixed_batch_is_caught(graph, tmp_path, monkeypatch) -> None:
    def fixed(self, path):
        def run(batch):
            if len(batch) != 2:
                raise RuntimeError("expected a batch of 2\nand more")
            return graph(batch)

        return run

    monkeypatch.setattr(type(FORMATS[".pt"]), "load", fixed)
    saved = save(graph, tmp_path / "fixed.pt", example=images(2))
    assert saved.reason == "The saved file cannot be run: expected a batch of 2"


def test_an_unknown_suffix_and_a_missing_folder_are_input_errors(graph, tmp_path) -> None:
    with pytest.raises(InputError, match="no suffix"):
        save(graph, tmp_path / "fixed.bin", example=images(2))
    with pytest.raises(InputError, match="no folder"):
        save(graph, tmp_path / "absent" / "fixed.pt", example=images(2))


class MakesTensors(torch.nn.Module):
    """Makes tensors from numbers, from the batch size, and on a stated device."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ramp = torch.arange(24, device=torch.device("cpu")).float()
        ones = torch.ones((x.shape[0], 1), device=torch.device("cpu"))
        return (x * ramp).mean((2, 3)).to(torch.device("cpu"), torch.float32) + ones


def test_no_device_stays_in_the_graph() -> None:
    captured = capture(MakesTensors().eval(), size=SIZE).graph_module
    plain = plain_graph(captured)
    devices = [
        value
        for node in plain.graph.nodes
        for value in (*node.args, *node.kwargs.values())
        if isinstance(value, torch.device)
    ]
    assert devices == []
    assert torch.equal(plain(images(3)), captured(images(3)))
    moved = plain.to("meta")(images(4).to("meta"))
    assert (moved.device.type, moved.shape) == ("meta", (4, 3))


def test_control_the_captured_graph_is_tied_to_its_device() -> None:
    captured = capture(MakesTensors().eval(), size=SIZE).graph_module
    assert any("device" in node.kwargs for node in captured.graph.nodes)


def test_an_operator_that_cannot_be_freed_is_named() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    size = graph.call_function(torch.ops.aten.sym_size.int, (x, 0))
    kwargs = {"device": torch.device("cpu")}
    graph.output(graph.call_function(torch.ops.aten.randperm.default, (size,), kwargs))
    with pytest.raises(RunError, match="randperm"):
        plain_graph(fx.GraphModule({}, graph))


def test_scriptable_keeps_the_bits(graph) -> None:
    with torch.no_grad():
        assert torch.equal(scriptable(graph)(images(2)), graph(images(2)))


class Swamped(torch.nn.Module):
    """Adding and taking away `much` costs float32 the low bits of x, and float64 none."""

    def __init__(self, much: float) -> None:
        super().__init__()
        self.register_buffer("much", torch.tensor(much))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.mean((2, 3)) + self.much) - self.much


class OtherRuntime(type(FORMATS[".onnx"])):
    """Computes the same net in float64, as a runtime that rounds otherwise might."""

    def write(self, module, path: Path, example, preprocess) -> tuple[Path, ...]:
        path.write_bytes(b"")
        return ()

    def load(self, path: Path):
        return lambda x: _swamped(1e3).double()(x.double()).float()


def _swamped(much: float) -> fx.GraphModule:
    return fx.symbolic_trace(Swamped(much))


@pytest.mark.parametrize(("much", "verified"), [(1e3, True), (0.0, False)])
def test_another_runtime_may_differ_by_what_float32_itself_leaves_open(
    much: float, verified: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not verified:  # the same error in a net that float32 determines
        wrong = _swamped(1e3)
        monkeypatch.setattr(OtherRuntime, "load", lambda self, path: wrong)
    x = images(4) + torch.arange(3.0).reshape(1, 3, 1, 1)
    saved = save(_swamped(much), tmp_path / "a.onnx", example=x, kind=OtherRuntime())
    assert saved.verified is verified
    assert verified or "of the output range" in str(saved.reason)


def test_onnx_takes_tensors_that_are_called_as_the_exporter_calls_its_own(tmp_path: Path) -> None:
    class Clashing(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for i in range(12):
                self.register_buffer(f"val_{i}", torch.full((1, 3, 1, 1), float(i)))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for i in range(12):
                x = torch.roll(x, 1, 2) + getattr(self, f"val_{i}")
            return x.reshape(x.shape[0], 3, -1).mean(2)

    net = fx.symbolic_trace(Clashing())
    assert save(net, tmp_path / "a.onnx", example=images(2)).verified
    assert "val_3" in dict(net.named_buffers())  # the net itself keeps its names
