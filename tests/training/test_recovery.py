from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import training_cases as case
from torch import fx

from equiaudit.errors import InputError, RunError
from equiaudit.repair.verify.circular import verify
from equiaudit.training import Moves, TrainingOptions, calibrate, discard, recover
from equiaudit.training import loop as loop_module
from equiaudit.training.losses import ScoreLosses
from equiaudit.training.objective import Distillation, Labels

CPU = torch.device("cpu")
DISTIL = TrainingOptions(
    distil=10,
    batch_size=16,
    distil_rate=0.01,
    features=0.2,
    mixup=0.0,
    holdout=0.25,
    patience=99,
)


def recovered(options: TrainingOptions, **changes: object) -> tuple[fx.GraphModule, object]:
    examples = case.examples(**changes)
    return recover(case.disturbed(), case.original(), examples, options)


def verified(net: fx.GraphModule) -> bool:
    images = {str(i): x for i, x in enumerate(next(case.examples(8).batches(8, CPU)))}
    record = verify(net, case.original(), images, total_stride=(4, 4), comparisons=256)
    return record.figures.exact and record.control_failed


def test_distillation_brings_the_net_nearer_to_the_original_and_keeps_it_exact() -> None:
    fixed, record = recovered(DISTIL)
    (stage,) = record.stages
    assert (stage.name, stage.epochs, stage.images) == ("distil", 10, 72)
    assert stage.loss_after < 0.6 * stage.loss_before
    assert verified(fixed)


def test_the_gain_shows_on_images_that_were_never_seen() -> None:
    fixed, _ = recovered(DISTIL)
    x = next(case.examples(64, seed=9).batches(64, CPU))
    with torch.no_grad():
        wanted = case.original()(x).log_softmax(1)
        before, after = (net(x).log_softmax(1) for net in (case.disturbed(), fixed))
    distance = [(wanted.exp() * (wanted - found)).sum(1).mean() for found in (before, after)]
    assert distance[1] < 0.6 * distance[0]


def test_the_nets_that_were_given_stay_as_they_are() -> None:
    fixed, original = case.disturbed(), case.original()
    before = case.weights(fixed), case.weights(original)
    code = fixed.code
    result, _ = recover(fixed, original, case.examples(), DISTIL)
    assert case.same(before[0], case.weights(fixed))
    assert case.same(before[1], case.weights(original))
    assert not case.same(before[0], case.weights(result))
    assert result.code == fixed.code == code


def test_without_a_step_that_learns_nothing_changes() -> None:
    fixed, record = recovered(dataclasses.replace(DISTIL, distil_rate=0.0, frozen_norm=True))
    assert case.same(case.weights(fixed), case.weights(case.disturbed()))
    assert record.stages[0].loss_after == record.stages[0].loss_before


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    nets = [recovered(dataclasses.replace(DISTIL, seed=seed))[0] for seed in (3, 3, 4)]
    first, again, other = map(case.weights, nets)
    assert case.same(first, again)
    assert not case.same(first, other)


class _Stop(Exception):
    pass


class _StopAfter:
    """Ends a run in the middle of an epoch, as an interrupt would."""

    def __init__(self, passes: int) -> None:
        self.left = passes
        self.begun: list[tuple[int, int]] = []
        self.notes: list[str] = []

    def begin(self, total: int, done: int) -> None:
        self.begun.append((total, done))

    def advance(self, passes: int) -> None:
        self.left -= passes
        if self.left <= 0:
            raise _Stop

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)


def stopped_then_resumed(
    options: TrainingOptions, place: Path, passes: int
) -> tuple[fx.GraphModule, object, _StopAfter]:
    kept = dataclasses.replace(options, checkpoint=place)
    pair = case.disturbed(), case.original()
    examples = case.examples(labelled=True)
    with pytest.raises(_Stop):
        recover(*pair, examples, kept, _StopAfter(passes))
    listener = _StopAfter(10**9)
    return *recover(*pair, examples, kept, listener), listener


@pytest.mark.parametrize("passes", [250, 850])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path: Path, passes: int) -> None:
    options = dataclasses.replace(DISTIL, calibrate=True, finetune=3)
    undisturbed, record = recovered(options, labelled=True)
    place = tmp_path / "run.safetensors"
    resumed, again, listener = stopped_then_resumed(options, place, passes)
    assert case.same(case.weights(undisturbed), case.weights(resumed))
    assert listener.begun[0][1] > 0
    assert any("going on with" in note for note in listener.notes)
    stages = [(s.name, s.epochs, s.loss_before, s.loss_after) for s in record.stages]
    assert [(s.name, s.epochs, s.loss_before, s.loss_after) for s in again.stages] == stages
    discard(place)
    assert not place.exists()


def test_a_checkpoint_of_another_recipe_or_a_damaged_one_is_not_used(tmp_path: Path) -> None:
    place = tmp_path / "run.safetensors"
    short = dataclasses.replace(DISTIL, distil=2, checkpoint=place)
    recovered(short)
    other = dataclasses.replace(short, temperature=1.0)
    listener = _StopAfter(10**9)
    recover(case.disturbed(), case.original(), case.examples(), other, listener)
    assert all(done == 0 for _, done in listener.begun)
    place.write_bytes(b"\xff" * 100)
    recover(case.disturbed(), case.original(), case.examples(), short, listener)
    assert all(done == 0 for _, done in listener.begun)


