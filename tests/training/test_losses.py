from __future__ import annotations

import math

import pytest
import torch

from equiaudit.errors import InputError
from equiaudit.training.losses import (
    SetLosses,
    divergence,
    feature_error,
    label_error,
    label_overlap_error,
    objects,
    overlap_error,
    regression_error,
)
from equiaudit.training.options import TrainingOptions
from equiaudit.training.schedule import one_cycle


def test_divergence_agrees_with_a_loop() -> None:
    student, teacher = torch.randn(4, 3), torch.randn(4, 3)
    total = 0.0
    for s, t in zip(student / 2, teacher / 2, strict=True):
        p, q = t.softmax(0).tolist(), s.softmax(0).tolist()
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert divergence(student, teacher, 2.0).item() == pytest.approx(total / 4 * 4, rel=1e-5)
    assert divergence(teacher, teacher, 2.0).item() == pytest.approx(0, abs=1e-7)


def test_divergence_of_one_channel_is_that_of_yes_and_no() -> None:
    student, teacher = torch.randn(2, 1, 3, 3), torch.randn(2, 1, 3, 3)
    p, q = teacher.sigmoid(), student.sigmoid()
    wanted = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
    torch.testing.assert_close(divergence(student, teacher, 1.0), wanted)


def test_features_do_not_depend_on_where_the_map_begins() -> None:
    x = torch.randn(2, 3, 4, 4)
    rolled = torch.roll(x, (1, 2), (2, 3))
    assert feature_error(rolled, x, torch.tensor(1.0)).item() < 1e-12
    assert feature_error(x + 1, x, torch.tensor(2.0)).item() == pytest.approx(0.5)


def test_pixels_without_a_label_do_not_count() -> None:
    logits, mask = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    mask[:, 0] = -1
    wanted = torch.nn.functional.cross_entropy(logits[:, :, 1:], mask[:, 1:])
    torch.testing.assert_close(label_error(logits, mask), wanted)


def test_one_channel_means_a_binary_mask() -> None:
    logits, mask = torch.randn(2, 1, 4, 4), torch.randint(0, 2, (2, 4, 4)) * 7
    mask[0, 0] = -1
    known = mask >= 0
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(
        logits[:, 0][known], (mask > 0).float()[known]
    )
    torch.testing.assert_close(label_error(logits, mask), wanted)


def test_only_pixels_that_are_asked_for_count() -> None:
    found, wanted = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    asked = torch.zeros(2, 4, 4, dtype=torch.bool)
    asked[0, 1:, 2:] = True
    part = (slice(0, 1), slice(None), slice(1, None), slice(2, None))
    for error in (lambda *a: divergence(a[0], a[1], 2.0, *a[2:]), regression_error):
        torch.testing.assert_close(error(found, wanted, asked), error(found[part], wanted[part]))
        assert error(found, wanted, torch.zeros_like(asked)).item() == 0
    probabilities = objects(found), objects(wanted)
    torch.testing.assert_close(
        overlap_error(*probabilities, asked), overlap_error(*(p[part] for p in probabilities))
    )


def overlap_by_a_loop(logits: torch.Tensor, mask: torch.Tensor) -> float:
    """Class by class over the pixels that are known."""
    probabilities, missed, there = logits.softmax(1), 0.0, 0
    for c in range(1, logits.shape[1]):
        common = mine = theirs = 0.0
        for p, m in zip(
            probabilities[:, c].flatten().tolist(), mask.flatten().tolist(), strict=True
        ):
            if m != -1:
                common, mine, theirs = common + p * (m == c), mine + p * p, theirs + (m == c)
        missed += 1 - (2 * common + 1) / (mine + theirs + 1)
        there += theirs > 0
    return missed / max(there, 1)


def test_the_overlap_agrees_with_a_loop() -> None:
    logits, mask = torch.randn(2, 4, 5, 5), torch.randint(-1, 3, (2, 5, 5))
    found = label_overlap_error(logits, mask).item()
    assert found == pytest.approx(overlap_by_a_loop(logits, mask), rel=1e-5)


def test_a_rare_class_weighs_as_much_as_a_large_one() -> None:
    """Nine pixels in ten thousand, found or missed: 0.0009 of an accuracy, all of an overlap."""
    mask = torch.zeros(1, 100, 100, dtype=torch.int64)
    mask[0, 50:53, 50:53] = 1
    missed = torch.stack([torch.full(mask.shape, 9.0), torch.zeros(mask.shape)], 1)
    hit = torch.where(mask[:, None] == 1, -missed, missed)
    assert label_overlap_error(missed, mask).item() > 0.85
    assert label_overlap_error(hit, mask).item() < 0.01
    wide = torch.ones_like(mask)
    torch.testing.assert_close(
        label_overlap_error(missed[:, :1].neg(), (mask > 0).long()),
        overlap_error(missed[:, :1].neg().sigmoid(), (mask > 0)[:, None].float()),
    )
    assert label_overlap_error(missed, wide).item() > 0.85


def test_the_rate_rises_to_its_peak_and_falls_to_nearly_nothing() -> None:
    rates = [one_cycle(step, 101, 0.5, 0.2) for step in range(101)]
    assert max(rates) == rates[20] == pytest.approx(0.5)
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[0] == pytest.approx(0.02)
    assert rates[-1] == pytest.approx(5e-6)
    assert one_cycle(0, 1, 0.5, 0.0) == pytest.approx(0.5)


def test_sets_of_labels_differ_class_by_class():
    """The divergence of a yes and a no per class, by a loop, summed over classes."""
    found, wanted = torch.randn(4, 3), torch.randn(4, 3)
    losses, options = SetLosses(), TrainingOptions()
    total, t = 0.0, options.temperature
    for a, b in zip(found.flatten().tolist(), wanted.flatten().tolist(), strict=True):
        q, p = (1 / (1 + math.exp(-x / t)) for x in (a, b))
        total += p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    distance = losses.distance(found, wanted, options, torch.tensor(1.0))
    assert float(distance) == pytest.approx(total / 4 * t**2, rel=1e-4)
    assert float(losses.distance(wanted, wanted, options, torch.tensor(1.0))) < 1e-6
    again = SetLosses(probabilities=True).prepared(found.sigmoid())
    assert torch.allclose(again, found, atol=1e-3)
    with pytest.raises(InputError, match="one label per image"):
        losses.error(found, torch.zeros(4), options)
