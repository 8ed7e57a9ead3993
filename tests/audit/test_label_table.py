"""Records come out of the packed table as they went in."""

from dataclasses import replace

import numpy as np
import pytest
from small import dataset, small_model, write_images

from equiaudit.audit.options import ScanOptions
from equiaudit.audit.setup import plan_of
from equiaudit.audit.shelf import Pile, Records
from equiaudit.tasks.classification.records import LabelRecord
from equiaudit.tasks.classification.table import (
    UNKNOWN,
    LabelTable,
    clean_of,
    figures_of,
    labels_of,
    predicted_of,
)

PLAN = plan_of(small_model(), ScanOptions(max_shift=2, offsets=3))
LIMIT = 7


@pytest.fixture
def images(tmp_path):
    """7 of 12 images, so that their indices are not their places."""
    found = dataset(write_images(tmp_path, 12, classes=("a", "b")), limit=LIMIT, seed=1)
    assert found.items.indices.tolist() != list(range(LIMIT))
    return found


def record_of(item, most=4, **changes):
    rng = np.random.default_rng(item.index)
    record = LabelRecord(
        index=item.index,
        file=item.file,
        sha256=rng.bytes(32).hex(),
        notes=("a note",) if item.index % 2 else (),
        label=item.label,
        clean=int(rng.integers(most)),
        confidence=float(rng.random()),
        columns=LabelTable(images_of(item), PLAN).columns,
        predicted=rng.integers(-1, most, 17).astype(np.int32).tobytes(),
        figures=rng.random(6).tobytes(),
    )
    return replace(record, **changes)


def images_of(item):
    """A dataset of no image."""
    from equiaudit.data import Dataset, Items

    return Dataset(item.path.parent, Items.of(item.path.parent, ()), {}, False, "")


@pytest.mark.parametrize("most", [100, 1000, 100_000])
def test_what_goes_in_comes_out(images, most):
    table = LabelTable(images, PLAN)
    records = {item.index: record_of(item, most) for item in images.items.taken([3, 0, 6, 1])}
    for index, record in records.items():
        table[index] = record
    assert dict(table) == records
    assert list(table) == list(records)  # in the order of coming
    assert len(table) == 4
    assert [item.index in table for item in images.items] == [True, True, 0, True, 0, 0, True]
    wide = np.int8 if most <= 128 else np.int16 if most <= 32768 else np.int32
    assert table.predicted.dtype == wide


def test_columns_are_those_of_the_records_one_by_one(images):
    records = [record_of(item) for item in images.items]
    table = LabelTable(images, PLAN)
    for record in records:
        table[record.index] = record
    order = images.items.indices[[5, 2, 0]]
    packed, plain = (Records.of(shelf, order) for shelf in (table, Pile(records)))
    assert list(packed) == list(plain)
    for column in (clean_of, labels_of):
        assert column(packed).tolist() == column(plain).tolist()
    for name in PLAN.names:
        assert predicted_of(packed, name).tolist() == predicted_of(plain, name).tolist()
        assert figures_of(packed, name).tolist() == figures_of(plain, name).tolist()
    assert UNKNOWN not in labels_of(packed)


def test_a_later_record_takes_the_place_of_an_earlier_one(images):
    table, item = LabelTable(images, PLAN), images.items[2]
    lost = LabelRecord(item.index, item.file, "", label=item.label, unreadable="gone")
    table[item.index] = lost
    assert table[item.index] == lost
    assert len(Records.of(table).readable) == 0
    table[item.index] = record_of(item)
    assert table[item.index] == record_of(item)
    assert len(Records.of(table).readable) == len(table) == 1


def test_what_is_not_of_the_run_is_refused(images):
    table, item = LabelTable(images, PLAN), images.items[0]
    absent = next(i for i in range(12) if i not in images.items.indices)
    for index in (absent, -1, 12):
        with pytest.raises(KeyError):
            table[index] = record_of(item, index=index)
    with pytest.raises(KeyError):
        table[item.index]
    for wrong, said in (
        ({"columns": {"circular": slice(0, 13)}}, "other shifts"),
        ({"columns": None}, "other shifts"),
        ({"sha256": "xyz"}, "hex"),
        ({"predicted": np.zeros(4, np.int32).tobytes()}, "broadcast"),
    ):
        with pytest.raises(ValueError, match=said):
            table[item.index] = record_of(item, **wrong)
    assert len(table) == 0