def test_training_ends_early_where_the_held_out_loss_stops_falling(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses = iter([5.0, 9.0, 4.0, 3.0, 3.5, 3.6, *[3.7] * 20])
    monkeypatch.setattr(loop_module, "mean_loss", lambda *_: next(losses))
    options = dataclasses.replace(DISTIL, distil=12, patience=2, warmup=0.1)
    _, record = recovered(options)
    assert record.stages[0].epochs == 5
    assert record.stages[0].details["best_epoch"] == 3


def test_a_net_that_only_gets_worse_is_given_back_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses = iter(range(1, 99))
    monkeypatch.setattr(loop_module, "mean_loss", lambda *_: float(next(losses)))
    options = dataclasses.replace(DISTIL, frozen_norm=True)
    fixed, record = recovered(options)
    assert record.stages[0].details["best_epoch"] == 0
    assert case.same(case.weights(fixed), case.weights(case.disturbed()))


def test_training_that_does_not_help_is_undone_and_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses = iter([1.0, 2.0])
    monkeypatch.setattr("equiaudit.training.recovery.mean_loss", lambda *_: next(losses))
    fixed, record = recovered(DISTIL)
    assert case.same(case.weights(fixed), case.weights(case.disturbed()))
    assert "changed nothing" in record.notes[0]


def test_fine_tuning_learns_the_labels() -> None:
    options = TrainingOptions(
        finetune=12, batch_size=16, finetune_rate=0.05, holdout=0.25, patience=99
    )
    fixed, record = recovered(options, count=192, labelled=True)
    (stage,) = record.stages
    assert stage.loss_after < 0.8 * stage.loss_before
    assert float(stage.accuracy_after) > float(stage.accuracy_before) + 0.2
    assert verified(fixed)


def test_what_cannot_be_done_is_said() -> None:
    with pytest.raises(InputError, match="labels or masks"):
        recovered(TrainingOptions(finetune=1))
    with pytest.raises(InputError, match="no stage"):
        recovered(TrainingOptions())
    with pytest.raises(InputError, match="temperature must be above 0"):
        TrainingOptions(temperature=0.0)
    half = copy.deepcopy(case.converted()).half()
    with pytest.raises(InputError, match="float16; training needs float32"):
        recover(half, case.original(), case.examples(), DISTIL)


def test_a_loss_that_is_not_finite_stops_the_run() -> None:
    broken = copy.deepcopy(case.converted())
    with torch.no_grad():
        broken.get_parameter("head.bias").fill_(float("nan"))
    with pytest.raises(RunError, match="no longer finite"):
        recover(broken, case.original(), case.examples(), DISTIL)


def test_the_statistics_that_are_left_are_those_of_the_images_as_training_saw_them() -> None:
    options = dataclasses.replace(DISTIL, crop=0, flip=False)
    fixed, _ = recovered(options)
    part, _held_out = case.examples().split(DISTIL.holdout, DISTIL.seed)
    again = copy.deepcopy(fixed)
    calibrate(again, part.batches(256, CPU))
    assert case.same(case.weights(fixed), case.weights(again))


def test_distillation_sees_mixed_images_and_labels_do_not() -> None:
    examples, index = case.examples(8), np.arange(8)
    options = TrainingOptions(distil=1, crop=0, flip=False, zero_pad=0.0)
    distillation = Distillation.of(
        case.original(), examples, options, ScoreLosses(), CPU, dense=False
    )
    labels = Labels(options, ScoreLosses(), CPU, dense=False)
    plain = next(examples.batches(8, CPU))
    seen = [
        o.training_inputs(examples, index, np.random.default_rng(0)) for o in (distillation, labels)
    ]
    assert torch.equal(seen[1], plain)
    assert seen[0].var() < 0.9 * plain.var()


def test_defaults_depend_on_the_case_and_stay_where_they_are_given() -> None:
    labels = TrainingOptions().settled(images=4000, dense=False, exact=True)
    maps = TrainingOptions(zero_pad=0.0).settled(images=106, dense=True, exact=False)
    found = [
        (o.batch_size, o.distil_rate, o.finetune_rate, o.moves((64, 128), dense=dense))
        for o, dense in ((labels, False), (maps, True))
    ]
    assert found == [
        (128, 0.02, 0.001, Moves(crop=8, objects=0.5, zero_pad=0.25)),
        (8, 0.006, 0.006, Moves(crop=8, anywhere=True, objects=0.5, roll=0.25)),
    ]


@pytest.mark.parametrize("net", ["original", "converted"])
def test_a_net_that_notices_rolls_is_shown_some(net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def moves(self: TrainingOptions, *args: object, **changes: object) -> Moves:
        seen.append(self.roll)
        return Moves(crop=0)

    monkeypatch.setattr(TrainingOptions, "moves", moves)
    start = case.original() if net == "original" else case.converted()
    recover(start, case.original(), case.examples(), dataclasses.replace(DISTIL, distil=1))
    assert set(seen) == {0.25 if net == "original" else 0.0}
