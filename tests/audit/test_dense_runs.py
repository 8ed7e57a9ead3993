import csv
import io
import json

import numpy as np
import pytest
import torch
from dense_small import (
    CLASSES,
    WINDOW,
    dense_model,
    dense_scan,
    image_data,
    segmentation_data,
    segmenter,
    write_masks,
)
from PIL import Image
from small import MEAN, STD, write_images
from torch import nn

from equiaudit import scan
from equiaudit.audit.observer import Silent
from equiaudit.comparison import compare_files
from equiaudit.errors import InputError, RunError
from equiaudit.results import load_result
from equiaudit.tasks import TASKS
from equiaudit.tasks.maps.outputs import labels_of


@pytest.fixture
def root(tmp_path):
    return write_masks(tmp_path / "data")


def essence(done):
    return done.result.model_dump(exclude={"timings"}), done.samples


def api(root, **settings):
    base = {
        "size": WINDOW,
        "mean": MEAN,
        "std": STD,
        "max_shift": 3,
        "offsets": 3,
        "images": False,
        "stride": (2, 2),
    }
    return scan(settings.pop("net", None) or segmenter(), root, **(base | settings))


class _Stop(Silent):
    def advance(self, passes):
        raise KeyboardInterrupt


def test_the_result_depends_on_neither_batches_nor_workers_nor_resumption(tmp_path):
    data = segmentation_data(write_masks(tmp_path / "many", count=36))
    whole = essence(dense_scan(data, offsets=3))
    assert essence(dense_scan(data, offsets=3, batch_size=5, workers=1)) == whole
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        dense_scan(data, offsets=3, folder=out, observer=_Stop())
    (journal,) = out.glob("partial-*.jsonl")
    assert len(journal.read_text().splitlines()) == 32
    done = dense_scan(data, offsets=3, folder=out)
    assert done.result.timings.resumed
    assert essence(done) == whole


def test_a_journal_made_with_another_ignore_index_is_not_read(tmp_path):
    root = write_masks(tmp_path / "many", count=36, ignored=None)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        dense_scan(segmentation_data(root), offsets=2, folder=out, observer=_Stop())
    other = dense_scan(segmentation_data(root, ignore=0, offset=0), offsets=2, folder=out)
    assert not other.result.timings.resumed


def test_pictures_maps_and_the_json_of_a_result(root):
    done = dense_scan(segmentation_data(root), images=True)
    result = done.result
    json.dumps(result.model_dump(mode="json"))
    example = result.examples[0]
    pictures = (example.input, example.shifted_input, example.clean, example.shifted_back)
    assert all(p.startswith("data:image/png;base64,") for p in (*pictures, example.difference))
    assert example.truth is not None
    assert 0 < example.change <= 1
    assert example.miou_clean is not None
    assert len(result.examples) == 4 * 3
    dense = result.shifts["circular"].dense
    assert [m.change for m in dense.heat_maps] == sorted(
        (m.change for m in dense.heat_maps), reverse=True
    )
    assert len(dense.heat_maps) == 4
    mean = np.mean([v for row in dense.mean_map.values for v in row])
    assert mean == pytest.approx(result.metric("circular.flip_rate").value, abs=1e-3)
    bare = dense_scan(segmentation_data(root)).result
    assert bare.examples == ()
    assert bare.shifts["crop"].dense.heat_maps == ()
    assert [c.index for c in dense.classes] == [0, 1, 2]
    assert dense.classes[0].lost_object is None
    assert sum(c.pixels for c in dense.classes) <= 4 * WINDOW[0] * WINDOW[1]


def test_every_metric_is_in_the_catalogue_under_its_task_and_kind(root, tmp_path):
    write_images(tmp_path / "i" / "images", count=2, size=(26, 30))
    write_images(tmp_path / "i" / "targets", count=2, size=(26, 30), seed=4)
    scans = (
        dense_scan(segmentation_data(root)),
        dense_scan(image_data(tmp_path / "i"), dense_model(task="image"), output_range=(0, 1)),
    )
    for done in scans:
        for kind, shift in done.result.shifts.items():
            own = TASKS[done.result.fingerprint.task].metrics
            stated = {info.name for info in own if not info.kinds or kind in info.kinds}
            # Regions are objects where there are no masks.
            assert set(shift.metrics) == {name for name in stated if "region" not in name}


