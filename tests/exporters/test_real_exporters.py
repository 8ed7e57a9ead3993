"""Files that real exporters and quantisers write, each against what its own framework computes.

`make exporters` installs them (`EXPORTERS`: a folder with a Python of its own for those that
cannot live with torch or with each other) and runs this group alone.
"""

from __future__ import annotations

import functools
import os
import subprocess
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import equiaudit
from equiaudit.errors import InputError

pytestmark = [pytest.mark.exporters, pytest.mark.filterwarnings("ignore")]

HERE = Path(__file__).parent
PYTHONS = Path(os.environ.get("EXPORTERS", HERE.parents[1] / ".exporters"))
PLAIN = {"mean": (0.0,) * 3, "std": (1.0,) * 3, "device": "cpu"}


def side(pixels: int) -> dict[str, object]:
    return {"size": (pixels, pixels), **PLAIN}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> functools._lru_cache_wrapper[Path]:
    """The folder that a maker wrote into, by the maker's name."""

    @functools.cache
    def folder(maker: str) -> Path:
        python = PYTHONS / maker / "bin" / "python"
        if not python.exists():
            pytest.skip(f"{python} is not there: make exporters")
        out = tmp_path_factory.mktemp(maker)
        script = HERE / "makers" / f"{maker}_files.py"
        subprocess.run([python, script, out], check=True, capture_output=True, timeout=300)
        return out

    return folder


def agrees(model: equiaudit.Model, path: Path, *, last: bool) -> None:
    """On the images beside the file, to float32; maps are compared channels first."""
    found = np.load(path)
    x = torch.from_numpy(found["x"])
    right = torch.from_numpy(found["y"])
    if model.outputs_labels:
        right = right[:, :1].float() if right.ndim == 2 else right.float()
    if last:
        x = x.permute(0, 3, 1, 2)
        right = right.permute(0, 3, 1, 2) if right.ndim == 4 else right
    got = model.run(x)
    torch.testing.assert_close(got, right.flatten(1) if got.ndim == 2 else right, rtol=1e-3,
                               atol=1e-5)  # fmt: skip


def exact(source: Path, out: Path, method: str, **given: object) -> None:
    found = equiaudit.fix(source, out, method=method, seconds=1, **given).verifications[-1]
    assert found.passed
    assert found.figures.exact
    assert found.control is not None
    assert not found.control.passed


# tf2onnx and Keras


KERAS = {
    "classes": ("classification", (2, 2)),
    "labels": ("multilabel", (2, 2)),
    "flat": ("classification", (2, 2)),
    "kept": ("classification", (2, 2)),
    "first": ("classification", (2, 2)),
    "unit": ("embedding", (2, 2)),
    "ids": ("segmentation", (2, 2)),
    **{f"maps_{n}": ("segmentation", (2, 2)) for n in (1, 5, 64)},
}


@pytest.mark.parametrize("name", KERAS)
def test_keras_is_read_as_it_is(name, made):
    path = made("keras") / f"{name}.onnx"
    model = equiaudit.load_model(path, **side(16))
    assert (model.task, model.total_stride) == KERAS[name]
    assert model.preprocess.layout == "NHWC"
    agrees(model, path.with_suffix(".npz"), last=True)


@pytest.mark.parametrize("name", ["flat", "maps_5"])
def test_keras_is_fixed_by_mass(name, made, tmp_path):
    exact(made("keras") / f"{name}.onnx", tmp_path / "fixed.onnx", "mass", **side(16))


def test_boxes_of_keras_are_no_classes(made):
    with pytest.raises(InputError, match=r"boxes of a detector .*\(2, 10, 4\) holds boxes"):
        equiaudit.load_model(made("keras") / "boxes.onnx", **side(16))


def test_a_normalization_of_keras_has_to_be_given(made):
    """tf2onnx leaves its constants out of the file and makes them inputs."""
    path = made("keras") / "normalised.onnx"
    own = [item.name for item in onnx.load(path).graph.input]
    with pytest.raises(InputError, match="Sub/y"):
        equiaudit.load_model(path, **side(16))
    mean, variance = own[1:]
    given = [f"{mean}=0.1", f"{variance}=2"]
    model = equiaudit.load_model(path, input=given, **side(16))
    agrees(model, path.with_suffix(".npz"), last=True)


# Optimum


OPTIMUM = {
    "resnet": ("classification", (8, 8)),  # a convolution, a pool, the second stage
    "vit": ("classification", None),
    "segformer": ("segmentation", None),
}


