"""The CAPS protocol, from a folder to a result."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from equiaudit.api import scan
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.sequences import run_sequences
from equiaudit.comparison import compare_files
from equiaudit.data.sequences import open_sequences
from equiaudit.errors import InputError
from equiaudit.models.types import Model, Preprocess
from equiaudit.report import render

WINDOW = (32, 32)
OPTIONS = ScanOptions(protocol="caps")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Bright squares on dark photos; a mask for each, and one photo without a defect."""
    rng = np.random.default_rng(0)
    for i in range(5):
        pixels = rng.integers(0, 60, (90, 110), np.uint8)
        mask = np.zeros((90, 110), np.uint8)
        if i < 4:
            mask[40 : 45 + i, 50 : 54 + i] = 255
        pixels[mask > 0] = 255
        for folder, values in (("images", pixels), ("masks", mask)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(values).save(tmp_path / folder / f"{i}.png")
    return tmp_path


def model(run: Callable[[Tensor], Tensor], **changes: object) -> Model:
    how = {"size": WINDOW, "mean": (0.0,), "std": (1.0,), "channels": "gray"}
    fields = {
        "name": "threshold",
        "kind": "module",
        "run": run,
        "preprocess": Preprocess(**(how | changes)),
        "task": "segmentation",
        "device": torch.device("cpu"),
        "sha256": "0" * 64,
        "backend": "torch",
        "module": torch.nn.Identity(),
    }
    return Model(**fields)


def perfect(x: Tensor) -> Tensor:
    return torch.cat([torch.full_like(x, 0.5), x], 1)


def blind_at_the_border(x: Tensor) -> Tensor:
    """Sees nothing in the outermost 4 px."""
    inner = torch.zeros_like(x)
    inner[:, :, 4:-4, 4:-4] = x[:, :, 4:-4, 4:-4]
    return inner - 0.5


def on_a_grid(x: Tensor) -> Tensor:
    """Keeps every other column only."""
    y = x.clone()
    y[..., 1::2] = 0
    return torch.cat([torch.full_like(x, 0.5), y], 1)


def figures(photos: Path, run: Callable[[Tensor], Tensor]) -> dict[str, dict[str, float]]:
    done, _ = run_sequences(model(run), open_sequences(photos), OPTIONS)
    return {
        kind: {name: float(e) for name, e in own.metrics.items()}
        for kind, own in done.result.shifts.items()
    }


def test_a_perfect_model_does_not_vary(photos: Path) -> None:
    found = figures(photos, perfect)
    expected = {
        "mean_iou": 1,
        "iou_variance": 0,
        "area_variance": 0,
        "lost_share": 0,
        "iou_range": 0,
    }
    assert found == {"caps-middle": expected, "caps-boundary": expected}


def test_what_goes_wrong_at_the_border_shows_at_the_boundary_alone(photos: Path) -> None:
    found = figures(photos, blind_at_the_border)
    assert found["caps-middle"]["mean_iou"] == 1
    assert found["caps-boundary"]["mean_iou"] < 0.7
    assert found["caps-boundary"]["iou_variance"] > 0


def test_what_depends_on_the_grid_shows_in_the_middle_too(photos: Path) -> None:
    found = figures(photos, on_a_grid)
    assert found["caps-middle"]["area_variance"] > 0
    assert found["caps-middle"]["iou_variance"] > 0


def test_the_sequences_that_vary_most_are_shown_frame_by_frame(photos: Path) -> None:
    data = open_sequences(photos)
    result = run_sequences(model(blind_at_the_border), data, OPTIONS)[0].result
    assert result.shifts["caps-middle"].sequences.worst == ()
    own = result.shifts["caps-boundary"].sequences
    assert [e.n for e in own.by_frame] == [4] * 17
    first = own.worst[0]
    # The window moves right from 2 px beside the corner: what is found grows with the frames.
    assert first.iou[0] < first.iou[-1]
    assert max(first.iou) - min(first.iou) > result.metric("caps-boundary.iou_range").value > 0
    shown = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
        for uri in first.pictures
    ]
    assert len(shown) == 17 == len(first.lost)
    found = [bool((each == (40, 200, 80)).all(-1).any()) for each in shown]
    assert found[0]
    page = render(result, "html")
    assert page.count("data:image/png") == sum(len(each.pictures) for each in own.worst)
    assert "One defect, frame by frame" in page
    bare = run_sequences(model(blind_at_the_border), data, replace(OPTIONS, images=False))[0].result
    assert bare.shifts["caps-boundary"].sequences.worst[0].pictures == ()


