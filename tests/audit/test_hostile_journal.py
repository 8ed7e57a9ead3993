"""A journal that holds anything but records of the run is dropped from there on."""

import errno
import os

import pytest
from dense_small import dense_model, segmentation_data, write_masks
from small import dataset, small_model, write_images

from equiaudit.audit.engine import run_scan
from equiaudit.audit.options import ScanOptions
from equiaudit.errors import RunError

OPTIONS = ScanOptions(max_shift=2, offsets=3, images=False, workers=1, accuracy_check=False)
LINES = [
    b"5",
    b'"x"',
    b"[]",
    b"null",
    b"{}",
    b'{"series": 5}',
    b'{"series": {"a": 5}, "contrasts": {}, "notes": []}',
    b'{"series": {"a": {"predicted": [99999999999], "wobble": 1, "logit_error": 1}},'
    b' "contrasts": {}, "notes": []}',
    b"[" * 100_000,
    b"9" * 5_000,
    b"\xff\xfe",
    b"",
]


@pytest.fixture(scope="module", params=["classification", "segmentation"])
def stopped(request, tmp_path_factory):
    """A model and data, what a scan of them says, and the journal of a scan that was stopped."""
    folder = tmp_path_factory.mktemp("journal")
    if request.param == "segmentation":
        make, data = dense_model, segmentation_data(write_masks(folder / "data", 70))
    else:
        make, data = small_model, dataset(write_images(folder / "data", 70))
    real, synced = os.fsync, []

    def full(handle):
        synced.append(handle)
        if len(synced) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RunError):
            run_scan(make(), data, OPTIONS, folder=folder / "out")
    (journal,) = (folder / "out").glob("partial-*.jsonl")
    whole = run_scan(make(), data, OPTIONS)[0].result
    return make, data, whole.model_dump(exclude={"timings"}), journal


@pytest.mark.parametrize("line", LINES, ids=lambda line: repr(line[:24]))
def test_a_line_that_is_no_record_is_dropped(stopped, line, tmp_path):
    make, data, whole, journal = stopped
    kept = journal.read_bytes().splitlines(keepends=True)
    copy = tmp_path / journal.name
    copy.write_bytes(b"".join(kept[:20]) + line + b"\n" + b"".join(kept[20:]))
    again = run_scan(make(), data, OPTIONS, folder=tmp_path)[0].result
    assert again.timings.resumed
    assert again.model_dump(exclude={"timings"}) == whole
