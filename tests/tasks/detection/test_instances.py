"""Masks and key points through a whole scan, against a slow loop over pixels."""

import sys
from math import exp
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import label

import equiaudit
from equiaudit.metrics.instances import similarity, spreads
from equiaudit.models.detectors.instances import masks_in, packed
from equiaudit.shifts import make_plan

sys.path.append(str(Path(__file__).parent))
import squares
from squares import WINDOW, Squares, found, outcome, pair_up, rounds, scene, window_at, write

COUNT = 8
KINDS = ("circular", "crop", "zero-pad")


class Shapes(torch.nn.Module):
    """Squares with a mask and the corners of each, as torchvision's detectors return them."""

    def __init__(self, stride):
        super().__init__()
        self.inner = Squares(stride)

    def forward(self, x):
        return [each(image) for image in self.inner(x).numpy()]


def each(image):
    boxes, scores, labels = found(image, (WINDOW, WINDOW))
    groups, count = label(image.max(axis=0) > 0.5)
    step = WINDOW // image.shape[1]
    masks = [np.kron(groups == i + 1, np.ones((step, step))) for i in range(count)]
    stacked = np.array(masks, np.float32).reshape(count, 1, WINDOW, WINDOW)
    x1, y1, x2, y2 = boxes.T
    corners = torch.stack([x1, y1, x2, y1, x2, y2 + (y2 - y1) % 3], 1).reshape(count, 3, 2)
    points = torch.cat([corners, torch.ones(count, 3, 1)], 2)
    return {
        "boxes": boxes,
        "scores": scores,
        "labels": labels,
        "masks": torch.from_numpy(stacked) * 0.9,
        "keypoints": points,
    }


def scanned(net, folder, **how):
    return equiaudit.scan(
        net,
        folder,
        size=(WINDOW, WINDOW),
        mean=(0, 0, 0),
        std=(1, 1, 1),
        device="cpu",
        images=False,
        max_shift=5,
        offsets=4,
        **how,
    )


def objects_at(net, pixels, kind, d):
    """[(box, score, label)], masks as sets of pixels, points: all in the unshifted frame."""
    x = torch.from_numpy(window_at(pixels, kind, *d).astype(np.float32) / np.float32(255))
    own = net(x.permute(2, 0, 1)[None])[0]
    order = sorted(
        range(len(own["scores"])),
        key=lambda i: (-own["scores"][i].item(), -area(own["boxes"][i].tolist())),
    )
    dy, dx = d
    boxes, masks, points = [], [], []
    for i in order:
        x1, y1, x2, y2 = own["boxes"][i].tolist()
        moved = (x1 - dx, y1 - dy, x2 - dx, y2 - dy)
        boxes.append((moved, own["scores"][i].item(), own["labels"][i].item()))
        at = np.argwhere(own["masks"][i, 0].numpy() > 0.5).tolist()
        wrap = WINDOW if kind == "circular" else 10**6
        masks.append({((y - dy) % wrap, (x - dx) % wrap) for y, x in at})
        points.append([(x - dx, y - dy) for x, y, _ in own["keypoints"][i].tolist()])
    return boxes, masks, points


