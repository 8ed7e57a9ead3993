import json

import numpy as np
import pytest
import torch
from small import brute_force, dataset, small_model, small_net, write_images

from equiaudit.audit.engine import run_scan
from equiaudit.audit.observer import Silent
from equiaudit.audit.options import ScanOptions
from equiaudit.data import TooSmall
from equiaudit.errors import InputError, RunError

FAST = ScanOptions(max_shift=4, offsets=6, images=False)


def scan(images, options=FAST, model=None, **settings):
    data = settings.pop("data", None) or dataset(images)
    done, journal = run_scan(model or small_model(), data, options, **settings)
    journal.discard()
    return done


def essence(done):
    return done.result.model_dump(exclude={"timings"}), done.samples


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images")


@pytest.mark.parametrize("kind", ["circular", "crop", "zero-pad"])
def test_full_equals_brute_force(images, kind):
    options = ScanOptions(shifts=(kind,), max_shift=4, offsets="full", images=False)
    found = scan(images, options).result.shifts[kind]
    slow = brute_force(small_net(), images, kind, 4)
    assert 0.2 < slow["agreement"] < 0.98
    assert found.metrics["consistency"].value == pytest.approx(slow["consistency"], abs=1e-12)
    assert found.metrics["agreement"].value == pytest.approx(slow["agreement"], abs=1e-12)
    agree = np.array(found.agreement_map.agree)
    assert np.array_equal(agree, slow["map"])
    assert np.array_equal(np.array(found.phase_map.agree), slow["phase"])
    assert np.array_equal(np.array(found.phase_map.total), slow["phase_total"])


def test_the_result_does_not_depend_on_batch_size_or_workers(images):
    first = essence(scan(images))
    for batch_size, workers in ((1, 1), (7, 3), (64, 2)):
        options = ScanOptions(
            max_shift=4, offsets=6, images=False, batch_size=batch_size, workers=workers
        )
        assert essence(scan(images, options)) == first


class _Stop(Silent):
    def __init__(self, blocks):
        self.blocks = blocks

    def advance(self, passes):
        self.blocks -= 1
        if self.blocks == 0:
            raise KeyboardInterrupt


def test_an_interrupted_run_continues_to_the_same_result(tmp_path):
    folder = write_images(tmp_path / "many", count=100)
    whole = essence(scan(folder))
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        scan(folder, folder=out, observer=_Stop(2))
    (journal,) = out.glob("partial-*.jsonl")
    assert len(journal.read_text().splitlines()) == 64
    with journal.open("a") as file:
        file.write('{"index":3,"file":"cut sho')
    calls = []
    net = small_net()

    def run(x):
        calls.append(len(x))
        return net(x)

    done = scan(folder, folder=out, model=small_model(run))
    assert essence(done) == whole
    assert done.result.timings.resumed
    assert sum(calls) < 0.5 * 100 * 23
    fresh = scan(folder, ScanOptions(max_shift=4, offsets=6, images=False, resume=False))
    assert not fresh.result.timings.resumed


def test_a_run_stopped_twice_keeps_both_halves(tmp_path):
    folder = write_images(tmp_path / "many", count=100)
    out = tmp_path / "out"
    kept = []
    for blocks in (2, 1):
        with pytest.raises(KeyboardInterrupt):
            scan(folder, folder=out, observer=_Stop(blocks))
        (journal,) = out.glob("partial-*.jsonl")
        kept.append({json.loads(line)["index"] for line in journal.read_text().splitlines()})
    assert [len(indices) for indices in kept] == [64, 96]
    assert kept[0] < kept[1]
    assert essence(scan(folder, folder=out)) == essence(scan(folder))


def test_a_journal_of_other_settings_is_not_read(tmp_path):
    folder = write_images(tmp_path / "many", count=40)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        scan(folder, folder=out, observer=_Stop(1))
    other = ScanOptions(max_shift=4, offsets=5, images=False)
    assert not scan(folder, other, folder=out).result.timings.resumed
    assert scan(folder, folder=out).result.timings.resumed


def test_limit_keeps_the_shifts_of_each_image(images):
    few = scan(images, data=dataset(images, limit=4)).samples.splitlines()
    many = scan(images).samples.splitlines()
    assert len(few) == 1 + 4 * 3
    assert set(few) < set(many)


def test_unreadable_images_are_counted_and_named(images):
    (images / "zz broken.png").write_bytes(b"not an image")
    result = scan(images).result
    assert [lost.name for lost in result.unreadable] == ["zz broken.png"]
    assert result.metric("circular.consistency").n == 10
    with pytest.raises(InputError, match=r"zz broken\.png"):
        scan(images, ScanOptions(strict=True, max_shift=4))


