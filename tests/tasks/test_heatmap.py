"""Heat maps: where peaks land is what a slow loop over all places finds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from loops import KINDS, WINDOW, Whole, check_shards, offsets_of, outputs, scan, write_images

from equiaudit.errors import InputError
from equiaudit.kinds import Kind
from equiaudit.report import FORMATS, render
from equiaudit.tasks.heatmap.block import displacements


class Maps(Whole):
    """Three weighted sums of colours at every `step`-th pixel, with what lies to the right."""

    def answer(self, x):
        return self.mixed(x) + 2 * self.mixed(x.roll(-1, 3))


class Padded(Maps):
    """Blind to what lies beyond the right edge."""

    def answer(self, x):
        beyond = torch.nn.functional.pad(x, (0, 1))[..., 1:]
        return self.mixed(x) + 2 * self.mixed(beyond)


@pytest.fixture
def data(tmp_path):
    return write_images(tmp_path / "data", 8)


def places(channel):
    """All highest places."""
    return [tuple(place) for place in np.argwhere(channel == channel.max()).tolist()]


def way(channel, wanted, step, torus):
    """px from `wanted` to the nearest highest place, by trying all."""
    found = []
    for place in places(channel):
        parts = []
        for at, goal in zip(place, wanted, strict=True):
            apart = at * step - goal
            if torus:
                apart = min(abs(apart + turn * WINDOW) for turn in (-1, 0, 1))
            parts.append(apart)
        found.append(math.hypot(*parts))
    return min(found)


def slow(net, files, kind, step, sign=1):
    """Displacements by image, each a list by shift of lists by channel; None where none is."""
    ways, values = [], []
    for i, file in enumerate(files):
        offsets = offsets_of(net, "heatmap", kind, i)
        clean, shifted = outputs(net, file, kind, offsets)
        rows = []
        for (dy, dx), maps in zip(offsets, shifted, strict=True):
            row = []
            for before, after in zip(clean, maps, strict=True):
                y, x = (at * step for at in places(before)[0])
                goal = (y + sign * dy, x + sign * dx)
                if kind == "circular":
                    goal = tuple(at % WINDOW for at in goal)
                inside = all(0 <= at < WINDOW for at in goal)
                row.append(way(after, goal, step, kind == "circular") if inside else None)
            rows.append(row)
        ways.append(rows)
        values.append(shifted.max((2, 3)))
    return ways, np.stack(values)


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("make", [Maps, Padded])
def test_every_figure_is_that_of_a_slow_loop(data, make, step):
    result = scan(make(step), data, "heatmap")
    for kind in KINDS:
        ways, values = slow(make(step), sorted(data.iterdir()), kind, step)
        each = [[w for row in rows for w in row if w is not None] for rows in ways]
        single = [w for some in each for w in some]
        spread = (values.max(1) - values.min(1)).mean(1)
        expected = {
            "displacement": np.mean([np.mean(some) for some in each]),
            "displacement_p95": np.quantile(single, 0.95),
            "displacement_max": max(single),
            "within_1px": np.mean([np.mean([w <= 1 for w in some]) for some in each]),
            "within_step": np.mean([np.mean([w <= step * 2**0.5 for w in some]) for some in each]),
            "peak_wobble": spread.mean(),
        }
        found = {name: float(e) for name, e in result.shifts[kind].metrics.items()}
        assert found == pytest.approx(expected, rel=1e-13, abs=1e-13)
        parts = {
            part.name: float(part.metrics["displacement"]) for part in result.shifts[kind].parts
        }
        for channel in range(3):
            own = [[row[channel] for row in rows if row[channel] is not None] for rows in ways]
            mean = np.mean([np.mean(some) for some in own if some])
            assert parts[f"channel {channel}"] == pytest.approx(mean, rel=1e-13, abs=1e-13)


def test_the_wrong_sign_of_the_move_back_shows(data, monkeypatch):
    files = sorted(data.iterdir())
    right, _ = slow(Maps(1), files, "circular", 1)
    wrong, _ = slow(Maps(1), files, "circular", 1, sign=-1)
    assert np.max(right) == 0 < np.mean(wrong)
    exact = scan(Maps(1), data, "heatmap", shifts=("circular",))
    assert float(exact.metric("circular.displacement_max")) == 0
    assert float(exact.metric("circular.peak_wobble")) == 0
    own = Kind.back
    turned = lambda self, maps, offset, common: own(self, maps, (-offset[0], -offset[1]), common)  # noqa: E731
    monkeypatch.setattr(Kind, "back", turned)
    mistaken = scan(Maps(1), data, "heatmap", shifts=("circular",))
    assert float(mistaken.metric("circular.displacement")) == pytest.approx(np.mean(wrong))


def test_a_strided_map_and_a_padded_one_do_not_follow(data):
    for net in (Maps(2), Padded(1)):
        assert float(scan(net, data, "heatmap").metric("circular.displacement_max")) > 0
    causes = {p.name: p.estimate for p in scan(Maps(2), data, "heatmap").boundary}
    assert float(causes["circular: seam and padding"]) == 0 < float(causes["circular: sampling"])


def test_of_equally_high_places_the_nearest_counts():
    maps = torch.zeros(1, 8, 8)
    maps[0, 1, 1] = maps[0, 6, 6] = 1
    wanted = torch.tensor([[6, 5]])
    assert float(displacements(maps, wanted, (1, 1), torus=False)) == 1
    corner = torch.zeros(1, 8, 8)
    corner[0, 7, 0] = 1
    wanted = torch.tensor([[0, 6]])
    assert float(displacements(corner, wanted, (1, 1), torus=True)) == pytest.approx(5**0.5)
    assert float(displacements(corner, wanted, (1, 1), torus=False)) == pytest.approx(85**0.5)
    assert float(displacements(corner, 2 * wanted, (2, 2), torus=True)) == pytest.approx(20**0.5)


def test_flat_maps_have_no_peak_and_it_is_said(data):
    class Flat(Maps):
        def answer(self, x):
            found = super().answer(x)
            found[:, 1] = 0
            return found

    result = scan(Flat(1), data, "heatmap", shifts=("circular",))
    assert any("8 unshifted maps are flat" in note for note in result.notes)
    assert float(result.metric("circular.displacement_max")) == 0
    parts = {part.name: part.metrics for part in result.shifts["circular"].parts}
    assert parts["channel 1"]["displacement"].value is None


def test_every_format_speaks_of_it_and_gates_judge_it(data, tmp_path):
    gates = ["circular.displacement<=0.001", "crop.within_1px>=0"]
    result = scan(Maps(2), data, "heatmap", gates=gates, output=tmp_path / "out")
    assert [gate.verdict for gate in result.gates] == ["fail", "pass"]
    texts = {name: render(result, name) for name in FORMATS}
    assert "displacement_p95" in texts["csv"]
    assert "Peaks land" in texts["github"]
    for name in ("text", "md", "html"):
        assert "channel 2" in texts[name]
        assert "places are known in steps of that many px" in texts[name].replace("\n", " ")
    (tmp_path / "labels.csv").write_text("file,label\n0.png,1\n")
    with pytest.raises(InputError, match="labels is of classes"):
        scan(Maps(), data, "heatmap", labels=tmp_path / "labels.csv")


def test_a_settled_gate_ends_the_scan(tmp_path):
    data = write_images(tmp_path / "data", 90)
    result = scan(
        Maps(2),
        data,
        "heatmap",
        shifts=("circular",),
        gates=["circular.within_1px>=0.99"],
        early_stop=True,
    )
    assert result.gates[0].verdict == "fail"
    assert result.fingerprint.n_images < 90
    parts = result.shifts["circular"].parts
    assert all(e.low is None for part in parts for e in part.metrics.values())


def test_shards_and_an_interrupted_scan_come_to_what_one_scan_does(tmp_path):
    data = write_images(tmp_path / "data", 40)
    check_shards(lambda **more: Maps(2, **more), data, "heatmap", tmp_path)