def test_samples_hold_one_row_per_image_and_kind(root):
    done = dense_scan(segmentation_data(root))
    rows = list(csv.DictReader(io.StringIO(done.samples)))
    assert len(rows) == 4 * 3
    own = [float(r["kept"]) for r in rows if r["kind"] == "crop"]
    assert np.mean(own) == pytest.approx(done.result.metric("crop.massc").value, abs=1e-12)
    assert {r["nonfinite"] for r in rows} == {"0"}


def test_smaller_outputs_are_upsampled_and_it_is_said(root):
    torch.manual_seed(5)
    net = nn.Sequential(nn.Conv2d(3, CLASSES, 3, stride=4, padding=1), nn.InstanceNorm2d(CLASSES))
    result = dense_scan(segmentation_data(root), dense_model(net)).result
    assert any("4 times smaller" in note and "align_corners=False" in note for note in result.notes)
    scores = torch.randn(2, CLASSES, 4, 5)
    large = nn.functional.interpolate(scores, scale_factor=4, mode="bilinear", align_corners=False)
    assert torch.equal(labels_of(scores, (4, 4), False), large.argmax(1).to(torch.uint8))
    whole = nn.Sequential(net, nn.Upsample(scale_factor=4, mode="bilinear"))
    same = dense_scan(segmentation_data(root), dense_model(whole)).result
    for name in result.metric_names():
        assert result.metric(name) == same.metric(name)


def test_outputs_that_do_not_cover_the_window_are_one_sentence(root, tmp_path):
    valid = nn.Conv2d(3, CLASSES, 5)
    with pytest.raises(InputError, match="returns 12x16 for a window of 16x20"):
        dense_scan(segmentation_data(root), dense_model(valid))
    small = nn.Conv2d(3, 3, 2, stride=2)
    with pytest.raises(InputError, match="images 2 times smaller"):
        dense_scan(segmentation_data(root), dense_model(small, task="image"))
    with pytest.raises(InputError, match="leave no overlap"):
        dense_scan(segmentation_data(root), shifts=("zero-pad",), max_shift=16)
    with pytest.raises(InputError, match="protocol mass compares labels"):
        dense_scan(segmentation_data(root), protocol="mass")


def test_a_single_channel_is_the_score_of_class_one(tmp_path):
    root = write_masks(tmp_path / "d", classes=2, ignored=None)
    for path in (root / "masks").glob("*.png"):
        Image.fromarray(np.asarray(Image.open(path)) * 255).save(path)
    two = segmenter(2)
    one = nn.Sequential(two, nn.Conv2d(2, 1, 1, bias=False))
    with torch.no_grad():
        one[1].weight[:] = torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1)
    by_logit = dense_scan(segmentation_data(root, classes=2), dense_model(one, classes=1)).result
    by_class = dense_scan(segmentation_data(root, classes=2), dense_model(two, classes=2)).result
    sigmoid = nn.Sequential(one, nn.Sigmoid())
    model = dense_model(sigmoid, classes=1, outputs_probabilities=True)
    by_share = dense_scan(segmentation_data(root, classes=2), model).result
    for name in by_class.metric_names():
        expected = by_class.metric(name).value
        assert by_logit.metric(name).value == pytest.approx(expected, abs=2e-3), name
        assert by_share.metric(name).value == pytest.approx(expected, abs=2e-3), name
    assert any("above 0.5" in note for note in by_share.notes)
    loaded = api(root, net=sigmoid)
    assert any("above 0.5" in note for note in loaded.notes)


def test_non_finite_outputs_are_named_and_left_out(root):
    net = segmenter()

    def sometimes(x):
        out, top = net(x), x[:, :, :4]  # black where a shift is the largest downwards
        plain = (top.amax((2, 3)) == top.amin((2, 3))).all(1)
        out[plain, 0, 0, 0] = float("nan")
        return out

    result = dense_scan(segmentation_data(root), dense_model(sometimes)).result
    lost = result.shifts["zero-pad"].nonfinite
    assert 0 < len(lost) < 4
    assert result.metric("zero-pad.massc").n == 4 - len(lost)
    with pytest.raises(RunError, match="NaN or infinite"):
        dense_scan(segmentation_data(root), dense_model(lambda x: net(x) * float("inf")))


def test_images_without_masks_have_no_miou(tmp_path):
    write_images(tmp_path, count=3, size=(26, 30))
    result = dense_scan(segmentation_data(tmp_path)).result
    assert not result.labelled
    assert set(result.shifts["crop"].metrics) == {"massc", "flip_rate", "flip_rate_max"}
    assert result.shifts["crop"].dense.classes == ()


