"""Methods by name, what they refuse, and what the pipeline makes of what they claim."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from repair import repair_nets as nets
from repair.repair_nets import SIZE, model_of
from torch import fx, nn

from equiaudit.api import load_model
from equiaudit.errors import InputError, NothingToDo
from equiaudit.repair import methods
from equiaudit.repair.methods import Converted, FixOptions, Misfit, Subject, method
from equiaudit.repair.pipeline import fix, verify_model
from equiaudit.repair.verify.circular import Circular
from equiaudit.report.repair import render_fix
from equiaudit.results.repair import Claim, TrainingRecord, TrainingStage

QUICK = FixOptions(comparisons=120)
CROP = FixOptions(method="crop-select", margin=8, comparisons=300)


@dataclass(frozen=True)
class Untouched:
    """Converts nothing, and claims what it is told to."""

    exact: bool
    name: str = "untouched"
    understands: frozenset[str] = frozenset()
    trainable: bool = True

    def claim(self, options: FixOptions) -> Claim:
        return Claim(exact=self.exact, shifts="circular", condition="nothing", training="none")

    def misfit(self, subject: Subject, options: FixOptions) -> Misfit | None:
        return None

    def convert(self, subject: Subject, options: FixOptions) -> Converted:
        how = subject.model.preprocess
        return Converted(subject.original, subject.original, how, Circular(how.size, False))


def put(monkeypatch: pytest.MonkeyPatch, made: Untouched) -> None:
    monkeypatch.setitem(methods.METHODS, made.name, made)


def test_names_are_methods_and_combinations() -> None:
    assert method("mass").core is methods.METHODS["mass"]
    both = method("crop-select+canonical")
    assert [wrapper.name for wrapper in both.wrappers] == ["crop-select", "canonical"]
    assert both.core is None
    assert method("crop-select+mass").core is methods.METHODS["mass"]


def test_a_combination_listed_by_its_own_name_is_one_method(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = Untouched(exact=False, name="mass+filter")
    put(monkeypatch, whole)
    assert method("mass+filter").core is whole
    assert method("crop-select+mass+filter").core is whole


@pytest.mark.parametrize("name", ["magic", "crop-select+magic", "magic+mass", "", "mass+canonical"])
def test_other_names_are_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(InputError) as refusal:
        method(name)
    assert "crop-select+..." in str(refusal.value.tip)


def test_what_claims_no_exactness_is_written_and_said_to_be_inexact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(monkeypatch, Untouched(exact=False))
    options = FixOptions(method="untouched", comparisons=80)
    report = fix(model_of(nets.TinyResNet()), tmp_path / "a.pt", options)
    assert report.outcome == "written"
    assert not any(record.passed or record.claimed for record in report.verifications)
    said = " ".join(render_fix(report).split())
    assert "does not make the model exact" in said
    assert "FAILED" not in said
    assert "Converted and verified" not in said


def test_control_what_claims_exactness_and_is_not_exact_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(monkeypatch, Untouched(exact=True))
    options = FixOptions(method="untouched", comparisons=80)
    report = fix(model_of(nets.TinyResNet()), tmp_path / "a.pt", options)
    assert report.outcome == "unverified"
    assert not (tmp_path / "a.pt").exists()


def test_recover_gets_both_graphs_and_its_weights_are_what_is_written(tmp_path: Path) -> None:
    seen: list[fx.GraphModule] = []
    stage = TrainingStage(name="distil", images=10, seconds=1.0, loss_before=2.0, loss_after=1.0)

    def recover(fixed: fx.GraphModule, original: fx.GraphModule) -> tuple[object, TrainingRecord]:
        seen.extend((fixed, original))
        with torch.no_grad():
            fixed.get_parameter("fc.bias").add_(100)
        return fixed, TrainingRecord(stages=(stage,), seed=0, device="cpu")

    out = tmp_path / "a.pt"
    report = fix(model_of(nets.TinyResNet()), out, QUICK, recover=recover)  # type: ignore[arg-type]
    assert report.outcome == "written"
    assert report.training is not None
    assert report.training.seconds == 1.0
    assert "2 to 1" in render_fix(report)
    assert len(seen) == 2
    assert float(torch.jit.load(out)(torch.rand(1, 3, *SIZE)).detach().min()) > 50


def test_there_is_nothing_to_train_in_a_net_left_as_it_is(tmp_path: Path) -> None:
    options = replace(QUICK, method="canonical")
    with pytest.raises(InputError, match="nothing to train"):
        fix(model_of(nets.TinyResNet()), tmp_path / "a.pt", options, recover=lambda a, b: None)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "canonical", "only": "x"}, "canonical has no use for --only"),
        ({"method": "mass", "margin": 4}, "mass has no use for --margin"),
        ({"method": "crop-select", "select": "input"}, "crop-select has no use for --select"),
        ({"method": "crop-select", "margin": 0}, "--margin is 0"),
    ],
)
def test_options_that_no_part_reads_are_refused(
    tmp_path: Path, options: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        fix(model_of(nets.TinyResNet()), tmp_path / "a.pt", replace(QUICK, **options))


def test_ops_left_out_take_the_claim_away_and_the_report_says_so(tmp_path: Path) -> None:
    options = replace(QUICK, skip="block1.conv1")
    report = fix(model_of(nets.TinyResNet()), tmp_path / "a.pt", options)
    assert report.outcome == "written"
    assert report.left_out == ("block1.conv1",)
    assert report.claim is not None
    assert not report.claim.exact
    assert not any(record.claimed or record.passed for record in report.verifications)
    said = " ".join(render_fix(report).split())
    assert "Partly converted, measured inexact (mass" in said
    assert "operations is left as it is: block1.conv1" in said.partition("File:")[0]


def test_ops_left_out_of_the_inside_leave_the_promise_of_what_is_around() -> None:
    options = replace(QUICK, skip="block1.conv1")
    subject = Subject(model_of(nets.TinyResNet()))
    assert method("canonical+mass").promise(subject, options).exact
    assert not method("mass").promise(subject, options).exact
    assert method("mass").promise(subject, QUICK).exact


@pytest.mark.parametrize("flag", ["only", "skip"])
def test_a_glob_that_matches_nothing_is_an_error_that_names_what_there_is(
    tmp_path: Path, flag: str
) -> None:
    options = replace(QUICK, **{flag: "block9*"})
    with pytest.raises(InputError, match=f"--{flag} 'block9\\*' matches no op") as refusal:
        fix(model_of(nets.TinyResNet()), tmp_path / "a.pt", options)
    assert "block1.conv1" in str(refusal.value.tip)


def test_globs_that_leave_no_op_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NothingToDo, match="leave no op"):
        fix(model_of(nets.TinyResNet()), tmp_path / "a.pt", replace(QUICK, skip="*"))


NEED_TRAINING = {
    name: any(part in name for part in ("lps", "caps", "lpf", "ddac")) for name in methods.METHODS
}


@pytest.mark.parametrize(("name", "needed"), NEED_TRAINING.items())
def test_selectors_and_filters_need_training_and_nothing_else_does(name: str, needed: bool) -> None:
    assert method(name).claim(QUICK).needs_training == needed
    assert method(f"crop-select+{name}").claim(QUICK).needs_training == needed


def test_a_method_that_needs_training_and_had_none_is_said_to(tmp_path: Path) -> None:
    options = FixOptions(method="lps", comparisons=60)
    model = model_of(nets.TinyResNet())
    said = " ".join(render_fix(fix(model, tmp_path / "a.pt", options)).split())
    assert "It needs training, and had none" in said.partition("File:")[0]
    planned = fix(model, None, replace(options, dry_run=True))
    assert "Needs training: --finetune" in " ".join(render_fix(planned).split())
    assert {one.method for one in planned.candidates if one.claim and one.claim.needs_training}


def test_a_folder_that_is_not_there_is_found_before_any_work(tmp_path: Path) -> None:
    steps: list[str] = []
    with pytest.raises(InputError, match="There is no folder"):
        fix(model_of(nets.TinyResNet()), tmp_path / "no/a.pt", QUICK, progress=steps.append)
    assert steps == []


def test_a_window_of_features_and_a_choice_from_pixels_do_not_go_together(tmp_path: Path) -> None:
    options = replace(QUICK, window=2, select="input")
    with pytest.raises(InputError, match="--window leaves"):
        fix(model_of(nets.TinyResNet()), tmp_path / "a.pt", options)


def test_a_model_without_a_graph_is_a_misfit_with_a_reason() -> None:
    subject = Subject(model_of(nets.TinyResNet(), module=None))
    for name in ("mass", "crop-select", "crop-select+mass"):
        misfit = method(name).misfit(subject, QUICK)
        assert misfit is not None
        assert "outside torch" in misfit.reason
    assert not subject.inspection.convertible


class TestCropSelect:
    @pytest.mark.parametrize("name", ["crop-select", "crop-select+mass", "crop-select+canonical"])
    def test_the_output_stays_where_the_choice_goes_with_the_content(
        self, tmp_path: Path, name: str
    ) -> None:
        out = tmp_path / "a.pt"
        report = fix(model_of(nets.TinyResNet()), out, replace(CROP, method=name))
        assert report.outcome == "written"
        assert report.input_size == (24, 32)
        for record in report.verifications:
            assert record.shifts == "crop"
            assert record.figures.exact
            assert record.control_failed
        assert load_model(out).preprocess.size == (24, 32)
        assert [row.shift for row in report.agreement][:2] == [(0, 1), (1, 1)]
        said = " ".join(render_fix(report).split())
        assert "takes 24x32 px" in said
        assert "not on circular shifts" in said
        fixed = torch.jit.load(out)
        scenes = torch.rand(30, 3, 26, 34, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            before, after = fixed(scenes[:, :, 1:25, 1:33]), fixed(scenes[:, :, :24, :32])
        same = (before == after).all(1)
        assert 0.5 < float(same.double().mean()) < 1

    @pytest.mark.parametrize("suffix", [".pt2", ".onnx", ".safetensors"])
    def test_every_kind_of_file_is_verified_after_reload(self, tmp_path: Path, suffix: str) -> None:
        report = fix(model_of(nets.TinyResNet()), tmp_path / f"a{suffix}", CROP)
        assert report.outcome == "written"
        assert [record.subject for record in report.verifications][-1] == "saved file"

    def test_maps_come_back_to_their_place(self, tmp_path: Path) -> None:
        net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1))
        model = model_of(nets.randomise(net), task="segmentation")
        report = fix(model, tmp_path / "a.pt", CROP)
        assert report.outcome == "written"
        assert all(
            record.figures.exact and record.control_failed for record in report.verifications
        )

    def test_coarse_maps_are_refused_in_a_sentence(self, tmp_path: Path) -> None:
        net = nets.randomise(nn.Sequential(nn.Conv2d(3, 2, 3, 2, 1)))
        with pytest.raises(NothingToDo, match="crop-select cannot be put around this model: a map"):
            fix(model_of(net, task="segmentation"), tmp_path / "a.pt", CROP)

    def test_images_resized_to_the_window_leave_no_room(self) -> None:
        model = model_of(nets.TinyResNet())
        resized = replace(model, preprocess=replace(model.preprocess, resize=24))
        misfit = method("crop-select").misfit(Subject(resized), CROP)
        assert misfit is not None
        assert "resized to 24" in misfit.reason


class TestVotes:
    """crop-select with --votes and --margin auto, and `verify` of what it writes."""

    def test_votes_verify_in_a_file_that_verify_knows_again(self, tmp_path: Path) -> None:
        out, net = tmp_path / "a.pt", model_of(nets.TinyResNet())
        report = fix(net, out, replace(CROP, votes=4))
        assert report.outcome == "written"
        for record in report.verifications:
            assert record.figures.exact
            assert record.control_failed
            assert "crops are chosen" in record.criterion
        said = " ".join(render_fix(report).split())
        assert "votes kept: bound" in said
        assert "any rule that averages crops, here 4 of them" in said
        how = load_model(out).preprocess
        assert (how.size, how.crop_margin, how.crop_votes) == ((24, 32), 8, 4)
        found = verify_model(load_model(out, task="classification"), against=net, comparisons=300)
        assert found.passed
        assert found.shifts == "crop"
        assert found.control_failed

    def test_control_another_number_of_votes_or_margin_is_not_the_file_s(
        self, tmp_path: Path
    ) -> None:
        out = tmp_path / "a.pt"
        fix(model_of(nets.TinyResNet()), out, replace(CROP, votes=4))
        read = load_model(out, task="classification")
        for wrong in ({"crop_votes": 1}, {"crop_margin": 6}):
            told = replace(read, preprocess=replace(read.preprocess, **wrong))
            assert not verify_model(told, comparisons=300).passed

    def test_a_model_of_another_size_is_no_control_and_positions_have_no_use(
        self, tmp_path: Path
    ) -> None:
        out, net = tmp_path / "a.pt", model_of(nets.TinyResNet())
        fix(net, out, CROP)
        read = load_model(out, task="classification")
        with pytest.raises(InputError, match="takes 24x32 px, and the one to verify chooses among"):
            verify_model(read, against=read, comparisons=60)
        with pytest.raises(InputError, match="its main output alone is compared"):
            verify_model(read, positions=(("0", "none"),), comparisons=60)

    def test_maps_are_averaged_in_their_place(self, tmp_path: Path) -> None:
        net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1))
        model = model_of(nets.randomise(net), task="segmentation")
        report = fix(model, tmp_path / "a.pt", replace(CROP, votes=4))
        assert report.outcome == "written"
        assert all(
            record.figures.exact and record.control_failed for record in report.verifications
        )

    def test_labels_and_too_small_margins_are_misfits(self) -> None:
        labels = Subject(replace(model_of(nets.TinyResNet()), outputs_labels=True))
        misfit = method("crop-select").misfit(labels, replace(CROP, votes=4))
        assert misfit is not None
        assert "returns labels" in misfit.reason
        subject = Subject(model_of(nets.TinyResNet()))
        misfit = method("crop-select").misfit(subject, replace(CROP, margin=1, votes=9))
        assert misfit is not None
        assert "9 votes need a margin of 2 px" in misfit.reason

    @pytest.mark.parametrize(
        ("resize", "size"), [(30, (22, 30)), ((20, 40), (20, 28)), ((64, 25), (17, 25))]
    )
    def test_auto_takes_the_picture_that_the_pipeline_has(
        self, resize: int | tuple[int, int], size: tuple[int, int]
    ) -> None:
        model = model_of(nets.TinyResNet())
        model = replace(model, preprocess=replace(model.preprocess, resize=resize))
        options = replace(CROP, margin="auto")
        recipe = method("crop-select")
        assert recipe.misfit(Subject(model), options) is None
        made = recipe.convert(Subject(model), options)
        assert made.preprocess.size == size
        assert made.preprocess.resize == resize
        assert made.margin == size[0] - SIZE[0]

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({}, "nothing says that images are resized"),
            ({"resize": 24}, "resized to 24, which is no larger"),
            ({"fit": "letterbox"}, "letterboxed"),
        ],
    )
    def test_auto_without_room_says_why(self, changes: dict[str, Any], words: str) -> None:
        model = model_of(nets.TinyResNet())
        model = replace(model, preprocess=replace(model.preprocess, **changes))
        with pytest.raises(InputError, match=words):
            method("crop-select").misfit(Subject(model), replace(CROP, margin="auto"))


def test_canonical_says_whether_there_was_a_border(tmp_path: Path) -> None:
    rows = torch.linspace(-2, 2, 16)[:, None] + torch.linspace(-2, 2, 24)
    images = {"ramp": rows.expand(3, 16, 24).contiguous(), "plain": torch.zeros(3, *SIZE)}
    options = FixOptions(method="canonical", comparisons=150)
    report = fix(model_of(nets.TinyResNet()), tmp_path / "a.pt", options, images=images)
    found = report.verifications[0].borders
    assert found is not None
    assert found.images == len(report.verifications[0].images)
    assert "plain" in found.without
    assert "ramp" not in found.without
    assert "Borders found in" in render_fix(report)
