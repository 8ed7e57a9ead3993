"""The passes of a block as arrays, the windows they cut, and the records they leave."""

import json
from dataclasses import replace

import pytest
import torch
from small import dataset, small_model, write_images

from equiaudit.audit.engine import run_scan
from equiaudit.audit.forward import Scene
from equiaudit.audit.geometry import geometry
from equiaudit.audit.jobs import jobs_of
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.setup import plan_of
from equiaudit.audit.task import Source
from equiaudit.data import Decoded, decode
from equiaudit.kinds.pixels import middle
from equiaudit.shifts.canvas import canvas, cut
from equiaudit.tasks.classification.records import LabelRecord

OPTIONS = ScanOptions(max_shift=3, offsets=5, images=False)


@pytest.fixture(scope="module")
def block(tmp_path_factory):
    """Three images, their plan, and a model of stride 2."""
    data = dataset(write_images(tmp_path_factory.mktemp("block"), 3, size=(24, 24)))
    model = replace(small_model(), total_stride=(2, 2))
    plan = plan_of(model, OPTIONS)
    images = [decode(item, geometry(model.preprocess, plan.margin)) for item in data.items]
    sources = [Source(i.item, i.sha256, i.pixels) for i in images if isinstance(i, Decoded)]
    return model, plan, sources


def test_jobs_are_those_of_the_plan(block):
    _, plan, sources = block
    indices = [source.item.index for source in sources]
    expected = [
        (image, name, slot, tuple(offset))
        for image, index in enumerate(indices)
        for name, offsets in [
            *((s.name, plan.offsets(s, index)) for s in plan.series),
            *plan.contrast_offsets(index).items(),
        ]
        for slot, offset in enumerate(offsets.tolist())
    ]
    jobs = jobs_of(plan, indices)
    assert [(j.image, j.name, j.slot, j.offset) for j in jobs] == expected
    assert len(jobs) == len(expected) == 3 * (plan.passes_per_image() - 1)


def test_windows_are_cut_as_one_by_one(block):
    model, plan, sources = block
    scene = Scene(model, plan, sources)
    jobs = jobs_of(plan, [source.item.index for source in sources])
    kinds = {name: kind.name for name, kind in plan.moves.items()}
    batch, starts = scene.batch(7), scene.starts(jobs)
    black = -torch.tensor(model.preprocess.mean) / torch.tensor(model.preprocess.std)
    for begin in range(0, len(jobs), 7):
        part = jobs.part(begin, begin + 7)
        batch.fill_(torch.nan)
        scene.put_shifted(part, starts[begin : begin + 7], batch)
        each = []
        for job in part:
            pixels, kind = scene._pixels[job.image], kinds[job.name]
            reach = plan.margin if kind == "crop" else plan.reach
            made = canvas(pixels, kind, plan.window, reach, black)
            each.append(cut(made, plan.window, reach, job.offset))
            if kind == "circular":
                rolled = torch.roll(middle(pixels, *plan.window), job.offset, (1, 2))
                assert torch.equal(each[-1], rolled)
        each += [each[-1]] * (7 - len(each))
        assert torch.equal(batch, torch.stack(each))


def test_a_model_that_returns_its_own_input_is_compared_with_the_unshifted_one(tmp_path):
    """The batch is filled again and again: what was taken from it must not change with it."""
    data = dataset(write_images(tmp_path, 5, size=(24, 24)))
    own = small_model(lambda batch: batch[:, 0, 8, 8:12])
    copied = small_model(lambda batch: batch[:, 0, 8, 8:12].clone())
    shifts = replace(OPTIONS, shifts=("circular", "zero-pad"), accuracy_check=False)
    first, second = (run_scan(model, data, shifts)[0] for model in (own, copied))
    assert first.samples == second.samples
    assert first.result.metric("circular.consistency") is not None


def test_records_survive_the_journal(tmp_path):
    data = dataset(write_images(tmp_path, 4, size=(24, 24)))
    model = replace(small_model(), total_stride=(2, 2))
    _, journal = run_scan(model, data, replace(OPTIONS, accuracy_check=False))
    for record in journal.records.values():
        line = record.to_json()
        assert LabelRecord.from_json(line) == record
        read = json.loads(line)
        assert set(read["series"]) == set(OPTIONS.shifts)
        assert [len(s["predicted"]) for s in read["series"].values()] == [5, 5, 5]
        assert {name: len(own) for name, own in read["contrasts"].items()} == {
            "circular:views": 4,
            "crop:views": 4,
        }
        changed = line.replace('"wobble":', '"wobble":1')
        assert LabelRecord.from_json(changed) != record


def test_samples_do_not_depend_on_their_pieces(tmp_path, monkeypatch):
    from equiaudit.tasks.classification import samples

    data = dataset(write_images(tmp_path, 5, size=(24, 24)))
    done, _ = run_scan(small_model(), data, replace(OPTIONS, accuracy_check=False))
    whole = list(done.rows())
    monkeypatch.setattr(samples, "_PIECE", 2)
    pieces = list(done.rows())
    assert "".join(whole) == "".join(pieces) == done.samples
    assert (len(whole), len(pieces)) == (2, 4)
    assert all(piece.endswith("\n") for piece in pieces)
