import numpy as np
import pytest
import torch
from dense_small import (
    CLASSES,
    WINDOW,
    dense_model,
    dense_scan,
    image_data,
    mask_of,
    outputs,
    segmentation_data,
    segmenter,
    slow_agreement,
    slow_iou,
    window,
    write_masks,
)
from PIL import Image
from scipy import ndimage
from skimage.metrics import structural_similarity
from small import write_images
from torch import nn

from equiaudit.shifts import make_plan

KINDS = ("circular", "crop", "zero-pad")
SIZE = (26, 30)


@pytest.fixture
def root(tmp_path):
    return write_masks(tmp_path / "data")


def plan(**settings):
    return make_plan(
        KINDS,
        window=WINDOW,
        stride=(2, 2),
        **({"max_shift": 4, "offsets": 5, "seed": 0} | settings),
    )


def labelled(net, view):
    return outputs(net, view).argmax(0).numpy()


def pixels(root, i):
    return np.asarray(Image.open(root / "images" / f"{i:03}.png").convert("RGB"))


def truth(i):
    mask = mask_of(i, SIZE).astype(np.int64)
    return np.where(mask == 255, -1, mask)


def seen(root, kind):
    """Per image: unshifted labels, and (offset, shifted labels, shifted mask) per offset."""
    net, found = segmenter(), []
    shifts = plan()
    series = next(s for s in shifts.series if s.name == kind)
    for i in range(4):
        clean = labelled(net, window(pixels(root, i), "crop", 0, 0))
        rows = []
        for dy, dx in shifts.offsets(series, i).tolist():
            shifted = labelled(net, window(pixels(root, i), kind, dy, dx))
            rows.append(((dy, dx), shifted, window(truth(i), kind, dy, dx, entering=-1)))
        found.append((clean, window(truth(i), "crop", 0, 0), rows))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_consistency_and_miou_equal_loops_over_pixels(root, kind):
    result = dense_scan(segmentation_data(root)).result
    slow = seen(root, kind)
    name = "mascc" if kind == "circular" else "massc"
    agreements = [
        [slow_agreement(clean, shifted, kind, *at) for at, shifted, _ in rows]
        for clean, _, rows in slow
    ]
    assert 0.3 < np.mean(agreements) < 0.99
    assert result.metric(f"{kind}.{name}").value == pytest.approx(np.mean(agreements), abs=1e-12)
    worst = 1 - np.min(agreements)
    assert result.metric(f"{kind}.flip_rate_max").value == pytest.approx(worst, abs=1e-12)
    clean_pairs = [(clean, mask) for clean, mask, _ in slow]
    shifted_pairs = [(labels, mask) for _, _, rows in slow for _, labels, mask in rows]
    worst_pairs = [
        min((slow_iou([(p, t)], CLASSES), j) for j, (_, p, t) in enumerate(rows))
        for _, _, rows in slow
    ]
    worst_pairs = [rows[j][1:] for (_, j), (_, _, rows) in zip(worst_pairs, slow, strict=True)]
    for metric, pairs in (
        ("miou_clean", clean_pairs),
        ("miou_shifted", shifted_pairs),
        ("miou_worst", worst_pairs),
    ):
        found = result.metric(f"{kind}.{metric}")
        assert found.value == pytest.approx(slow_iou(pairs, CLASSES), abs=1e-12), metric
        assert found.low < found.value < found.high


@pytest.mark.parametrize("kind", KINDS)
def test_lost_objects_equal_a_loop(root, kind):
    result = dense_scan(segmentation_data(root)).result
    lost = found = 0
    for clean, mask, rows in seen(root, kind):
        for label in range(1, CLASSES):
            ids, count = ndimage.label(mask == label, structure=np.ones((3, 3)))
            for which in range(1, count + 1):
                places = np.argwhere(ids == which)
                if not any(clean[y, x] == label for y, x in places):
                    continue
                for (dy, dx), shifted, _ in rows:
                    moved = places + np.array([dy, dx])
                    if kind == "circular":
                        moved = moved % WINDOW
                    elif not all(0 <= y < WINDOW[0] and 0 <= x < WINDOW[1] for y, x in moved):
                        continue
                    found += 1
                    lost += not any(shifted[y, x] == label for y, x in moved)
    assert 0 < lost < found
    assert result.metric(f"{kind}.lost_object").value == pytest.approx(lost / found, abs=1e-12)
    assert sum(s.n for s in [result.metric(f"{kind}.lost_object")]) <= 4


