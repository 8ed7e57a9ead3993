"""Objects that shifts lose and make, against a flood fill and loops over pixels."""

import numpy as np
import pytest
import torch
from dense_small import (
    WINDOW,
    dense_model,
    dense_scan,
    mask_of,
    outputs,
    segmentation_data,
    segmenter,
    window,
    write_masks,
)
from PIL import Image
from torch import nn

from equiaudit.report.findings import findings
from equiaudit.report.text import render_text
from equiaudit.shifts import make_plan

KINDS = ("circular", "crop", "zero-pad")
SIZE = (26, 30)
MASKS, REGIONS = 3, 2
"""Classes of the net with masks, and of the net without."""


def parts(labels):
    """The 8-connected parts of each class but 0, as (class, set of pixels)."""
    todo = {tuple(p) for p in np.argwhere(labels > 0)}
    while todo:
        first = todo.pop()
        label, part, edge = labels[first], {first}, [first]
        while edge:
            y, x = edge.pop()
            near = {(y + a, x + b) for a in (-1, 0, 1) for b in (-1, 0, 1)} & todo
            near = {p for p in near if labels[p] == label}
            todo -= near
            part |= near
            edge += near
        yield int(label), part


def there(p, kind, at):
    """Where a pixel of the unshifted window lies in the shifted one; None outside."""
    moved = tuple(a + d for a, d in zip(p, at, strict=True))
    if kind == "circular":
        return tuple(a % side for a, side in zip(moved, WINDOW, strict=True))
    inside = all(0 <= a < side for a, side in zip(moved, WINDOW, strict=True))
    return moved if inside else None


def moved_back(shifted, kind, at):
    """Labels in the frame of the unshifted window, -2 where none is known."""
    back = np.full(WINDOW, -2)
    for p in np.ndindex(*WINDOW):
        q = there(p, kind, at)
        if q is not None:
            back[p] = shifted[q]
    return back


def cut_by_border(part, back):
    """Whether a part of `back` lies at a pixel beside which, or at the window's end, none is."""
    rows = np.flatnonzero((back > -2).any(1))
    columns = np.flatnonzero((back > -2).any(0))
    return any(y in rows[[0, -1]] or x in columns[[0, -1]] for y, x in part)


def slow(root, kind, classes):
    """Per image: [(class, area, found, tried, hit)], and how many objects were made."""
    net = segmenter(classes)
    plan = make_plan(KINDS, window=WINDOW, stride=(2, 2), max_shift=4, offsets=5, seed=0)
    series = next(s for s in plan.series if s.name == kind)
    for i in range(4):
        pixels = np.asarray(Image.open(root / "images" / f"{i:03}.png").convert("RGB"))
        clean = outputs(net, window(pixels, "crop", 0, 0)).argmax(0).numpy()
        true = clean
        if classes == MASKS:
            mask = mask_of(i, SIZE).astype(np.int64)
            true = window(np.where(mask == 255, -1, mask), "crop", 0, 0)
        objects = [[c, p, any(clean[q] == c for q in p), 0, 0] for c, p in parts(true)]
        made = 0
        for at in map(tuple, plan.offsets(series, i).tolist()):
            shifted = outputs(net, window(pixels, kind, *at)).argmax(0).numpy()
            back = moved_back(shifted, kind, at)
            for each in objects:
                if all(there(p, kind, at) is not None for p in each[1]):
                    each[3] += 1
                    each[4] += any(back[p] == each[0] for p in each[1])
            for label, part in parts(np.maximum(back, 0)):
                cut = kind != "circular" and cut_by_border(part, back)
                seen = any(label in (clean[p], true[p]) for p in part)
                made += not cut and not seen and any(true[p] >= 0 for p in part)
        yield [(c, len(p), f, n, k) for c, p, f, n, k in objects if n], made


@pytest.fixture(scope="module", params=(MASKS, REGIONS))
def case(request, tmp_path_factory):
    """(root, classes, result)"""
    classes = request.param
    root = write_masks(tmp_path_factory.mktemp("objects") / "data")
    data = segmentation_data(root if classes == MASKS else root / "images", classes)
    return root, classes, dense_scan(data, dense_model(classes=classes)).result


@pytest.mark.parametrize("kind", KINDS)
def test_fates_of_objects_equal_a_flood_fill(case, kind):
    root, classes, result = case
    each = list(slow(root, kind, classes))
    objects = [o for own, _ in each for o in own]
    found = [o for o in objects if o[2]]
    lost, ever, new = (
        ("lost_object", "lost_object_ever", "false_object")
        if classes == MASKS
        else ("lost_region", "lost_region_ever", "new_region")
    )
    share = sum(n - k for _, _, _, n, k in found) / sum(n for _, _, _, n, _ in found)
    struck = [k < n for _, _, _, n, k in found]
    assert 0 < share < 1
    assert 0 < np.mean(struck) < 1
    assert result.metric(f"{kind}.{lost}").value == pytest.approx(share, abs=1e-12)
    assert result.metric(f"{kind}.{ever}").value == pytest.approx(np.mean(struck), abs=1e-12)
    made = np.mean([n / 5 for _, n in each])
    assert made > 0
    assert result.metric(f"{kind}.{new}").value == pytest.approx(made, abs=1e-12)

    table = result.shifts[kind].dense.objects
    assert table.of == ("masks" if classes == MASKS else "predictions")
    always = [bool(f) and n == k for _, _, f, n, k in objects]
    assert sum(size.objects for size in table.sizes) == len(objects)
    assert sum(size.always for size in table.sizes) == sum(always)
    assert sum(size.lost for size in table.sizes) == sum(struck)
    small = [a for (_, a, *_), kept in zip(objects, always, strict=True) if a < 16 and kept]
    assert table.sizes[0].low == 1
    assert table.sizes[0].always == len(small)
    missed = max(a for (_, a, *_), kept in zip(objects, always, strict=True) if not kept)
    safe = [a for _, a, *_ in objects if a > missed]
    assert table.safe_area == min(safe, default=None)
    assert table.safe_objects == len(safe)
    named = [(one.area, one.found, one.tried) for one in table.lost]
    wanted = sorted(((a, k, n) for _, a, f, n, k in found if k < n), key=lambda o: o[1] / o[2])
    assert sorted(named) == sorted(wanted)[:20] or len(wanted) > 20
    assert [k / n for _, k, n in named] == [k / n for _, k, n in wanted[:20]]


def test_the_finding_speaks_of_objects_and_hides_no_pixels(case):
    _, classes, result = case
    noun = "object" if classes == MASKS else "predicted region"
    first = findings(result)[0]
    assert first.kind == "crop"
    assert noun in first.sentence
    assert "lost when moved" in first.sentence
    assert "of pixels change their label" in first.evidence
    assert "at some of their moves" in first.evidence
    text = render_text(result)
    assert "found unshifted and at every shift, by size" in text
    assert "lost most often under crop" in text


def test_where_none_is_lost_the_finding_says_so_and_all_sizes_are_safe(tmp_path):
    torch.manual_seed(1)
    net = nn.Conv2d(3, MASKS, 5, padding=2, bias=False, padding_mode="circular")
    root = write_masks(tmp_path / "data")
    result = dense_scan(segmentation_data(root), dense_model(net)).result
    shift = result.shifts["circular"]
    assert shift.metrics["lost_object_ever"].value == shift.metrics["false_object"].value == 0
    assert shift.dense.objects.lost == ()
    said = {each.kind: each.sentence for each in findings(result)}
    assert said["circular"].startswith("No object is lost when moved by up to 4 px")
