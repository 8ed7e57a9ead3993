"""Embeddings: distances and nearest images are those of a slow loop over all pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from loops import KINDS, Whole, check_shards, offsets_of, outputs, scan, write_images
from PIL import Image

from equiaudit.errors import InputError
from equiaudit.report import FORMATS, render
from equiaudit.tasks.embedding import gallery as galleries
from equiaudit.tasks.embedding.gallery import Gallery


class Vector(Whole):
    """Sums over the image, less what they are on average: directions that differ."""

    def answer(self, x):
        sums = self.mixed(x).sum((2, 3))
        return torch.cat([sums, sums.roll(1, 1) - 2 * sums], 1) % 4001 - 2000


@pytest.fixture
def data(tmp_path):
    for name, seed in (("cat", 0), ("dog", 1), ("emu", 2)):
        write_images(tmp_path / "data" / name, 4, seed)
    return tmp_path / "data"


def files_of(data):
    return sorted(data.rglob("*.png"))


def unit(vector):
    return vector / np.sqrt((vector**2).sum())


def nearest(vector, own, clean):
    """Places of the other images, the nearest first."""
    others = [k for k in range(len(clean)) if k != own]
    return sorted(others, key=lambda k: (-round(float(unit(vector) @ unit(clean[k])), 12), k))


def voted(order, labels):
    five = [labels[k] for k in order[:5]]
    return max(dict.fromkeys(five), key=five.count)


def test_every_figure_is_that_of_a_slow_loop(data):
    result = scan(Vector(), data, "embedding")
    files = files_of(data)
    labels = [file.parent.name for file in files]
    clean = [outputs(Vector(), file, "crop", [(0, 0)])[0] for file in files]
    for kind in KINDS:
        rows = {name: [] for name in ("distance", "consistency", "kept", "clean", "part", "worst")}
        single = []
        for i, file in enumerate(files):
            offsets = offsets_of(Vector(), "embedding", kind, i)
            _, shifted = outputs(Vector(), file, kind, offsets)
            far = [1 - float(unit(y) @ unit(clean[i])) for y in shifted]
            single += far
            orders = [nearest(y, i, clean) for y in (clean[i], *shifted)]
            first, *others = [order[0] for order in orders]
            pairs = [a == b for j, a in enumerate(others) for b in others[:j]]
            right = [voted(order, labels) == labels[i] for order in orders]
            rows["distance"].append(np.mean(far))
            rows["consistency"].append(np.mean(pairs))
            rows["kept"].append(np.mean([each == first for each in others]))
            rows["clean"].append(right[0])
            rows["part"].append(np.mean(right[1:]))
            rows["worst"].append(all(right[1:]))
        found = {name: float(e) for name, e in result.shifts[kind].metrics.items()}
        expected = {
            "cosine_distance": np.mean(rows["distance"]),
            "cosine_distance_p95": np.quantile(single, 0.95),
            "cosine_distance_max": max(single),
            "neighbour_consistency": np.mean(rows["consistency"]),
            "neighbour_kept": np.mean(rows["kept"]),
            "knn_accuracy_clean": np.mean(rows["clean"]),
            "knn_accuracy_shifted": np.mean(rows["part"]),
            "knn_accuracy_worst": np.mean(rows["worst"]),
        }
        assert found == pytest.approx(expected, abs=1e-13)
        assert 0 < expected["neighbour_kept"] < 1
        assert found["cosine_distance"] > 0.1


def test_an_exact_net_keeps_everything_and_a_strided_one_does_not(data):
    still = scan(Vector(1), data, "embedding", shifts=("circular",))
    for name, value in (("cosine_distance_max", 0), ("neighbour_kept", 1)):
        assert float(still.metric(f"circular.{name}")) == value
    assert float(still.metric("circular.neighbour_consistency")) == 1
    moved = scan(Vector(2), data, "embedding", shifts=("circular",))
    assert float(moved.metric("circular.neighbour_consistency")) < 1
    assert float(moved.metric("circular.cosine_distance")) > 0


def test_the_image_itself_is_never_its_nearest(data, tmp_path):
    scan(Vector(1), data, "embedding", shifts=("circular",), output=tmp_path / "out")
    rows = (tmp_path / "out" / "samples.csv").read_text().splitlines()[1:]
    header = (tmp_path / "out" / "samples.csv").read_text().splitlines()[0].split(",")
    files = files_of(data)
    clean = [outputs(Vector(1), file, "crop", [(0, 0)])[0] for file in files]
    for i, row in enumerate(rows):
        cells = dict(zip(header, row.split(","), strict=True))
        expected = files[nearest(clean[i], i, clean)[0]].relative_to(data).as_posix()
        assert cells["nearest"] == expected != cells["file"]


def test_equally_near_images_count_in_the_order_of_the_listing():
    units = np.array([[1.0, 0], [0, 1], [0, 1], [1, 0]])
    found = Gallery(units, np.array([3, 5, 8, 9], np.int32), np.array([0, 1, 1, 0], np.int32))
    first, label = found.nearest(units, np.array([3, 5, 8, 9], np.int32))
    assert first.tolist() == [9, 8, 5, 3]
    # Of three others two are of the other class; of 5 nearest there are but three.
    assert label.tolist() == [1, 0, 0, 1]
    alone = Gallery(units[:1], np.array([3], np.int32), np.array([-1], np.int32))
    assert alone.nearest(units[:1], np.array([3], np.int32))[0].tolist() == [-1]


def test_the_gallery_is_looked_through_in_parts(data, monkeypatch):
    whole = scan(Vector(), data, "embedding")
    monkeypatch.setattr(galleries, "_AT_ONCE", 40)
    assert scan(Vector(), data, "embedding").shifts == whole.shifts


def test_a_gallery_too_large_is_refused_with_a_limit(data, monkeypatch):
    monkeypatch.setattr(galleries, "_MOST_BYTES", 6 * 8 * 10)
    with pytest.raises(InputError, match=r"embeddings of 12 images, 6 numbers each") as error:
        scan(Vector(), data, "embedding")
    assert "limit=10 keeps" in str(error.value.tip)
    assert scan(Vector(), data, "embedding", limit=10).fingerprint.n_images == 10


def test_without_labels_there_is_no_vote_and_one_image_has_no_other(tmp_path):
    flat = write_images(tmp_path / "flat", 7)
    result = scan(Vector(), flat, "embedding")
    assert "knn_accuracy_clean" not in result.shifts["circular"].metrics
    assert 0 <= float(result.metric("circular.neighbour_kept")) <= 1
    one = scan(Vector(), write_images(tmp_path / "one", 1), "embedding")
    assert one.metric("circular.neighbour_kept").value is None
    assert any("no other image" in note for note in one.notes)


def test_a_vector_of_zeros_has_no_direction(data, tmp_path):
    black = np.zeros((26, 26, 3), np.uint8)
    Image.fromarray(black).save(data / "cat" / "9.png")

    class Plain(Whole):
        def answer(self, x):
            return self.mixed(x).sum((2, 3))

    result = scan(Plain(), data, "embedding")
    assert result.shifts["circular"].nonfinite == ("cat/9.png",)


def test_every_format_speaks_of_it_and_gates_judge_it(data):
    gates = ["circular.cosine_distance<=2", "circular.neighbour_kept>=1"]
    result = scan(Vector(), data, "embedding", gates=gates)
    assert [gate.verdict for gate in result.gates] == ["pass", "fail"]
    texts = {name: render(result, name) for name in FORMATS}
    assert "neighbour_consistency" in texts["csv"]
    assert "The embedding turns by" in texts["github"]
    assert all("5-NN accuracy, shifted" in texts[name] for name in ("text", "md", "html"))


def test_a_settled_gate_ends_the_scan_and_neighbours_are_those_of_all(tmp_path):
    data = write_images(tmp_path / "data", 90)
    gates = ["circular.neighbour_kept>=0.99"]
    net = Vector()
    whole = scan(net, data, "embedding", gates=gates, shifts=("circular",))
    early = scan(Vector(), data, "embedding", gates=gates, shifts=("circular",), early_stop=True)
    assert early.gates[0].verdict == "fail"
    assert early.fingerprint.n_images < 90 == whole.fingerprint.n_images
    assert any("embeddings of all 90" in note for note in early.notes)
    assert early.metric("circular.neighbour_kept").method == "betting-cs"
    assert early.metric("circular.cosine_distance").low is None


def test_shards_and_an_interrupted_scan_come_to_what_one_scan_does(tmp_path):
    for name, seed in (("cat", 0), ("dog", 1)):
        write_images(tmp_path / "data" / name, 20, seed)
    check_shards(Vector, tmp_path / "data", "embedding", tmp_path)
