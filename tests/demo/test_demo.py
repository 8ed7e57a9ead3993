import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from equiaudit.data import Geometry, decode_ahead, open_dataset
from equiaudit.demo import DEMO_ARCH, images_path, preprocess_path, weights_path
from equiaudit.demo.net import demo_net

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from demo_surfaces import CLASSES, surface
from demo_train import HELD_OUT, MEAN, STD, Recipe, main, pictures, train, window


@pytest.fixture(scope="module")
def record() -> dict[str, object]:
    return tomllib.loads(weights_path().with_name("demo.toml").read_text())


@pytest.fixture(scope="module")
def net() -> nn.Module:
    net = demo_net()
    net.load_state_dict(load_file(weights_path()))
    return net.eval()


def test_importing_the_demo_leaves_torch_alone() -> None:
    code = "import sys, equiaudit.demo; sys.exit('torch' in sys.modules or 'PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_weights_are_small_and_single_precision(net: nn.Module) -> None:
    assert weights_path().stat().st_size < 200_000
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert f"{demo_net.__module__}:{demo_net.__name__}" == DEMO_ARCH


def test_images_are_the_ones_the_generator_draws() -> None:
    for name in CLASSES:
        for place, seed in enumerate(HELD_OUT):
            packaged = Image.open(images_path() / name / f"{name}-{place}.png")
            difference = np.abs(np.asarray(packaged).astype(int) - surface(name, seed))
            # Sines may differ in the last place between machines, and a rounding with them.
            assert difference.max() <= 1
            assert (difference > 0).mean() < 1e-3


def test_a_picture_depends_on_seed_and_class() -> None:
    assert np.array_equal(surface("hole", 3), surface("hole", 3))
    assert not np.array_equal(surface("hole", 3), surface("hole", 4))
    assert not np.array_equal(surface("sound", 3), surface("dent", 3))


def test_packaged_accuracy_is_the_recorded_one(net: nn.Module, record: dict[str, object]) -> None:
    """Through the folder, the sidecar and the decoder, as a scan would read them."""
    sidecar = tomllib.loads(preprocess_path().read_text())
    assert (sidecar["mean"], sidecar["std"]) == (list(MEAN), list(STD))
    dataset = open_dataset(images_path(), num_classes=8)
    assert [dataset.class_names[i] for i in range(8)] == record["classes"] == list(CLASSES)
    geometry = Geometry(tuple(sidecar["size"]), margin=16)
    images = [d.pixels for d in decode_ahead(dataset.items, geometry, workers=1, ahead=8)]
    x = torch.from_numpy(np.stack(images)[:, 16:48, 16:48] / np.float32(255)).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(sidecar[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        predicted = net((x - mean) / std).argmax(1).tolist()
    right = sum(p == item.label for p, item in zip(predicted, dataset.items, strict=True))
    assert len(dataset) == record["images"] == 64
    assert right == record["right"]
    assert right / 64 >= 0.9


def test_the_network_is_fragile_under_rolls_as_real_ones_are(net: nn.Module) -> None:
    images, _ = pictures(HELD_OUT)
    x = window(images)
    with torch.no_grad():
        clean = net(x).argmax(1)
        kept = [
            (net(torch.roll(x, (dy, dx), (2, 3))).argmax(1) == clean).float().mean().item()
            for dy, dx in [(1, 0), (3, 5), (-7, 9), (16, -16), (0, 0)]
        ]
    assert kept.pop() == 1.0
    assert 0.6 < np.mean(kept) < 0.97


def test_training_repeats_itself_and_learns() -> None:
    recipe = Recipe(per_class=12, epochs=6, batch=16)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        first, second = train(recipe), train(recipe)
    finally:
        torch.set_num_threads(threads)
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    images, labels = pictures(range(12))
    with torch.no_grad():
        right = (first(window(images)).argmax(1).numpy() == labels).mean()
    assert right > 0.4


def test_held_out_pictures_are_not_trained_on() -> None:
    assert not set(HELD_OUT) & set(range(Recipe().per_class))


def test_the_script_writes_what_the_package_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("demo_train.Recipe", lambda: Recipe(per_class=2, epochs=1))
    main(["--out", str(tmp_path)])
    packaged = weights_path().parent
    written = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    assert len(written) == 64 + 3
    assert all((packaged / file).is_file() for file in written)
    sidecar = preprocess_path().name
    assert (packaged / sidecar).read_text() == (tmp_path / sidecar).read_text()
