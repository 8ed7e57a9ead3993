"""A detector of coloured squares, scenes of such, and a slow loop over both."""

from math import ceil, sqrt

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import find_objects, label

WINDOW, MARGIN = 48, 6


class Squares(torch.nn.Module):
    """The image at every `stride`-th pixel; `boxes_of` makes boxes of that."""

    def __init__(self, stride=1, bias=0.0):
        super().__init__()
        self.register_buffer("one", torch.ones(1))
        self.stride, self.bias = stride, bias

    def forward(self, x):
        return x[:, :, :: self.stride, :: self.stride] * self.one + self.bias


def boxes_of(returned, window):
    """The decoder: connected bright pixels are an object, its brightest channel the class."""
    return [found(image, window) for image in returned.cpu().numpy()]


def found(image, window):
    stride = window[0] // image.shape[1]
    groups, _ = label(image.max(axis=0) > 0.5)
    boxes, scores, labels = [], [], []
    for i, (rows, columns) in enumerate(find_objects(groups)):
        own = image[:, rows, columns].reshape(3, -1)[:, (groups[rows, columns] == i + 1).ravel()]
        box = (columns.start, rows.start, columns.stop, rows.stop)
        boxes.append([stride * side for side in box])
        scores.append(float(own.max()) - 0.01 * (columns.start % 3))
        labels.append(int(own.sum(axis=1).argmax()))
    return (
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(scores, dtype=torch.float32),
        torch.tensor(labels, dtype=torch.int64),
    )


def scene(seed, *, striped=False, inside=False):
    """(H, W, 3) with squares on black that do not touch; `striped` ones have two colours.

    With `inside` none touches the border of the window: rolled, one that does meets what lies
    at the opposite border.
    """
    rng, side = np.random.default_rng(seed), WINDOW + 2 * MARGIN
    pixels, taken = np.zeros((side, side, 3), np.uint8), np.zeros((side, side), bool)
    for _ in range(12):
        size = int(rng.integers(4, 16))
        top, left = (int(v) for v in rng.integers(0, side - size, 2))
        around = np.s_[max(0, top - 6) : top + size + 6, max(0, left - 6) : left + size + 6]
        low, high = MARGIN + 1, MARGIN + WINDOW - 1
        within = low <= min(top, left) and max(top, left) + size <= high
        if taken[around].any() or (inside and not within):
            continue
        taken[top : top + size, left : left + size] = True
        colour = int(rng.integers(3))
        pixels[top : top + size, left : left + size, colour] = 255
        if striped and rng.random() < 0.5:
            odd = pixels[top : top + size, left : left + size][:, 1::2]
            odd[...] = np.roll(odd, 1, axis=-1)
    return pixels


def write(folder, count, **how):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(scene(i, **how)).save(folder / f"{i:02}.png")
    return folder


# The slow loop: nothing of the package's


def window_at(pixels, kind, dy, dx):
    middle = pixels[MARGIN : MARGIN + WINDOW, MARGIN : MARGIN + WINDOW]
    if kind == "circular":
        return np.roll(middle, (dy, dx), (0, 1))
    if kind == "crop":
        top, left = MARGIN - dy, MARGIN - dx
        return pixels[top : top + WINDOW, left : left + WINDOW]
    made = np.zeros_like(middle)
    for y in range(WINDOW):
        for x in range(WINDOW):
            if 0 <= y - dy < WINDOW and 0 <= x - dx < WINDOW:
                made[y, x] = middle[y - dy, x - dx]
    return made


def detect(net, pixels):
    x = torch.from_numpy(pixels.astype(np.float32) / np.float32(255)).permute(2, 0, 1)[None]
    boxes, scores, labels = boxes_of(net(x), (WINDOW, WINDOW))[0]
    return list(zip(boxes.tolist(), scores.tolist(), labels.tolist(), strict=True))


def back(objects, dy, dx):
    return [((b[0] - dx, b[1] - dy, b[2] - dx, b[3] - dy), s, c) for b, s, c in objects]


def shared(a, b, kind):
    turns = (-2, -1, 0, 1, 2) if kind == "circular" else (0,)
    total = 0.0
    for ty in turns:
        for tx in turns:
            w = min(a[2], b[2] + tx * WINDOW) - max(a[0], b[0] + tx * WINDOW)
            h = min(a[3], b[3] + ty * WINDOW) - max(a[1], b[1] + ty * WINDOW)
            total += max(w, 0) * max(h, 0)
    return total


def area(a):
    return max(a[2] - a[0], 0) * max(a[3] - a[1], 0)


def iou(a, b, kind):
    both = shared(a, b, kind)
    return both / (area(a) + area(b) - both) if both else 0.0


def clip(box, kind, offsets):
    if kind == "circular":
        return box
    x1, y1, x2, y2 = 0, 0, WINDOW, WINDOW
    for dy, dx in offsets:
        x1, y1 = max(x1, -dx), max(y1, -dy)
        x2, y2 = min(x2, WINDOW - dx), min(y2, WINDOW - dy)
    x2, y2 = max(x1, x2), max(y1, y2)
    (a, b), (c, d) = (
        [min(max(v, low), high) for v in ends]
        for ends, low, high in (((box[0], box[2]), x1, x2), ((box[1], box[3]), y1, y2))
    )
    return (a, c, b, d)