def test_a_folder_of_broken_images_is_one_sentence(tmp_path):
    for name in ("a.png", "b.jpg"):
        (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(InputError, match="None of the 2 images"):
        scan(tmp_path)


def test_a_source_without_room_for_crops_is_named(tmp_path):
    folder = write_images(tmp_path, count=2, size=(20, 20))
    with pytest.raises(TooSmall, match=r"00\d\.png"):
        scan(folder)
    circular = ScanOptions(shifts=("circular", "zero-pad"), max_shift=4, offsets=4)
    assert scan(folder, circular).result.metric("circular.agreement").n == 2


def test_non_finite_outputs_are_named_and_left_out(images):
    net = small_net()

    def run(x):
        out = net(x)
        out[x[:, :, :5].sum((1, 2, 3)) < -350, 0] = float("nan")
        return out

    result = scan(images, model=small_model(run)).result
    lost = result.shifts["zero-pad"].nonfinite
    assert lost
    assert result.metric("zero-pad.agreement").n == 10 - len(lost)
    assert all(np.isfinite(result.metric(f"circular.{m}").value) for m in ("agreement",))
    with pytest.raises(RunError, match="NaN or infinite"):
        scan(images, model=small_model(lambda x: net(x) * float("inf")))


def test_accuracy_near_chance_stops_the_run(tmp_path):
    folder = write_images(tmp_path / "i", count=60, classes=("a", "b", "c", "d"))
    out = tmp_path / "out"
    with pytest.raises(InputError, match="preprocessing is probably wrong"):
        scan(folder, folder=out)
    assert not list(out.glob("partial*"))
    forced = ScanOptions(max_shift=4, offsets=4, accuracy_check=False)
    assert scan(folder, forced).result.labelled


def test_a_perfect_model_keeps_all_labels(images):
    result = scan(
        images, model=small_model(lambda x: x.double().sum((2, 3)).round().float())
    ).result
    assert result.metric("circular.consistency").value == 1
    assert result.metric("circular.logit_error_max").value == 0
    assert result.metric("zero-pad.logit_error_max").value > 0


def test_boundary_parts_tell_sampling_from_padding(images):
    def phase_only(x):
        """Answers to the phase modulo 4 and to nothing else."""
        grid = x[:, :, ::4, ::4].double().sum((1, 2, 3))
        rest = x.double().sum((1, 2, 3)) / 16
        return torch.stack([grid - rest, rest - grid], 1).float()

    parts = {p.name: p for p in scan(images, model=small_model(phase_only)).result.boundary}
    assert parts["circular: seam and padding"].estimate.value == 0
    assert parts["circular: sampling"].estimate.value > 0.2
    blind = small_model(total_stride=None)
    merged = {p.name: p for p in scan(images, model=blind).result.boundary}
    assert "stride" in merged["crop: border + sampling"].reason
    circular = ScanOptions(shifts=("circular",), max_shift=4, offsets=4)
    missing = {p.name: p for p in scan(images, circular).result.boundary}
    assert missing["crop: sampling"].reason == "needs crop shifts"
    assert missing["zero-pad: black"].reason == "needs crop and zero-pad shifts"


@pytest.mark.parametrize("name", ["mass", "aps"])
def test_protocols_stand_under_their_own_name(images, name):
    result = scan(images, ScanOptions(protocol=name)).result
    assert result.metric_names()[0] == f"{name}.consistency"
    assert result.boundary == ()
    assert "equal" in result.shifts[name].notes[0]


def test_worst_images_come_with_what_the_model_saw(images):
    done = scan(images, ScanOptions(max_shift=4, offsets=6))
    worst = done.result.worst[0]
    assert worst.thumbnail_clean.startswith("data:image/png;base64,")
    assert worst.thumbnail_clean != worst.thumbnail_shifted
    assert worst.clean_label != worst.flipped_label
    json.dumps(done.result.model_dump())
    bare = scan(images).result.worst
    assert [w.file for w in bare] == [w.file for w in done.result.worst]
    assert bare[0].thumbnail_clean is None


def test_a_binary_score_becomes_two_classes(images):
    def run(x):
        return x[:, :1, ::4, ::4].mean((2, 3)) - x[:, 1:2, 1::4, 1::4].mean((2, 3))

    result = scan(images, model=small_model(run, num_classes=1)).result
    assert 0 < result.metric("circular.agreement").value < 1


def test_probabilities_are_named_in_the_notes(images):
    net = small_net()
    ends_in_softmax = small_model(lambda x: net(x).softmax(1), outputs_probabilities=True)
    found = scan(images, model=ends_in_softmax).result
    assert any("probabilities" in note for note in found.notes)
    bare = scan(images).result
    assert not any("probabilities" in note for note in bare.notes)
    for name in ("consistency", "agreement"):
        assert found.metric(f"crop.{name}").value == bare.metric(f"crop.{name}").value
    wobble = (found.metric("crop.confidence_wobble").value, bare.metric("crop.confidence_wobble"))
    assert wobble[0] == pytest.approx(wobble[1].value, abs=1e-6)
