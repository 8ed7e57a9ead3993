"""A small shift-fragile segmenter and filter, images with masks, and slow references."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from small import MEAN, STD, small_model, write_images
from torch import nn

from equiaudit.audit.engine import run_scan
from equiaudit.audit.options import ScanOptions
from equiaudit.data import MaskReader, TargetReader, open_dense_dataset

WINDOW = (16, 20)
CLASSES = 3


def segmenter(classes=CLASSES):
    """Stride 2 down and up again, zero padding; every class is predicted somewhere."""
    torch.manual_seed(5)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(6, classes, 2, 2),
        nn.InstanceNorm2d(classes),
    )
    return net.eval()


def dense_model(net=None, task="segmentation", classes=CLASSES, **changes):
    net = net or segmenter(classes)
    return small_model(
        lambda x: net(x).float(),
        preprocess=small_model().preprocess.__class__(size=WINDOW, mean=MEAN, std=STD),
        module=net if isinstance(net, nn.Module) else None,
        task=task,
        num_classes=classes,
        total_stride=(2, 2),
        **changes,
    )


def write_masks(root, count=4, size=(26, 30), classes=CLASSES, ignored=255):
    """images/ and masks/: blocks of each class, and some pixels to leave out."""
    write_images(root / "images", count=count, size=size)
    (root / "masks").mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(mask_of(i, size, classes, ignored)).save(root / "masks" / f"{i:03}.png")
    return root


def mask_of(i, size, classes=CLASSES, ignored=255):
    rng = np.random.default_rng([7, i])
    mask = np.zeros(size, np.uint8)
    for label in range(1, classes):
        for _ in range(6):
            y, x = rng.integers(0, size[0] - 4), rng.integers(0, size[1] - 4)
            mask[y : y + rng.integers(1, 7), x : x + rng.integers(1, 7)] = label
    if ignored is not None:
        mask[rng.random(size) < 0.03] = ignored
    return mask


def segmentation_data(root, classes=CLASSES, **settings):
    reader = MaskReader(classes, **settings)
    return open_dense_dataset(root, "segmentation", reader)


def image_data(root, **settings):
    return open_dense_dataset(root, "image", TargetReader(**settings))


def dense_scan(data, model=None, **settings):
    folder, observer = settings.pop("folder", None), settings.pop("observer", None)
    options = ScanOptions(**({"max_shift": 4, "offsets": 5, "images": False} | settings))
    done, journal = run_scan(
        model or dense_model(), data, options, folder=folder, observer=observer
    )
    journal.discard()
    return done


def window(pixels, kind, dy, dx, size=WINDOW, entering=0):
    """The window of an array (h, w, ...) whose content moved by (dy, dx), pixel by pixel."""
    height, width = size
    top, left = round((pixels.shape[0] - height) / 2), round((pixels.shape[1] - width) / 2)
    out = np.full((height, width, *pixels.shape[2:]), entering, pixels.dtype)
    for y in range(height):
        for x in range(width):
            a, b = y - dy, x - dx
            if kind == "circular":
                a, b = a % height, b % width
            elif kind == "zero-pad" and not (0 <= a < height and 0 <= b < width):
                continue
            out[y, x] = pixels[top + a, left + b]
    return out


def outputs(net, view, mean=MEAN, std=STD):
    x = (view.astype(np.float32) / 255 - np.float32(mean)) / np.float32(std)
    with torch.inference_mode():
        return net(torch.from_numpy(x).permute(2, 0, 1)[None])[0]


def slow_agreement(clean, shifted, kind, dy, dx):
    """Share of pixels whose label a shift keeps, by a loop over pixels."""
    height, width = clean.shape
    same = seen = 0
    for y in range(height):
        for x in range(width):
            a, b = y + dy, x + dx
            if kind == "circular":
                a, b = a % height, b % width
            elif not (0 <= a < height and 0 <= b < width):
                continue
            seen += 1
            same += int(clean[y, x] == shifted[a, b])
    return same / seen


def slow_iou(pairs, classes):
    """Mean over classes of intersection over union, over all (labels, mask) pairs; -1 is void."""
    found = []
    for label in range(classes):
        both = either = 0
        for labels, mask in pairs:
            for p, t in zip(labels.ravel().tolist(), mask.ravel().tolist(), strict=True):
                if t < 0:
                    continue
                both += p == label and t == label
                either += p == label or t == label
        if either:
            found.append(both / either)
    return sum(found) / len(found)