def test_the_task_follows_the_output_and_the_folder(root, tmp_path):
    found = api(root)
    assert found.fingerprint.task == "segmentation"
    assert "circular.miou_worst" in found.metric_names()
    flat = write_images(tmp_path / "flat", count=2, size=(26, 30))
    assert any("--task image" in note for note in api(flat).notes)
    assert api(flat, task="image").metric("circular.nmse").value > 0
    write_images(tmp_path / "t" / "images", count=2, size=(26, 30))
    write_images(tmp_path / "t" / "targets", count=2, size=(26, 30))
    found = api(tmp_path / "t", output_range=(0, 1))
    assert found.fingerprint.task == "image"
    assert found.metric("crop.delta_psnr").value > 0


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ("circular.massc>=0.5", "nearest names are crop.massc"),
        ("crop.mascc>=0.5", "crop shifts do not have"),
        ("circular.consistency>=0.5", "task is segmentation"),
        ("crop.nmse<=0.1", "metric of image"),
        ("crop.miou_shifted>=0.5", "needs masks"),
    ],
)
def test_gates_that_do_not_fit_stop_before_the_run(tmp_path, gate, said):
    flat = write_images(tmp_path / "flat", count=2, size=(26, 30))
    with pytest.raises(InputError, match=said):
        api(flat, gates=[gate], output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_gates_and_comparison_of_maps(root, tmp_path):
    first = api(root, output=tmp_path / "a", gates=["circular.mascc>=0.999", "crop.massc>=0"])
    assert [g.verdict for g in first.gates] == ["fail", "pass"]
    torch.manual_seed(1)
    better = nn.Conv2d(3, CLASSES, 5, padding=2, bias=False, padding_mode="circular")
    second = api(
        root,
        net=better,
        output=tmp_path / "b",
        baseline=tmp_path / "a" / "result.json",
        gates=["circular.mascc drop<=0.01"],
    )
    (verdict,) = second.gates
    assert verdict.verdict == "pass"
    assert "paired by image" in verdict.reason
    rows = {r.metric: r for r in compare_files(tmp_path / "a", tmp_path / "b").rows}
    change = rows["circular.mascc"]
    assert change.paired
    assert change.verdict == "better"
    assert change.difference.value == pytest.approx(1 - float(first.metric("circular.mascc")))
    assert not rows["circular.miou_worst"].paired
    assert load_result(tmp_path / "a").examples == first.examples


def test_images_compare_too(tmp_path):
    write_images(tmp_path / "i" / "images", count=4, size=(26, 30))
    write_images(tmp_path / "i" / "targets", count=4, size=(26, 30), seed=4)
    for name in ("a", "b"):
        api(tmp_path / "i", output=tmp_path / name, output_range=(0, 1))
    rows = {r.metric: r for r in compare_files(tmp_path / "a", tmp_path / "b").rows}
    for name in ("nmse", "psnr", "ssim", "delta_psnr"):
        assert rows[f"zero-pad.{name}"].paired
        assert rows[f"zero-pad.{name}"].difference.value == 0
    assert not rows["zero-pad.nmse_max"].paired


def test_labels_and_masks_do_not_mix(root, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n000.png,1\n")
    with pytest.raises(InputError, match="masks/ beside images/"):
        api(root, labels=table)
    classes = tmp_path / "classes.csv"
    classes.write_text("name,index\nnone,0\ncrack,1\ndent,2\nvoid,255\n")
    named = api(root, classes=classes)
    assert named.class_names == {0: "none", 1: "crack", 2: "dent"}
    assert [c.name for c in named.shifts["crop"].dense.classes] == ["none", "crack", "dent"]


def test_a_scan_of_maps_can_end_early_and_then_states_no_fixed_intervals(tmp_path):
    root = write_masks(tmp_path / "many", count=70)
    found = api(root, precision=0.15)
    assert found.fingerprint.n_images < 70
    assert found.metric("circular.mascc").method == "betting-cs"
    assert found.metric("crop.miou_shifted").low is None
    dense = found.shifts["crop"].dense
    assert dense.profile.bins[0].change.low is None
    assert dense.classes[1].iou_clean.low is None
    with pytest.raises(InputError, match="are for shares"):
        api(root, task="image", precision=0.1)


def test_the_largest_score_is_the_first_of_equals():
    scores = torch.randint(0, 3, (3, 5, 9, 8)).float()
    assert torch.equal(labels_of(scores, (1, 1), False), scores.argmax(1).to(torch.uint8))
