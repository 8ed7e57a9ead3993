from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from repair import repair_nets as nets
from repair.repair_nets import SIZE, model_of
from torch import nn

from equiaudit.errors import InputError, NothingToDo
from equiaudit.models.types import Preprocess
from equiaudit.repair.inspection import inspect
from equiaudit.repair.methods import mass
from equiaudit.repair.pipeline import FixOptions, fix, verify_model
from equiaudit.repair.rewrite.rewrite import rewrite
from equiaudit.repair.verify.images import as_input, verification_images

QUICK = FixOptions(comparisons=200)


@pytest.mark.parametrize("suffix", [".pt", ".onnx"])
def test_fix_writes_a_file_that_is_verified_before_and_after(tmp_path: Path, suffix: str) -> None:
    steps: list[str] = []
    out = tmp_path / f"fixed{suffix}"
    report = fix(model_of(nets.TinyResNet()), out, QUICK, progress=steps.append)
    assert report.outcome == "written"
    assert report.output == str(out)
    assert out.is_file()
    cpu = [record for record in report.verifications if record.device == "cpu"]
    assert [record.subject for record in cpu] == ["converted graph", "saved file"]
    assert all(record.passed and record.control_failed for record in cpu)
    assert cpu[0].figures.exact
    assert cpu[0].phases == cpu[0].phases_total == 15
    assert report.cost_before is not None
    assert report.cost_after is not None
    assert report.cost_before.parameters == report.cost_after.parameters
    assert report.cost_after.bytes == out.stat().st_size
    assert steps[0] == "capturing the graph"


def test_the_written_file_keeps_its_label_under_a_shift(tmp_path: Path) -> None:
    net = nets.TinyResNet()
    fix(model_of(net), tmp_path / "fixed.pt", QUICK)
    fixed = torch.jit.load(tmp_path / "fixed.pt")
    x = torch.rand(4, 3, *SIZE, generator=torch.Generator().manual_seed(3))
    moved = torch.roll(x, (3, 5), (2, 3))
    with torch.no_grad():
        assert torch.equal(fixed(x), fixed(moved))
        assert not torch.equal(net(x), net(moved))


def test_resnet18_end_to_end(tmp_path: Path) -> None:
    net = nets.randomise(torchvision.models.resnet18(weights=None))
    options = FixOptions(comparisons=120)
    report = fix(model_of(net, (64, 64)), tmp_path / "fixed.pt", options)
    assert report.outcome == "written"
    assert report.inspection.total_stride == (32, 32)
    for record in report.verifications:
        assert record.figures.exact
        assert record.control_failed


def test_given_images_are_verified_on(tmp_path: Path) -> None:
    image = torch.randn(3, *SIZE)
    report = fix(
        model_of(nets.TinyResNet()), tmp_path / "fixed.pt", QUICK, images={"mine.png": image}
    )
    assert all("mine.png" in record.images for record in report.verifications)


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    report = fix(model_of(nets.TinyResNet()), tmp_path / "fixed.pt", FixOptions(dry_run=True))
    assert report.outcome == "planned"
    assert report.verifications == ()
    assert list(tmp_path.iterdir()) == []
    assert [row.where for row in report.inspection.ops][:2] == ["block1.conv1", "block1.conv2"]


def test_control_a_conversion_that_is_wrong_never_lands_at_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mass, "rewrite", lambda *args, **kwargs: rewrite(*args, skip="conv2d_3"))
    report = fix(model_of(nets.TinyResNet()), tmp_path / "fixed.pt", QUICK)
    assert report.outcome == "unverified"
    assert "The converted graph does not verify on cpu" in str(report.reason)
    assert report.output == str(tmp_path / "fixed.pt.unverified")
    assert not (tmp_path / "fixed.pt").exists()


def test_a_size_that_does_not_fit_is_refused_with_sizes_that_do(tmp_path: Path) -> None:
    model = model_of(nets.TinyResNet(), (15, 24))
    with pytest.raises(NothingToDo, match="15x24") as refusal:
        fix(model, tmp_path / "fixed.pt", QUICK)
    assert "16x24" in str(refusal.value.tip)
    assert inspect(model).sizes_near == ((12, 24), (16, 24))


def test_inspect_lists_the_operations() -> None:
    found = inspect(model_of(nets.TinyResNet()))
    rows = {row.where: row for row in found.ops}
    assert rows["block1.conv1"].stride == (2, 2)
    assert rows["block1.conv1"].padding == (1, 1, 1, 1)
    assert rows["block1.conv1"].uneven_padding
    assert found.total_stride == found.size_multiple == (4, 4)
    assert found.convertible
    assert not found.dense


class Pointwise(nn.Module):
    """Nothing samples, pads or sums by position."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x) * 2


def test_a_net_that_needs_nothing_says_so(tmp_path: Path) -> None:
    model = model_of(Pointwise(), task="image")
    assert not inspect(model).needs_fixing
    with pytest.raises(NothingToDo, match="Nothing in net"):
        fix(model, tmp_path / "fixed.pt", QUICK)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"module": None}, "outside torch"),
        ({"preprocess": Preprocess(SIZE, (0.5,) * 3, (0.5,) * 3, layout="NHWC")}, "NHWC"),
    ],
)
def test_what_cannot_be_captured_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(NothingToDo, match=words):
        inspect(model_of(nets.TinyResNet(), **changes))


def test_wrong_settings_are_input_errors(tmp_path: Path) -> None:
    model = model_of(nets.TinyResNet())
    with pytest.raises(InputError, match="no method 'magic'"):
        fix(model, tmp_path / "fixed.pt", FixOptions(method="magic"))
    with pytest.raises(InputError, match="needs a file"):
        fix(model, None)
    with pytest.raises(InputError, match="no suffix"):
        fix(model, tmp_path / "fixed.bin")


def test_verify_model_says_what_it_does_not_know(tmp_path: Path) -> None:
    record = verify_model(
        model_of(nets.TinyResNet(circular=True), total_stride=None),
        against=model_of(nets.TinyResNet()),
        comparisons=120,
    )
    assert record.passed
    assert record.control_failed
    assert record.total_stride == SIZE
    assert record.phases < record.phases_total == 16 * 24 - 1


class TestPictures:
    RAMP = torch.linspace(0, 1, 3 * 4 * 5).reshape(3, 4, 5)

    def how(self, **changes: object) -> Preprocess:
        fields = {"size": (4, 5), "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
        return Preprocess(**(fields | changes))

    def test_normalised_in_rgb_and_put_in_order(self) -> None:
        rgb = as_input(self.RAMP, self.how())
        assert rgb[2, 1, 1] == pytest.approx((float(self.RAMP[2, 1, 1]) - 0.3) / 0.6)
        assert torch.equal(as_input(self.RAMP, self.how(channels="bgr")), rgb.flip(0))

    def test_raw_pixels(self) -> None:
        raw = as_input(self.RAMP, self.how(mean=(0,) * 3, std=(1,) * 3, dtype="uint8"))
        assert raw.dtype == torch.uint8
        assert raw.max() == 255

    def test_gray(self) -> None:
        gray = as_input(self.RAMP, self.how(mean=(0.5,), std=(0.5,), channels="gray"))
        assert gray.shape == (1, 4, 5)

    def test_given_images_come_first(self) -> None:
        how = Preprocess(size=SIZE, mean=(0.5,) * 3, std=(0.5,) * 3)
        images = verification_images(how, {"mine": torch.zeros(3, *SIZE)})
        assert next(iter(images)) == "mine"
        assert len(images) > 5
        assert {tuple(image.shape) for image in images.values()} == {(3, *SIZE)}
