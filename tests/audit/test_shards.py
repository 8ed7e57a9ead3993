"""Shards: together they are the scan, and nothing else is taken for one."""

import json
from dataclasses import replace

import pytest
import torch
from dense_small import dense_model, segmentation_data, write_masks
from small import dataset, small_model, write_images

from equiaudit.api.merging import merge, scan_shard
from equiaudit.audit.engine import run_scan
from equiaudit.audit.merging import merged, open_shards, run_shard
from equiaudit.audit.observer import Silent
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.shards import Shard
from equiaudit.errors import InputError
from equiaudit.report import render

OPTIONS = ScanOptions(max_shift=4, offsets=5, accuracy_check=False)
FEW = replace(OPTIONS, shifts=("circular",), images=False)


def written(scan):
    """result.json without its timings, and samples.csv, as text."""
    result = json.loads(render(scan.result, "json"))
    del result["timings"]
    return json.dumps(result), scan.samples


def whole(model, data, options=OPTIONS):
    scan, journal = run_scan(model, data, options)
    journal.discard()
    return scan


def in_shards(model, data, count, folder, options=OPTIONS, **more):
    return [
        run_shard(model, data, options, Shard(i + 1, count), folder, **more) for i in range(count)
    ]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three blocks and a bit, in four classes, one file unreadable."""
    folder = write_images(tmp_path_factory.mktemp("i"), count=100, classes=("a", "b", "c", "d"))
    (folder / "a" / "torn.png").write_bytes(b"no image")
    return folder


@pytest.fixture
def parts(images, tmp_path):
    """The files of three shards."""
    return in_shards(small_model(), dataset(images), 3, tmp_path / "parts", FEW)


@pytest.mark.parametrize("count", [1, 3, 9])
def test_shards_of_a_classifier_are_the_scan_to_the_last_byte(images, tmp_path, count):
    """Nine are more than there are blocks: some have nothing to do."""
    model, data = small_model(), dataset(images)
    one = whole(model, data)
    in_shards(model, data, count, tmp_path)
    together = merged(open_shards([tmp_path]))
    assert written(together) == written(one)
    assert one.result.worst[0].thumbnail_clean is not None
    assert together.result.timings.passes == one.result.timings.passes
    assert together.result.unreadable[0].name == "a/torn.png"


def test_shards_of_a_segmenter_are_the_scan_to_the_last_byte(tmp_path):
    data = segmentation_data(write_masks(tmp_path / "data", count=40))
    model = dense_model()
    one = whole(model, data)
    in_shards(model, data, 2, tmp_path / "parts")
    assert written(merged(open_shards([tmp_path / "parts"]))) == written(one)
    assert len(one.result.examples) == 12


def test_merging_takes_neither_model_nor_images(tmp_path):
    folder = write_images(tmp_path / "images", count=70)
    calls = []

    def run(x):
        calls.append(len(x))
        return small_model().run(x)

    one = whole(small_model(), dataset(folder))
    in_shards(small_model(run), dataset(folder), 2, tmp_path / "parts")
    before = sum(calls)
    for path in folder.glob("*.png"):
        path.unlink()
    assert written(merged(open_shards([tmp_path / "parts"]))) == written(one)
    assert sum(calls) == before > 0


def test_the_order_in_which_files_are_named_does_not_matter(parts):
    assert written(merged(open_shards(parts))) == written(merged(open_shards(parts[::-1])))


class _Stop(Silent):
    def advance(self, passes):
        raise KeyboardInterrupt


def test_an_interrupted_shard_continues_and_a_finished_one_is_left(images, tmp_path):
    model, data = small_model(), dataset(images)
    one = whole(model, data, FEW)
    with pytest.raises(KeyboardInterrupt):
        in_shards(model, data, 2, tmp_path, FEW, observer=_Stop())
    assert not list(tmp_path.glob("shard-*"))
    assert list(tmp_path.glob("partial-*"))
    first = in_shards(model, data, 2, tmp_path, FEW)
    assert not list(tmp_path.glob("partial-*"))
    assert open_shards(first)[0].end.timings.resumed
    stamp = first[1].stat().st_mtime_ns
    in_shards(model, data, 2, tmp_path, FEW)
    assert first[1].stat().st_mtime_ns == stamp
    assert written(merged(open_shards([tmp_path]))) == written(one)


def test_a_missing_shard_is_named(parts):
    with pytest.raises(InputError, match="1 of 3 shards are missing: 2"):
        open_shards([parts[0], parts[2]])


def test_a_shard_named_twice_is_refused(parts):
    with pytest.raises(InputError, match="Shard 1 of 3 is there twice"):
        open_shards([*parts, parts[0]])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "settings .seed"),
        ({"max_shift": 3}, "settings .max_shift"),
        ({"images": True}, "settings .images"),
    ],
)
def test_a_shard_of_other_settings_is_refused(images, parts, tmp_path, change, named):
    options = replace(FEW, **change)
    other = run_shard(small_model(), dataset(images), options, Shard(2, 3), tmp_path / "o")
    with pytest.raises(InputError, match=named):
        open_shards([parts[0], other, parts[2]])


def test_a_shard_of_another_model_or_other_data_is_refused(images, parts, tmp_path):
    model = small_model(sha256="1" * 64)
    other = run_shard(model, dataset(images), FEW, Shard(2, 3), tmp_path / "m")
    with pytest.raises(InputError, match="the model or how it is run"):
        open_shards([parts[0], other, parts[2]])
    data = dataset(write_images(tmp_path / "images", count=70))
    other = run_shard(small_model(), data, FEW, Shard(2, 3), tmp_path / "d")
    with pytest.raises(InputError, match="their data"):
        open_shards([parts[0], other, parts[2]])


def test_shards_of_another_count_are_refused(images, parts, tmp_path):
    other = run_shard(small_model(), dataset(images), FEW, Shard(2, 2), tmp_path / "c")
    with pytest.raises(InputError, match="the number of shards"):
        open_shards([parts[0], other])


def test_files_that_are_cut_short_or_changed_are_refused(parts):
    lines = parts[1].read_bytes().splitlines(keepends=True)
    for kept, said in (
        (lines[:-1], "not complete"),
        ([*lines[:-1], lines[-1][:40]], "not complete"),
        (lines[:1], "not complete"),
        ([], "no shard"),
        ([b"{}\n", *lines[1:]], "no shard"),
        (lines[:2] + lines[3:], "damaged"),
        ([lines[0], lines[1].replace(b'"clean":', b'"clean": ', 1), *lines[2:]], "damaged"),
    ):
        parts[1].write_bytes(b"".join(kept))
        with pytest.raises(InputError, match=said):
            open_shards(parts)
    parts[1].unlink()
    with pytest.raises(InputError, match="cannot be read"):
        open_shards(parts)


def test_a_shard_of_another_version_is_refused(parts):
    head, rest = parts[0].read_text().split("\n", 1)
    head = json.dumps(json.loads(head) | {"tool_version": "0.0.0"})
    parts[0].write_text(f"{head}\n{rest}")
    with pytest.raises(InputError, match=r"written by version 0\.0\.0"):
        open_shards(parts)


def test_a_folder_without_shards_is_refused(tmp_path):
    with pytest.raises(InputError, match="no shards in"):
        open_shards([tmp_path])


@pytest.mark.parametrize(
    "text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1/2/3", "1/99999999999"]
)
def test_a_shard_that_cannot_be_is_refused(text):
    with pytest.raises(InputError, match="--shard is"):
        Shard.parse(text)


def test_shards_have_each_block_once_and_are_of_one_size():
    blocks = list(range(11))
    own = [Shard(i, 3).own(blocks) for i in (1, 2, 3)]
    assert sorted(k for part in own for k in part) == blocks
    assert {len(part) for part in own} == {3, 4}


def test_a_shard_does_not_end_early(images, tmp_path):
    for settings in ({"early_stop": True}, {"precision": 0.1}, {"protocol": "caps"}):
        with pytest.raises(InputError, match=r"shard|caps"):
            scan_shard(small_model(), images, "1/2", output=tmp_path, **settings)


def test_gates_of_the_shards_are_judged_when_they_are_merged(images, tmp_path):
    gate = "circular.consistency>=0.01"
    how = {"max_shift": 4, "offsets": 5, "accuracy_check": False}
    for part in ("1/2", "2/2"):
        scan_shard(small_model(), images, part, output=tmp_path, gates=[gate], **how)
    result = merge([tmp_path], output=tmp_path / "out")
    assert [(g.expression, g.verdict) for g in result.gates] == [(gate, "pass")]
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "report.html",
        "report.md",
        "result.json",
        "samples.csv",
    }
    other = merge([tmp_path], gates=["circular.consistency>=0.999"])
    with pytest.raises(InputError, match="no baseline is named"):
        merge([tmp_path], gates=["circular.consistency drop<=0.1"])
    assert other.gates[0].verdict == "fail"
    with pytest.raises(InputError, match="consistensy"):
        merge([tmp_path], gates=["circular.consistensy>=0.9"])


def test_a_shard_made_on_a_gpu_is_merged_without_one(parts):
    """The device is a word in the file, and that of the merging machine does not show."""
    for path in parts:
        head, rest = path.read_text().split("\n", 1)
        data = json.loads(head)
        data["model"]["device"] = "cuda:0"
        path.write_text(f"{json.dumps(data)}\n{rest}")
    assert merged(open_shards(parts)).result.fingerprint.device == "cuda:0"
    assert torch.device("cpu") == small_model().device