def area(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def cut(mask, kind, offsets):
    if kind == "circular":
        return mask
    return {
        (y, x)
        for y, x in mask
        if all(0 <= y + dy < WINDOW and 0 <= x + dx < WINDOW for dy, dx in [(0, 0), *offsets])
    }


def overlap(a, b):
    return len(a & b) / len(a | b) if a | b else 0.0


def alike(a, b, box, kind):
    total = 0.0
    for (x, y), (u, v) in zip(a, b, strict=True):
        dx, dy = u - x, v - y
        if kind == "circular":
            dx, dy = (d - round(d / WINDOW) * WINDOW for d in (dx, dy))
        total += exp(-(dx**2 + dy**2) / (2 * area(box) * (2 / 3) ** 2))
    return total / len(a)


@pytest.mark.parametrize("kind", KINDS)
def test_masks_and_key_points_are_those_of_a_slow_loop(kind, tmp_path):
    folder = write(tmp_path / "images", COUNT, striped=True)
    net = Shapes(4)
    result = scanned(net, folder, shifts=(kind,), stride=(4, 4))
    how = {"window": (WINDOW, WINDOW), "max_shift": 5, "offsets": 4, "stride": (4, 4)}
    plan = make_plan((kind,), **how)
    ious, points, pairs = [], [], []
    for i in range(COUNT):
        offsets = [tuple(map(int, d)) for d in plan.offsets(plan.series[0], i)]
        clean = objects_at(net, scene(i, striped=True), kind, (0, 0))
        moved = [objects_at(net, scene(i, striped=True), kind, d) for d in offsets]
        mine, near = [], []
        for d, other in zip(offsets, moved, strict=True):
            seen = outcome(clean[0], other[0], kind, [(0, 0), d])
            for a, b in seen["kept"].items():
                one, two = (cut(m, kind, [d]) for m in (clean[1][a], other[1][b]))
                mine.append(overlap(one, two))
                if seen["whole_b"][b]:
                    near.append(alike(clean[2][a], other[2][b], clean[0][a][0], kind))
        if mine:
            ious.append(np.mean(mine))
        if near:
            points.append(np.mean(near))
        counts = np.zeros((10, 2))
        for a, b in rounds(offsets, plan.seed, i):
            at = [offsets[a], offsets[b]]
            counts += shared_objects(moved[a], moved[b], kind, at)
        if counts[:, 1].all():
            pairs.append((counts[:, 0] / counts[:, 1]).mean())
    own = result.shifts[kind].metrics
    assert own["mask_iou"].value == pytest.approx(np.mean(ious), abs=1e-12)
    assert own["keypoint_similarity"].value == pytest.approx(np.mean(points), abs=1e-12)
    assert own["mask_consistency"].value == pytest.approx(np.mean(pairs), abs=1e-12)
    assert max(own[n].value for n in ("mask_iou", "mask_consistency", "keypoint_similarity")) < 1


def shared_objects(one, other, kind, at):
    """(10, 2): objects with a partner by their masks, and all, as for boxes."""
    every = np.linspace(0.5, 0.95, 10)
    return np.array([by_masks(one, other, kind, at, least) for least in every])


def by_masks(one, other, kind, at, least):
    frame = [(0, 0), *at]
    a, b = ([squares.clip(box, kind, frame) for box, _, _ in each[0]] for each in (one, other))
    c, d = ([cut(mask, kind, at) for mask in each[1]] for each in (one, other))
    # What sticks out of its own window is beside the matter: no box here does.
    wa, wb = (
        [squares.is_whole(box, kind, frame) for box, _, _ in each[0]] for each in (one, other)
    )
    labels = [[label for *_, label in each[0]] for each in (one, other)]

    def value(i, j):
        return overlap(c[i], d[j])

    def same(i, j):
        return value(i, j) if labels[0][i] == labels[1][j] else 0.0

    def part(box, boxes, whole):
        cut_ones = [q for q, w in zip(boxes, whole, strict=True) if not w]
        return any(squares.shared(box, q, kind) >= 0.5 * squares.area(box) for q in cut_ones)

    pairs = pair_up(range(len(a)), range(len(b)), same, least)
    apart = {i for i in range(len(a)) if not wa[i] or (i not in pairs and part(a[i], b, wb))}
    left = [i for i in range(len(a)) if i not in pairs and i not in apart]
    used = set(pairs.values())
    free = [j for j in range(len(b)) if j not in used and wb[j] and not part(b[j], a, wa)]
    again = pair_up(left, free, value, least)
    kept = sum(wb[j] for i, j in pairs.items() if i not in apart)
    total = 2 * kept + len(left) - len(again) + len(free) - len(again) + 2 * len(again)
    return 2 * kept, total


def test_an_exact_detector_has_the_same_masks_and_points(tmp_path):
    result = scanned(Shapes(1), write(tmp_path / "images", 6), shifts=("crop",))
    names = ("mask_iou", "mask_consistency", "keypoint_similarity")
    assert [result.metric(f"crop.{name}").value for name in names] == [1, 1, 1]
    assert any("3 key points per object" in note for note in result.notes)


class Tensors(torch.nn.Module):
    """The same in tensors of one number of rows, as exporters write them."""

    def __init__(self, stride):
        super().__init__()
        self.inner = Shapes(stride)

    def forward(self, x):
        each = self.inner(x)
        return {key: torch.stack([padded(own[key]) for own in each]) for key in each[0]}


def padded(tensor, count=14):
    made = torch.zeros(count, *tensor.shape[1:], dtype=tensor.dtype)
    made[: len(tensor)] = tensor
    return made


def test_tensors_of_masks_and_points_are_read_as_dicts_are(tmp_path):
    folder = write(tmp_path / "images", 4, striped=True)
    how = "format=boxes,labels=labels,masks=masks,keypoints=keypoints"
    dicts = scanned(Shapes(4), folder, shifts=("crop",), stride=(4, 4)).shifts["crop"].metrics
    tensors = scanned(Tensors(4), folder, shifts=("crop",), stride=(4, 4), detector=how)
    assert tensors.shifts["crop"].metrics == dicts
    assert dicts["mask_iou"].value < 1
    assert any("3 key points per object" in note for note in tensors.notes)


def test_masks_pass_through_columns_of_numbers():
    rng = np.random.default_rng(0)
    masks = rng.random((3, 7, 11)) < 0.5
    columns = packed(torch.from_numpy(masks.reshape(3, -1))).numpy()
    rows = np.concatenate([np.zeros((3, 6 + 3 * 2)), columns], axis=1)
    flat = np.unpackbits(masks_in(rows, 2, (7, 11)), axis=1, count=77)
    assert packed(torch.zeros(0, 77, dtype=torch.bool)).shape == (0, 4)
    assert np.array_equal(flat.reshape(3, 7, 11), masks)


def test_similarity_is_that_of_pycocotools():
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(1)
    a, b, size = rng.random((17, 2)) * 50, rng.random((17, 2)) * 50, 400.0
    visible = np.full((17, 1), 2.0)
    known = {"keypoints": np.hstack([a, visible]).ravel().tolist(), "bbox": [0, 0, 20, 20]}
    made = {"keypoints": np.hstack([b, visible]).ravel().tolist(), "score": 1.0}
    run = COCOeval(iouType="keypoints")
    run._gts[1, 1], run._dts[1, 1] = [known | {"area": size}], [made]
    expected = run.computeOks(1, 1)[0, 0]
    assert similarity((b - a)[None], np.array([size]))[0] == pytest.approx(expected, rel=1e-12)
    assert spreads(5).tolist() == [0.2] * 5