@pytest.mark.parametrize("name", OPTIMUM)
def test_optimum_is_read_as_it_is(name, made):
    path = made("optimum") / name / "model.onnx"
    model = equiaudit.load_model(path, **side(32))
    task, stride = OPTIMUM[name]
    assert model.task == task
    assert stride is None or model.total_stride == stride
    agrees(model, made("optimum") / f"{name}.npz", last=False)


def test_optimum_is_fixed(made, tmp_path):
    exact(made("optimum") / "vit" / "model.onnx", tmp_path / "v.onnx", "canonical", **side(32))


# torchao


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.depth = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU6())
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.stem(x)
        return self.head((y + self.depth(y)).mean((2, 3)))


def noise(count: int) -> torch.Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(count))


def saved(module: nn.Module, path: Path) -> Path:
    program = torch.export.export(
        module, (noise(2),), dynamic_shapes=({0: torch.export.Dim("n", max=1024)},)
    )
    torch.export.save(program, path)
    return path


def test_pt2e_of_torchao(tmp_path):
    pytest.importorskip("torchao")
    from torchao.quantization.pt2e import quantize_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    how = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    shapes = ({0: torch.export.Dim("n", max=1024)},)
    program = torch.export.export(Small().eval(), (noise(2),), dynamic_shapes=shapes)
    prepared = quantize_pt2e.prepare_pt2e(program.module(), how)
    prepared(noise(8))
    quantised = quantize_pt2e.convert_pt2e(prepared)
    path = saved(quantised, tmp_path / "m.pt2")
    model = equiaudit.load_model(path, **side(16))
    assert model.total_stride == (2, 2)
    with torch.no_grad():
        torch.testing.assert_close(model.run(noise(3)), quantised(noise(3)))
    exact(path, tmp_path / "fixed.pt2", "mass", **side(16))
    kinds = {t.dtype for t in torch.export.load(tmp_path / "fixed.pt2").constants.values()}
    kinds |= {t.dtype for t in torch.export.load(tmp_path / "fixed.pt2").state_dict.values()}
    assert torch.int8 in kinds


def test_tensors_of_torchao_need_trust(tmp_path):
    torchao = pytest.importorskip("torchao.quantization")
    module = Small().eval()
    torchao.quantize_(module, torchao.Int8WeightOnlyConfig())
    path = saved(module, tmp_path / "m.pt2")
    with pytest.raises(InputError, match=r"trust=True"):
        equiaudit.load_model(path, **side(16))
    model = equiaudit.load_model(path, trust=True, **side(16))
    with torch.no_grad():
        torch.testing.assert_close(model.run(noise(3)), module(noise(3)))


# Half precision


@pytest.mark.parametrize("keep_io_types", [False, True])
def test_onnxconverter_common(keep_io_types, tmp_path):
    float16 = pytest.importorskip("onnxconverter_common.float16")
    import onnxruntime
    from artefacts import write_onnx

    half = float16.convert_float_to_float16(
        onnx.load(write_onnx(Small().eval(), tmp_path / "m.onnx", noise(2))),
        keep_io_types=keep_io_types,
    )
    onnx.save(half, tmp_path / "half.onnx")
    model = equiaudit.load_model(tmp_path / "half.onnx", **side(16))
    dtype = torch.float32 if keep_io_types else torch.float16
    session = onnxruntime.InferenceSession(
        tmp_path / "half.onnx", providers=["CPUExecutionProvider"]
    )
    feed = {session.get_inputs()[0].name: noise(3).to(dtype).numpy()}
    right = torch.from_numpy(session.run(None, feed)[0])
    torch.testing.assert_close(model.run(noise(3).to(dtype)), right.float(), rtol=0, atol=0)
    exact(tmp_path / "half.onnx", tmp_path / "fixed.onnx", "mass", **side(16))


# Checkpoints


def test_a_checkpoint_of_lightning(tmp_path, monkeypatch):
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = Small()
            self.loss = nn.CrossEntropyLoss(weight=torch.ones(5))

        def training_step(self, batch, _):
            return self.loss(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), 0.1)

    data = torch.utils.data.TensorDataset(noise(8), torch.arange(8) % 5)
    module = Module()
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, default_root_dir=tmp_path,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=4))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    monkeypatch.syspath_prepend(HERE)
    model = equiaudit.load_model(
        tmp_path / "last.ckpt", arch="test_real_exporters:Small", **side(16)
    )
    with torch.no_grad():
        torch.testing.assert_close(model.run(noise(3)), module.eval().net(noise(3)))
