"""Scans of images behind URLs: the same result, and nothing lost with the network."""

import pytest
from dense_small import dense_model, write_masks
from small import MEAN, SIZE, STD, small_model, small_net, write_images
from test_faults_places import after, kept

from equiaudit.api import scan
from equiaudit.data import remote
from equiaudit.errors import RunError

pytest.importorskip("fsspec", reason="URLs are read by fsspec, the extra `remote`")
from shaky import Shaky, install, upload

HOW = {"max_shift": 2, "offsets": 3, "accuracy_check": False}
SECRET = "shaky://me:hunter2@host/photos?X-Signature=abc"


@pytest.fixture(autouse=True)
def _shaky(monkeypatch):
    install()
    monkeypatch.setattr(remote, "_PAUSES", (0.0, 0.0, 0.0))


def essence(result):
    return result.model_dump_json(exclude={"timings"})


def files_of(folder):
    """What a scan wrote, the times aside."""
    names = [path.name for path in folder.iterdir()]
    return sorted(names), (folder / "samples.csv").read_bytes()


@pytest.mark.parametrize("url", ["memory://bucket/photos", "file://{}", SECRET])
def test_a_scan_of_a_url_is_that_of_the_folder(tmp_path, url):
    data = write_images(tmp_path / "photos", 12, classes=("a", "b", "c", "d"))
    (data / "a" / "torn.png").write_bytes(b"no image")
    local = scan(small_model(), data, **HOW, output=tmp_path / "local")
    url = url.format(data)
    if not url.startswith("file"):
        upload(data, url)
    far = scan(small_model(), url, **HOW, output=tmp_path / "far")
    assert essence(far) == essence(local)
    assert local.unreadable
    assert any(image.thumbnail_clean for image in local.worst)
    assert files_of(tmp_path / "far") == files_of(tmp_path / "local")
    text = b"".join(path.read_bytes() for path in (tmp_path / "far").iterdir())
    assert b"hunter2" not in text
    assert b"X-Signature" not in text


def test_masks_behind_a_url_are_those_of_the_folder(tmp_path):
    data = write_masks(tmp_path / "data")
    local = scan(dense_model(), data, **HOW)
    far = scan(dense_model(), upload(data, "shaky://b/data"), **HOW)
    assert local.labelled
    assert essence(far) == essence(local)


def test_a_network_lost_in_mid_run_ends_the_scan_and_keeps_what_was_done(tmp_path):
    data, out = write_images(tmp_path / "photos", 200), tmp_path / "out"
    url = upload(data, SECRET)

    def lose():
        def lost(path):
            raise ConnectionError(f"no route to {SECRET}")

        Shaky.fault = staticmethod(lost)

    with pytest.raises(RunError, match="shaky://host/photos cannot be reached: no") as caught:
        scan(after(2, lose), url, **HOW, output=out)
    assert caught.value.exit_code == 3
    assert "hunter2" not in str(caught.value)
    assert "What was done before is kept" in caught.value.tip
    assert 0 < kept(out) < 200
    files = Shaky.store.copy()
    install()
    Shaky.store.update(files)
    resumed = scan(small_model(), url, **HOW, output=out)
    assert resumed.timings.resumed
    assert essence(resumed) == essence(scan(small_model(), data, **HOW))


def test_a_remote_folder_that_is_removed_ends_the_scan(tmp_path):
    url = upload(write_images(tmp_path / "photos", 200), SECRET)
    with pytest.raises(RunError, match="The folder shaky://host/photos has gone") as caught:
        scan(after(2, install), url, **HOW)
    assert "hunter2" not in str(caught.value)


def test_fix_measures_on_images_behind_a_url(tmp_path):
    from equiaudit.api import fix

    data = write_images(tmp_path / "photos", 12, classes=("a", "b", "c", "d"))
    url = upload(data, "shaky://b/photos")
    how = {"size": SIZE, "mean": MEAN, "std": STD, "device": "cpu", "seconds": 0.5}
    reports = [
        fix(small_net(), tmp_path / name, data=place, max_shift=2, offsets=3, **how)
        for name, place in (("local.pt2", data), ("far.pt2", url))
    ]
    found = [report.model_dump(include={"before", "after"}) for report in reports]
    assert found[0] == found[1]
    assert any(found[0].values())
