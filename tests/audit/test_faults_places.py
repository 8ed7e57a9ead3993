"""Disks that are full, folders that go away, memory that runs out."""

import errno
import os
import shutil

import pytest
import torch
from dense_small import dense_model, segmentation_data, write_masks
from small import dataset, small_model, small_net, write_images

from equiaudit.audit.engine import run_scan
from equiaudit.audit.options import ScanOptions
from equiaudit.errors import RunError

OPTIONS = ScanOptions(max_shift=2, offsets=3, images=False, workers=1, accuracy_check=False)


def essence(done):
    return done[0].result.model_dump(exclude={"timings"})


def after(calls, action):
    """A model that has `action` done before its call number `calls`."""
    net, seen = small_net(), []

    def run(batch):
        seen.append(len(batch))
        if len(seen) == calls:
            action()
        return net(batch).float()

    return small_model(run)


def kept(out):
    return sum(len(path.read_text().splitlines()) for path in out.glob("partial-*.jsonl"))


def test_a_folder_that_goes_away_ends_the_scan_and_keeps_what_was_done(tmp_path):
    data, away, out = write_images(tmp_path / "data", 200), tmp_path / "away", tmp_path / "out"
    images = dataset(data)
    model = after(12, lambda: data.rename(away))
    with pytest.raises(RunError, match=r"has gone while its images were read.*run again") as caught:
        run_scan(model, images, OPTIONS, folder=out)
    assert caught.value.exit_code == 3
    assert 0 < kept(out) < 200
    assert 'unreadable":"' not in next(out.glob("partial-*")).read_text()
    away.rename(data)
    resumed = run_scan(small_model(), images, OPTIONS, folder=out)
    assert resumed[0].result.timings.resumed
    assert essence(resumed) == essence(run_scan(small_model(), images, OPTIONS))


def test_a_folder_of_masks_that_is_emptied_ends_the_scan(tmp_path):
    data = segmentation_data(write_masks(tmp_path / "data", 12))
    for mask in (tmp_path / "data" / "masks").iterdir():
        mask.unlink()
    with pytest.raises(RunError, match=r"The folder .*masks has gone"):
        run_scan(dense_model(), data, OPTIONS)


def test_a_file_that_goes_away_is_listed_and_left_out(tmp_path):
    images = dataset(write_images(tmp_path / "data", 6))
    (tmp_path / "data" / "003.png").unlink()
    scan, _ = run_scan(small_model(), images, OPTIONS)
    assert [s.reason for s in scan.result.unreadable] == ["the file is gone"]


def test_a_full_disk_keeps_what_was_done(tmp_path, monkeypatch):
    images, out, synced = dataset(write_images(tmp_path / "data", 100)), tmp_path / "out", []
    real = os.fsync

    def full(handle):
        synced.append(handle)
        if len(synced) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(
            RunError, match=r"No space left on device.*is kept; make room"
        ) as caught:
            run_scan(small_model(), images, OPTIONS, folder=out)
    assert caught.value.exit_code == 3
    assert kept(out) >= 32
    resumed = run_scan(small_model(), images, OPTIONS, folder=out)
    assert essence(resumed) == essence(run_scan(small_model(), images, OPTIONS))


def test_an_output_folder_that_goes_away_is_one_sentence(tmp_path):
    images, out = dataset(write_images(tmp_path / "data", 100)), tmp_path / "out"
    model = after(12, lambda: shutil.rmtree(out))
    with pytest.raises(RunError, match="Cannot write to"):
        run_scan(model, images, OPTIONS, folder=out)


def test_memory_that_runs_out_keeps_what_was_done(tmp_path):
    images, out = dataset(write_images(tmp_path / "data", 100)), tmp_path / "out"
    net, full = small_net(), []

    def run(batch):
        full.append(len(batch))
        if len(full) > 40:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return net(batch).float()

    with pytest.raises(RunError, match="not even one image at a time") as caught:
        run_scan(small_model(run), images, OPTIONS, folder=out)
    assert caught.value.exit_code == 3
    assert kept(out) >= 32
    resumed = run_scan(small_model(), images, OPTIONS, folder=out)
    assert essence(resumed) == essence(run_scan(small_model(), images, OPTIONS))
