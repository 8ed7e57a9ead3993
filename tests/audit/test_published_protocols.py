"""Published protocols against loops written from the papers, on a net that some images fool."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image
from small import MEAN, SIZE, STD, dataset, small_model

from equiaudit.audit.engine import run_scan
from equiaudit.audit.options import ScanOptions
from equiaudit.errors import InputError
from equiaudit.gates import check_names, parse_gate
from equiaudit.metrics.classification import Observations
from equiaudit.metrics.protocols import of_protocol
from equiaudit.report import render
from equiaudit.shifts import PROTOCOLS, make_plan

SIDE = SIZE[0]
COUNT = 12


def net(x):
    """Mean colours, and those of every fourth pixel, which depend on where the grid falls."""
    return x.mean((2, 3)) + 1.5 * x[:, :, ::4, ::4].mean((2, 3))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Noise of almost no colour; the folder is the unshifted label, but for the last image."""
    folder = tmp_path_factory.mktemp("p")
    for i in range(COUNT):
        level, spread = 255 * np.array(MEAN), 150 * np.array(STD)
        pixels = np.random.default_rng(i).normal(level, spread, (SIDE + 2, SIDE + 2, 3))
        pixels[..., i % 3] += 9 * (i % 4)
        pixels = pixels.clip(0, 255).astype(np.uint8)
        label = int(net(normal(pixels[1:-1, 1:-1])).argmax())
        home = folder / "abc"[label if i < COUNT - 1 else (label + 1) % 3]
        home.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(home / f"{i:02}.png")
    return folder