@pytest.mark.parametrize("kind", KINDS)
def test_flips_by_distance_equal_a_loop(root, kind):
    dense = dense_scan(segmentation_data(root)).result.shifts[kind].dense
    height, width = WINDOW
    flips, total = {}, {}
    for clean, _, rows in seen(root, kind):
        for (dy, dx), shifted, _ in rows:
            for y in range(height):
                for x in range(width):
                    a, b = y + dy, x + dx
                    if kind == "circular":
                        a, b = a % height, b % width
                    elif not (0 <= a < height and 0 <= b < width):
                        continue
                    d = min(y, x, height - 1 - y, width - 1 - x)
                    d = min(d, a, b, height - 1 - a, width - 1 - b)
                    total[d] = total.get(d, 0) + 1
                    flips[d] = flips.get(d, 0) + int(clean[y, x] != shifted[a, b])
    assert [(b.low, b.high) for b in dense.profile.bins] == [
        (0, 0),
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 5),
        (6, 7),
    ]
    for found in dense.profile.bins:
        inside = range(found.low, found.high + 1)
        share = sum(flips.get(d, 0) for d in inside) / sum(total.get(d, 0) for d in inside)
        assert found.change.value == pytest.approx(share, abs=1e-12)


def test_an_equivariant_net_keeps_everything_and_padding_shows_at_the_border(root):
    torch.manual_seed(1)
    circular = nn.Conv2d(3, CLASSES, 5, padding=2, bias=False, padding_mode="circular")
    result = dense_scan(segmentation_data(root), dense_model(circular)).result
    assert result.metric("circular.mascc").value == 1
    assert result.metric("circular.lost_object").value == 0
    zeros = nn.Conv2d(3, CLASSES, 5, padding=2, bias=False)
    result = dense_scan(segmentation_data(root), dense_model(zeros)).result
    bins = result.shifts["crop"].dense.profile.bins
    assert bins[0].change.value > 0.02
    assert all(b.change.value == 0 for b in bins if b.low >= 2)
    assert result.receptive_field.radius == 2
    assert not result.receptive_field.covers_window
    parts = {p.name: p for p in result.boundary}
    assert parts["circular: seam and padding"].estimate.value > 0
    assert abs(parts["circular: sampling"].estimate.value) < 0.1


def test_ssim_psnr_and_nmse_equal_other_implementations(tmp_path):
    root = tmp_path / "d"
    write_images(root / "images", count=3, size=(40, 44))
    write_images(root / "targets", count=3, size=(40, 44), seed=9)
    torch.manual_seed(2)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU(), nn.ConvTranspose2d(6, 3, 2, 2)
    ).eval()
    size = (32, 36)
    model = dense_model(net, task="image")
    how = model.preprocess.__class__(
        size=size, mean=model.preprocess.mean, std=model.preprocess.std
    )
    model = model.__class__(**{**vars(model), "preprocess": how})
    result = dense_scan(image_data(root), model, offsets=3, output_range=(0, 1)).result
    shifts = make_plan(KINDS, window=size, stride=(2, 2), max_shift=4, offsets=3, seed=0)
    for series in shifts.series:
        rows = {name: [] for name in ("nmse", "psnr", "ssim", "delta_psnr")}
        for i in range(3):
            target = np.asarray(Image.open(root / "targets" / f"{i:03}.png").convert("RGB")) / 255
            target = window(target, "crop", 0, 0, size).transpose(2, 0, 1)
            clean = outputs(net, window(pixels(root, i), "crop", 0, 0, size)).double().numpy()
            found = {name: [] for name in rows}
            for dy, dx in shifts.offsets(series, i).tolist():
                view = window(pixels(root, i), series.kind, dy, dx, size)
                shifted = outputs(net, view).double().numpy()
                a, b, t = clean, shifted, target
                if series.kind == "circular":
                    b = np.roll(b, (-dy, -dx), (1, 2))
                else:
                    y, x = (
                        slice(max(0, -dy), size[0] - max(0, dy)),
                        slice(max(0, -dx), size[1] - max(0, dx)),
                    )
                    a, t = a[:, y, x], t[:, y, x]
                    b = b[:, max(0, dy) : size[0] + min(0, dy), max(0, dx) : size[1] + min(0, dx)]
                found["nmse"].append(((a - b) ** 2).sum() / (a**2).sum())
                found["psnr"].append(10 * np.log10(1 / ((a - b) ** 2).mean()))
                found["ssim"].append(
                    structural_similarity(
                        a,
                        b,
                        channel_axis=0,
                        data_range=1.0,
                        gaussian_weights=True,
                        sigma=1.5,
                        use_sample_covariance=False,
                    )
                )
                noise = [((t - o) ** 2).mean() for o in (a, b)]
                found["delta_psnr"].append(abs(10 * np.log10(noise[0] / noise[1])))
            for name, values in found.items():
                rows[name].append(values)
        for name, values in rows.items():
            stated = result.metric(f"{series.name}.{name}")
            assert stated.value == pytest.approx(np.mean(values), rel=1e-5), name
        assert result.metric(f"{series.name}.nmse_max").value == pytest.approx(
            np.max(rows["nmse"]), rel=1e-5
        )
        assert result.metric(f"{series.name}.ssim_min").value == pytest.approx(
            np.min(rows["ssim"]), rel=1e-5
        )
    assert result.metric("circular.ssim").value < 0.99