def test_a_lost_defect(photos: Path) -> None:
    found = figures(photos, lambda x: perfect(x * 0))
    assert found["caps-middle"]["lost_share"] == 1
    assert found["caps-middle"]["mean_iou"] == found["caps-middle"]["area_variance"] == 0


def test_smaller_maps_are_enlarged(photos: Path) -> None:
    found = figures(photos, lambda x: torch.nn.functional.avg_pool2d(x - 0.5, 2))
    assert 0.3 < found["caps-middle"]["mean_iou"] < 1


def test_a_map_without_a_place_in_the_input_is_an_error(photos: Path) -> None:
    with pytest.raises(InputError, match="maps of 30x30"):
        figures(photos, lambda x: x[..., 1:-1, 1:-1])


def test_a_preprocessing_that_resizes_is_an_error(photos: Path) -> None:
    with pytest.raises(InputError, match="resizes"):
        run_sequences(model(perfect, resize=64), open_sequences(photos), OPTIONS)


def test_a_folder_without_a_sequence_says_why(photos: Path) -> None:
    with pytest.raises(InputError, match="no room for a sequence"):
        run_sequences(model(perfect, size=(88, 100)), open_sequences(photos), OPTIONS)


def test_one_row_per_sequence_and_what_was_left_out(photos: Path) -> None:
    done, _ = run_sequences(model(perfect), open_sequences(photos), OPTIONS)
    rows = list(csv.DictReader(io.StringIO(done.samples)))
    assert len(rows) == 8
    assert rows[1] == {
        "file": "1.png",
        "kind": "caps-middle",
        "frames": "17",
        "mean_iou": "1.0",
        "iou_variance": "0.0",
        "area_variance": "0.0",
        "lost_share": "0.0",
        "iou_range": "0.0",
        "true_area": "30",
        "nonfinite": "0",
    }
    assert "caps-middle: 1 of 5 left out: no defect" in done.result.notes
    assert done.result.shifts["caps-middle"].metrics["mean_iou"].n == 4


def test_an_interrupted_run_goes_on(photos: Path, tmp_path: Path) -> None:
    calls = []

    def counted(x: Tensor) -> Tensor:
        calls.append(len(x))
        if len(calls) == 8:
            raise KeyboardInterrupt
        return on_a_grid(x)

    data, out = open_sequences(photos), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run_sequences(model(counted), data, OPTIONS, folder=out)
    done, journal = run_sequences(model(counted), data, OPTIONS, folder=out)
    again, _ = run_sequences(model(on_a_grid), data, OPTIONS)
    assert done.result.timings.resumed
    assert done.result.shifts == again.result.shifts
    assert done.samples == again.samples
    journal.discard()
    assert not list(out.glob("partial-*"))


def test_scan_writes_and_judges(photos: Path, tmp_path: Path) -> None:
    result = scan(
        model(blind_at_the_border),
        photos,
        protocol="caps",
        gates=("caps-middle.mean_iou>=0.2", "caps-boundary.lost_share<=0.9"),
        output=tmp_path / "out",
    )
    assert next(gate.verdict for gate in result.gates) == "pass"
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"result.json", "samples.csv"}
    for name in ("report.html", "report.md"):
        text = (tmp_path / "out" / name).read_text()
        assert "caps-boundary" in text
        assert "17 windows per sequence" in text


def test_two_models_are_compared_by_sequence(photos: Path, tmp_path: Path) -> None:
    for name, run in (("a", perfect), ("b", blind_at_the_border)):
        scan(model(run), photos, protocol="caps", output=tmp_path / name)
    rows = {row.metric: row for row in compare_files(tmp_path / "a", tmp_path / "b").rows}
    middle, boundary = (rows[f"caps-{s}.mean_iou"] for s in ("middle", "boundary"))
    assert middle.paired
    assert middle.difference.value == 0
    assert boundary.paired
    assert boundary.difference.value < -0.3


def test_labels_cannot_be_followed(photos: Path) -> None:
    classifier = model(perfect)
    object.__setattr__(classifier, "task", "classification")
    with pytest.raises(InputError, match="caps protocol follows a defect"):
        scan(classifier, photos, protocol="caps")