def normal(pixels):
    x = (pixels.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
    return torch.from_numpy(x).permute(2, 0, 1)[None]


def opened(images):
    """(true label, pixels with 1 px around the window) in the order of the listing."""
    files = sorted(images.rglob("*.png"), key=str)
    return [("abc".index(f.parent.name), np.asarray(Image.open(f))) for f in files]


def inner(pixels):
    return pixels[1:-1, 1:-1]


def scanned(images, protocol):
    model = small_model(net, num_classes=3, module=None)
    options = ScanOptions(protocol=protocol, images=False, accuracy_check=False)
    done, journal = run_scan(model, dataset(images), options)
    journal.discard()
    return done.result


def label(x):
    return int(net(x.float()).argmax())


def up_by(x, factor):
    """Zeros between the pixels, then an ideal low-pass of the larger torus."""
    side = SIDE * factor
    stuffed = torch.zeros(1, 3, side, side, dtype=torch.float64)
    stuffed[..., ::factor, ::factor] = x
    keep = torch.zeros(side)
    keep[: SIDE // 2], keep[-(SIDE // 2) + 1 :] = 1, 1
    keep[SIDE // 2] = keep[-(SIDE // 2)] = 0.5
    spectrum = torch.fft.fft2(stuffed) * keep[:, None] * keep
    return torch.fft.ifft2(spectrum).real * factor**2


def moved_by(larger, factor, rows, columns):
    """The content of the larger torus up and left by that many of its pixels, every n-th."""
    return larger.roll((-rows, -columns), (2, 3))[..., ::factor, ::factor]


def of_grid(name, x):
    """All labels under one grid of Michaeli et al. 2023."""
    if name == "integer":
        return [label(x.roll(at, (2, 3))) for at in product(range(1, 32), repeat=2)]
    if name == "half":
        larger = up_by(x, 2)
        return [
            label(moved_by(larger, 2, 2 * a - 1, 2 * b - 1))
            for a, b in product(range(1, 32), repeat=2)
        ]
    found = []
    for factor in (3, 4):
        larger = up_by(x, factor)
        steps = product(range(1, factor), repeat=2)
        found += [label(moved_by(larger, factor, a, b)) for a, b in steps]
    return found


@pytest.fixture(scope="module")
def alias_free(images):
    return scanned(images, "alias-free")


@pytest.mark.parametrize(
    ("name", "count"), [("integer", 31**2), ("half", 31**2), ("fractional", 4 + 9)]
)
def test_alias_free_is_the_worst_of_three_grids(images, alias_free, name, count):
    robust, agreement = [], []
    for true, pixels in opened(images):
        x = normal(inner(pixels))
        clean, each = label(x), of_grid(name, x)
        assert len(each) == count
        robust.append(clean == true and all(found == true for found in each))
        agreement.append(np.mean([found == clean for found in each]))
    own = alias_free.shifts[f"alias-free-{name}"].metrics
    assert own["accuracy_robust"].value == np.mean(robust)
    assert own["agreement"].value == pytest.approx(np.mean(agreement), abs=1e-12)
    assert 0 < np.mean(robust) < (COUNT - 1) / COUNT
    assert own["flipped"].value == np.mean([share < 1 for share in agreement])


def test_what_is_right_shifted_has_to_be_right_unshifted_too():
    seen = Observations(
        offsets=np.ones((4, 2, 2), np.int64),
        predicted=np.array([[1, 1], [1, 1], [1, 0], [0, 0]]),
        clean=np.array([1, 0, 1, 0]),
        labels=np.ones(4, np.int64),
    )
    found = of_protocol(seen, ("accuracy_robust", "stability", "fidelity"))
    assert {name: own.value for name, own in found.items()} == {
        "accuracy_robust": 0.25,
        "stability": 0.5,
        "fidelity": 0.25,
    }


def test_alias_free_says_what_it_tried(alias_free):
    text = " ".join(render(alias_free, "text").split())
    assert "961 + 961 + 13 offsets per image" in text
    assert "moved by up to 31 px (alias-free-integer)" in text
    assert "moved by up to 0.75 px (alias-free-fractional)" in text
    assert alias_free.shifts["alias-free-half"].notes[0].startswith("every circular shift by 0.5")


def test_rics_is_the_share_that_one_of_eight_moves_fools(images):
    own = scanned(images, "rics").shifts["rics"].metrics
    fooled, kept = [], []
    for _, pixels in opened(images):
        clean = label(normal(inner(pixels)))
        each = [
            label(normal(pixels[row : row + SIDE, column : column + SIDE]))
            for row, column in product(range(3), repeat=2)
            if (row, column) != (1, 1)
        ]
        fooled.append(any(found != clean for found in each))
        kept.append(np.mean([found == clean for found in each]))
    assert own["flipped"].value == np.mean(fooled)
    assert own["agreement"].value == pytest.approx(np.mean(kept), abs=1e-12)
    assert 0 < np.mean(fooled) < 1


@pytest.mark.parametrize("name", ["standard", "circular"])
def test_tips_asks_two_shifts_the_unshifted_image_and_the_truth(images, name):
    own = scanned(images, "tips").shifts[f"tips-{name}"].metrics
    plan = make_plan((), window=SIZE, protocol="tips", stride=(4, 4))
    series = next(s for s in plan.series if s.name == f"tips-{name}")
    draws = np.stack([plan.offsets(series, i) for i in range(2000)])
    assert (draws.min(), draws.max()) == (-(SIDE // 4), SIDE // 4)
    consistent, stable, faithful = [], [], []
    for i, (true, pixels) in enumerate(opened(images)):
        clean, each = label(normal(inner(pixels))), []
        for dy, dx in plan.offsets(series, i).tolist():
            rolled = np.roll(inner(pixels), (dy, dx), (0, 1))
            if name == "standard":
                rows, columns = np.mgrid[:SIDE, :SIDE]
                gone = ~((rows - dy >= 0) & (rows - dy < SIDE))
                gone |= ~((columns - dx >= 0) & (columns - dx < SIDE))
                rolled[gone] = 0
            each.append(label(normal(rolled)))
        consistent.append(each[0] == each[1])
        stable.append(clean == each[0] == each[1])
        faithful.append(true == clean == each[0] == each[1])
    assert own["consistency"].value == np.mean(consistent)
    assert own["stability"].value == np.mean(stable)
    assert own["fidelity"].value == np.mean(faithful)
    assert 0 < np.mean(faithful) < np.mean(stable) < 1


def test_without_labels_what_asks_for_the_truth_is_left_out(images, tmp_path):
    for i, (_, pixels) in enumerate(opened(images)[:4]):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    own = scanned(tmp_path, "tips").shifts["tips-circular"].metrics
    assert "stability" in own
    assert "fidelity" not in own


def test_gates_know_the_names_of_a_protocol():
    names = PROTOCOLS["alias-free"].names
    check_names((parse_gate("alias-free-half.accuracy_robust>=0.1"),), names, labelled=True)
    with pytest.raises(InputError):
        check_names((parse_gate("rics.fidelity>=0.1"),), ("rics",), labelled=True)


def test_a_protocol_of_labels_is_refused_for_sets(images):
    from equiaudit.tasks.multilabel.audit import SetAudit

    plan = make_plan((), window=SIZE, protocol="tips")
    model = small_model(net, num_classes=3, module=None, task="multilabel")
    with pytest.raises(InputError, match="one label"):
        SetAudit(model, dataset(images), plan, ScanOptions())