def is_whole(box, kind, offsets):
    if kind != "circular":
        return clip(box, kind, offsets) == tuple(box)
    for dy, dx in offsets:
        for low, high, d in ((box[0], box[2], dx), (box[1], box[3], dy)):
            for seam in range(-3 * WINDOW, 3 * WINDOW + 1, WINDOW):
                if low + d < seam < high + d:
                    return False
    return True


def pair_up(rows, columns, value, least):
    """{row: column}: as many as can be, then the largest sum, by trying all ways."""
    rows, columns = list(rows), list(columns)
    fits = {(r, c): value(r, c) for r in rows for c in columns if value(r, c) >= least}
    best, chosen = (0, 0.0), {}

    def go(i, used, pairs):
        nonlocal best, chosen
        if i == len(rows):
            key = (len(pairs), sum(fits[p] for p in pairs.items()))
            if key > best:
                best, chosen = key, dict(pairs)
            return
        for c in columns:
            if c not in used and (rows[i], c) in fits:
                go(i + 1, used | {c}, pairs | {rows[i]: c})
        go(i + 1, used, pairs)

    go(0, frozenset(), {})
    return chosen


def outcome(one, other, kind, offsets, least=0.5):
    """What becomes of the boxes of `one` in `other`, both moved back already."""
    a = [clip(b, kind, offsets) for b, _, _ in one]
    b = [clip(box, kind, offsets) for box, _, _ in other]
    whole_a = [is_whole(box, kind, offsets) for box, _, _ in one]
    whole_b = [is_whole(box, kind, offsets) for box, _, _ in other]

    def same(i, j):
        return iou(a[i], b[j], kind) if one[i][2] == other[j][2] else 0.0

    pairs = pair_up(range(len(a)), range(len(b)), same, least)

    def part(box, boxes, whole):
        cut = [q for q, w in zip(boxes, whole, strict=True) if not w]
        return any(shared(box, q, kind) >= 0.5 * area(box) for q in cut)

    used = set(pairs.values())
    apart = {
        i for i in range(len(a)) if not whole_a[i] or (i not in pairs and part(a[i], b, whole_b))
    }
    left = [i for i in range(len(a)) if i not in pairs and i not in apart]
    free = [j for j in range(len(b)) if j not in used and whole_b[j] and not part(b[j], a, whole_a)]
    again = pair_up(left, free, lambda i, j: iou(a[i], b[j], kind), least)
    return {
        "kept": {i: j for i, j in pairs.items() if i not in apart},
        "relabelled": len(again),
        "lost": len(left) - len(again),
        "appeared": len(free) - len(again),
        "apart": len(apart),
        "cut": apart,
        "whole_b": whole_b,
        "a": a,
        "b": b,
    }


def side_moves(a, b, kind):
    moves = [b[k] - a[k] for k in range(4)]
    if kind == "circular":
        for axis in (0, 1):
            turn = round((moves[axis] + moves[axis + 2]) / 2 / WINDOW) * WINDOW
            moves[axis] -= turn
            moves[axis + 2] -= turn
    return moves


def rounds(offsets, seed, index):
    order = np.random.default_rng([seed, index]).permutation(len(offsets)).tolist()
    return [(order[i], order[(i + 1) % len(order)]) for i in range(len(order))]


def loop(net, images, kind, offsets_of, seed=0):
    """The figures of one kind, by image and pooled."""
    sums = dict.fromkeys(("counted", "kept", "lost", "relabelled", "appeared", "apart"), 0)
    jitter, centres, sizes, consistency, wobbles = [], [], [], [], []
    for index, pixels in enumerate(images):
        clean = detect(net, window_at(pixels, kind, 0, 0))
        offsets = offsets_of(index)
        moved = [back(detect(net, window_at(pixels, kind, *d)), *d) for d in offsets]
        low, high = {}, {}
        for d, objects in zip(offsets, moved, strict=True):
            seen = outcome(clean, objects, kind, [(0, 0), d])
            for name in ("relabelled", "lost", "appeared", "apart"):
                sums[name] += seen[name]
            sums["kept"] += len(seen["kept"])
            for i, j in seen["kept"].items():
                moves = side_moves(seen["a"][i], seen["b"][j], kind)
                jitter.append(max(map(abs, moves)))
                centres.append(sqrt((moves[0] + moves[2]) ** 2 + (moves[1] + moves[3]) ** 2) / 2)
                sizes.append(max(abs(moves[2] - moves[0]), abs(moves[3] - moves[1])))
                scores = (clean[i][1], objects[j][1])
                low[i] = min(low.get(i, 9), *scores)
                high[i] = max(high.get(i, -9), *scores)
        if low:
            wobbles.append(sum(high[i] - low[i] for i in low) / len(low))
        twice = total = 0
        for i, j in rounds(offsets, seed, index):
            frame = [(0, 0), offsets[i], offsets[j]]
            seen = outcome(moved[i], moved[j], kind, frame)
            both = sum(seen["whole_b"][k] for k in seen["kept"].values())
            twice += 2 * both
            total += 2 * both + seen["lost"] + seen["appeared"] + 2 * seen["relabelled"]
        if total:
            consistency.append(twice / total)
    sums["counted"] = sums["kept"] + sums["lost"] + sums["relabelled"]
    return sums, jitter, centres, sizes, consistency, wobbles


def quantile(values, level):
    return sorted(values)[ceil(level * len(values)) - 1]
