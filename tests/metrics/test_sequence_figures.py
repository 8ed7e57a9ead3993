from __future__ import annotations

import numpy as np
import pytest

from equiaudit.metrics.sequences import FrameScore, by_frame, score, score_frames, summarise


def test_frames_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    predicted, true = rng.random((5, 9, 7)) < 0.3, rng.random((5, 9, 7)) < 0.4
    for frame, p, t in zip(score_frames(predicted, true), predicted, true, strict=True):
        both = either = 0
        for a, b in zip(p.ravel(), t.ravel(), strict=True):
            both += bool(a and b)
            either += bool(a or b)
        assert frame.iou == both / either


def test_a_sequence_by_hand() -> None:
    frames = (FrameScore(4, 4, 4), FrameScore(8, 4, 4), FrameScore(0, 4, 0), FrameScore(4, 4, 0))
    own = score(frames)
    assert own.mean_iou == pytest.approx((1 + 0.5) / 4)
    assert own.iou_variance == pytest.approx(np.mean(np.array([1, 0.5, 0, 0]) ** 2) - 0.375**2)
    assert own.area_variance == pytest.approx((16 + 64 + 0 + 16) / 4 - 16)
    assert own.lost_share == 0.5
    assert own.iou_range == 1


def test_equal_frames_do_not_vary() -> None:
    own = score((FrameScore(7, 9, 5),) * 3)
    assert own.iou_variance == own.area_variance == own.lost_share == 0


def test_a_frame_without_a_defect_has_no_iou() -> None:
    empty = np.zeros((1, 4, 4), bool)
    with pytest.raises(ValueError, match="every frame"):
        score_frames(~empty, empty)


def test_sequences_are_the_units() -> None:
    good, bad = score((FrameScore(4, 4, 4),) * 2), score((FrameScore(4, 4, 0),) * 2)
    found = summarise([good] * 6 + [bad] * 2)
    assert {name: (e.value, e.n) for name, e in found.items()} == {
        "mean_iou": (0.75, 8),
        "iou_variance": (0.0, 8),
        "area_variance": (0.0, 8),
        "lost_share": (0.25, 8),
        "iou_range": (0.0, 8),
    }


def test_means_by_frame_are_over_the_sequences_that_have_it() -> None:
    long, short = (FrameScore(4, 4, 4), FrameScore(4, 4, 0)), (FrameScore(8, 4, 4),)
    assert [(e.value, e.n) for e in by_frame([long, short])] == [(0.75, 2), (0.0, 1)]
