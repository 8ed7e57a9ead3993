"""Every format and preset: outputs built from known boxes, decoded, are those boxes."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from equiaudit.errors import InputError
from equiaudit.models.detectors import decoder, masks_in, points_in
from equiaudit.models.detectors.declaration import FORMATS, PRESETS, parse_detector, parse_flag

WINDOW = (64, 96)
HEIGHT, WIDTH = WINDOW
CLASSES = 4
KNOWN = (
    ((8.0, 4.0, 24.0, 20.0), 0.9, 2),
    ((30.0, 10.0, 70.0, 60.0), 0.75, 0),
    ((50.0, 40.0, 90.0, 56.0), 0.5, 3),
)
"""Boxes x1, y1, x2, y2 in px of the window, scores and labels; the likeliest first."""
FAINT = ((1.0, 1.0, 9.0, 9.0), 0.1, 1)
"""Below every threshold."""


def decoded(how, returned, batch=1):
    return decoder(parse_flag(how), WINDOW, what="net")(returned, batch)


def same(rows, known=KNOWN):
    got = [row for row in rows.tolist() if row[5] >= 0]
    assert len(got) == len(known)
    for row, (box, score, label) in zip(got, known, strict=True):
        assert row[:4] == pytest.approx(box, abs=1e-3)
        assert row[4] == pytest.approx(score, abs=1e-5)
        assert row[5] == label


def logit(share):
    return math.log(share / (1 - share))


def centred(box):
    left, top, right, bottom = box
    return [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]


def shares(box):
    return [side / whole for side, whole in zip(box, (WIDTH, HEIGHT) * 2, strict=True)]


def per_class(score, label, classes=CLASSES, others=0.01):
    return [score if c == label else others for c in range(classes)]


def rows_of(box, before, anchors=40):
    """(1, A, 4 + before + C) with the known boxes last: ten rows of nothing first."""
    nothing = [[5.0, 5.0, 2.0, 2.0, *[0.0] * (before + CLASSES)]] * (anchors - 4)
    own = []
    for place, score, label in (FAINT, *KNOWN):
        # Objectness 0.95 times the class is the score.
        seen = score / 0.95 if before else score
        own.append([*box(place), *[0.95] * before, *per_class(seen, label)])
    return torch.tensor([nothing + own])


def grid_rows():
    """(1, A, 5 + C) of YOLOX for strides 8, 16, 32, by a loop over grids, rows and columns."""
    wanted = {(8, 1, 2): KNOWN[0], (16, 2, 3): KNOWN[1], (32, 1, 2): KNOWN[2]}
    rows = []
    for stride in (8, 16, 32):
        for row in range(HEIGHT // stride):
            for column in range(WIDTH // stride):
                found = wanted.get((stride, row, column))
                if found is None:
                    rows.append([0.0, 0.0, 0.0, 0.0, 0.01, *[0.5] * CLASSES])
                    continue
                x, y, w, h = centred(found[0])
                inside = [x / stride - column, y / stride - row]
                size = [math.log(w / stride), math.log(h / stride)]
                rows.append([*inside, *size, 0.95, *per_class(found[1] / 0.95, found[2])])
    return torch.tensor([rows])


def padded(known=KNOWN):
    """(1, K, 4), (1, K), (1, K): boxes as px, a faint one, and rows of nothing."""
    found = [*known, FAINT, ((0.0,) * 4, 0.0, 0)]
    return tuple(torch.tensor([[each[i] for each in found]]) for i in range(3))


def ended():
    boxes, scores, labels = padded()
    return torch.cat([boxes, scores[..., None], labels[..., None].float()], -1)


def transformer(values):
    """Boxes as shares of the window about their centres, and logits per query."""
    every = (FAINT, *KNOWN)
    boxes = torch.tensor([[shares(centred(box)) for box, _, _ in every]])
    return {"logits": torch.tensor([[values(s, c) for _, s, c in every]]), "pred_boxes": boxes}


def softmaxed(score, label):
    """Logits whose softmax has `score` at `label`, and a last class for none."""
    rest = (1 - score) / CLASSES
    return [math.log(score if c == label else rest) for c in range(CLASSES + 1)]


def sigmoids(score, label):
    return [logit(p) for p in per_class(score, label)]


def relative(strides, sizes, *, softmax):
    """Boxes relative to anchors by a loop, whose likeliest anchor holds each known box."""
    wanted = {(8, 1, 2): KNOWN[0], (16, 2, 3): KNOWN[1], (strides[2], 0, 1): KNOWN[2]}
    boxes, scores = [], []
    for stride, own in zip(strides, sizes, strict=True):
        for row in range(-(-HEIGHT // stride)):
            for column in range(-(-WIDTH // stride)):
                for place, (w, h) in enumerate(own):
                    found = wanted.get((stride, row, column)) if place == 1 else None
                    if found is None:
                        boxes.append([0.0] * 4)
                        scores.append([0.97, *[0.01] * CLASSES])
                        continue
                    x, y, wide, high = centred(found[0])
                    moves = [(x - (column + 0.5) * stride) / w, (y - (row + 0.5) * stride) / h]
                    grown = [math.log(wide / w), math.log(high / h)]
                    boxes.append([*(m / 0.1 for m in moves), *(g / 0.2 for g in grown)])
                    rest = (1 - found[1]) / CLASSES
                    scores.append(per_class(found[1], found[2] + 1, CLASSES + 1, rest))
    scores = torch.tensor([scores])
    return torch.tensor([boxes]), scores.log() if softmax else scores


POINTS = torch.rand(4, 17, 2, generator=torch.Generator().manual_seed(5)) * 60
"""Of the faint box and the known ones."""
SHARES = torch.tensor([[3.0, 0.0], [1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
PROTOTYPES = torch.ones(1, 2, 16, 24)
PROTOTYPES[:, 1, :, 12:] = -1
"""Everywhere, and the left half of the window."""


def with_more(numbers):
    """(1, 4 + C + n, A): columns of yolov8's with more behind the scores."""
    rows = rows_of(centred, 0, 70)
    more = torch.zeros(1, rows.shape[1], numbers.shape[1])
    more[0, -4:] = numbers
    return torch.cat([rows, more], 2).transpose(1, 2)


DETR = transformer(
    lambda s, c: [*softmaxed(s, c)[:-1], math.log(0.97 - s)] if s == 0.1 else softmaxed(s, c)
)
boxes, scores, labels = padded()
SSD, FACES = (parse_flag(name) for name in ("ssd300", "retinaface"))
CASES = {
    "torchvision": [{"boxes": boxes[0], "scores": scores[0], "labels": labels[0]}],
    "yolov5": rows_of(centred, 1),
    "yolov7": rows_of(centred, 1),
    "yolov8": rows_of(centred, 0).transpose(1, 2),
    "yolo11": rows_of(centred, 0).transpose(1, 2),
    "yolov8-pose": with_more(torch.cat([POINTS, torch.ones(4, 17, 1)], 2).flatten(1)),
    "yolov8-seg": {"output0": with_more(SHARES), "output1": PROTOTYPES},
    "yolov10": ended(),
    "yolox": grid_rows(),
    "ssd300": relative(SSD.strides, SSD.anchors, softmax=True),
    "retinaface": (
        *relative(FACES.strides, FACES.anchors, softmax=False),
        torch.zeros(1, 2 * (96 + 24 + 6), 10),
    ),
    "detr": DETR,
    "rtdetr": transformer(sigmoids),
    "format=dicts": [{"boxes": boxes[0], "scores": scores[0], "labels": labels[0]}],
    "format=boxes,labels=2": (boxes, scores, labels),
    "format=boxes,boxes=b,scores=s,labels=c,count=n": {
        "n": torch.tensor([[3]]),
        "b": boxes,
        "s": torch.ones_like(scores) * scores,
        "c": labels.float(),
    },
    "format=end2end": ended(),
    "format=rows,box=xywh": rows_of(lambda b: [b[0], b[1], b[2] - b[0], b[3] - b[1]], 0),
    "format=rows,units=share": rows_of(shares, 0),
    "format=columns": rows_of(list, 0).transpose(1, 2),
    "format=objectness": rows_of(list, 1),
    "format=grid,box=cxcywh,strides=8/16/32": grid_rows(),
    "format=boxes,units=share,background=first,boxes=1,scores=0": (
        torch.tensor([[per_class(s, c + 1, CLASSES + 1) for _, s, c in (*KNOWN, FAINT)]]),
        torch.tensor([[shares(b) for b, _, _ in (*KNOWN, FAINT)]]),
    ),
}


@pytest.mark.parametrize("how", CASES)
def test_known_boxes_are_found_again(how):
    first = how.endswith("scores=0") or how in ("ssd300", "retinaface")
    known = [(b, s, c + 1) for b, s, c in KNOWN] if first else KNOWN
    same(decoded(how, CASES[how])[0], known)


def test_every_format_and_preset_is_among_the_cases():
    formats = {parse_flag(how).format for how in CASES}
    assert formats == FORMATS.keys() - {"decoder"}
    assert PRESETS.keys() <= CASES.keys()


def test_key_points_behind_the_scores_stay_with_their_boxes():
    rows = decoded("yolov8-pose", CASES["yolov8-pose"])[0]
    found = points_in(rows[:3].double().numpy(), 17)
    assert found == pytest.approx(POINTS[1:].double().numpy())


def test_masks_of_prototypes_are_cut_to_their_boxes():
    """A whole box, the part of one in the left half of the window, and nothing."""
    rows = decoded("yolov8-seg", CASES["yolov8-seg"])[0][:3].double().numpy()
    flat = np.unpackbits(masks_in(rows, 0, WINDOW), axis=1, count=HEIGHT * WIDTH)
    expected = np.zeros((3, HEIGHT, WIDTH), np.uint8)
    expected[0, 4:20, 8:24] = 1
    expected[1, 10:60, 30:48] = 1
    assert np.array_equal(flat.reshape(3, HEIGHT, WIDTH), expected)


@pytest.mark.parametrize("batch", [True, False])
def test_masks_and_key_points_beside_boxes(batch):
    """Of a batch of one the first axis may lack, and masks may be smaller than the window."""
    masks = torch.zeros(1, 5, 1, 32, 48)
    masks[0, 1, 0, 4:8, 6:10] = 0.9
    points = torch.rand(1, 5, 3, 2)
    found = {"b": boxes, "s": scores, "l": labels, "m": masks, "k": points}
    if not batch:
        found = {name: tensor[0] for name, tensor in found.items()}
    how = "format=boxes,boxes=b,scores=s,labels=l,masks=m,keypoints=k"
    rows = decoded(how, found)[0].double().numpy()
    assert points_in(rows, 3)[:3] == pytest.approx(points[0, :3].double().numpy())
    flat = np.unpackbits(masks_in(rows, 3, WINDOW), axis=1, count=HEIGHT * WIDTH)
    own = flat.reshape(-1, HEIGHT, WIDTH)
    assert own[1, 8:16, 12:20].all()
    assert own[0].sum() == own[2].sum() == 0
    shared = decoded(how + ",units=share", found)[0].double().numpy()
    by = np.array([WIDTH, HEIGHT])
    assert points_in(shared, 3)[:3] == pytest.approx(points[0, :3].double().numpy() * by)


def test_masks_and_points_that_do_not_fit_get_a_sentence():
    for how, match in (
        ("format=end2end,points=3", 'has points, and its format is "end2end"'),
        ("format=rows,keypoints=k", 'has keypoints, and its format is "rows"'),
        ("format=rows,points=-1", "points of the detector in --detector must be a whole number"),
    ):
        with pytest.raises(InputError, match=match):
            parse_flag(how)
    with pytest.raises(InputError, match=r"says that net returns columns .* \(1, 8, 40\)"):
        decoded("yolov8-pose", CASES["yolov8"])
    with pytest.raises(InputError, match=r"names 'output1' for masks, and net returns"):
        decoded("yolov8-seg", CASES["yolov8"])
    found = {"boxes": boxes, "scores": scores, "labels": labels, "m": torch.full((1, 5, 8, 8), 3.0)}
    with pytest.raises(InputError, match="masks from 3 to 3, and probabilities are wanted"):
        decoded("format=boxes,masks=m", found)


def test_rows_of_low_objectness_are_kept_up_to_the_threshold():
    rows = torch.zeros(1, 40, 5 + CLASSES)
    for i, (sure, share) in enumerate(((0.31, 1.0), (0.299, 1.0), (0.6, 0.51), (0.6, 0.49))):
        rows[0, i] = torch.tensor([9.0 + 20 * i, 9, 8, 8, sure, *per_class(share, i, others=0.0)])
    found = decoded("yolov5", rows)[0]
    assert found[:, 5].tolist() == [0, 2]
    assert found[:, 4].tolist() == pytest.approx([0.31, 0.306])
    rows[0, 30, 7] = math.nan
    assert decoded("yolov5", rows)[0].isnan().any()


def test_a_decoder_of_ones_own_gives_its_boxes(tmp_path, monkeypatch):
    (tmp_path / "own_decoder.py").write_text(
        "def read(returned, window):\n"
        "    assert window == (64, 96)\n"
        "    return [(each[:, :4], each[:, 4], each[:, 5]) for each in returned]\n"
    )
    monkeypatch.chdir(tmp_path)
    same(decoded("own_decoder:read", ended())[0])


@pytest.mark.parametrize("how", CASES)
def test_images_of_a_batch_are_kept_apart(how):
    """The second image is empty."""
    case = CASES[how]
    if isinstance(case, list):
        none = {key: value[:0] for key, value in case[0].items()}
        two = [*case, none]
    elif isinstance(case, torch.Tensor):
        two = torch.cat([case, torch.zeros_like(case)])
    else:
        named = case.items() if isinstance(case, dict) else enumerate(case)
        low = -9.0 if how in ("detr", "rtdetr") else 0.0
        two = {str(k): torch.cat([v, torch.zeros_like(v) + low]) for k, v in named}
        if how == "detr":
            two["logits"][1, :, -1] = 9
        if how == "ssd300":
            two["1"][1, :, 0] = 9
        if "n" in two:
            two["n"][1] = 0
    rows = decoded(how, two, 2)
    assert (rows[0, :, 5] >= 0).sum() == 3
    assert (rows[1, :, 5] < 0).all()


def test_detr_and_rtdetr_are_as_transformers_reads_them():
    pytest.importorskip("transformers")
    from transformers.models.detr.image_processing_detr import DetrImageProcessor
    from transformers.models.rt_detr.image_processing_rt_detr import RTDetrImageProcessor

    for how, case, kind in (
        ("detr", DETR, DetrImageProcessor),
        ("rtdetr", CASES["rtdetr"], RTDetrImageProcessor),
    ):
        reads = kind().post_process_object_detection
        found = reads(SimpleNamespace(**case), threshold=0.3, target_sizes=[WINDOW])[0]
        known = sorted(
            zip(*(found[k].tolist() for k in ("boxes", "scores", "labels")), strict=True),
            key=lambda each: -each[1],
        )
        assert len(known) == 3
        same(decoded(how, case)[0], known)


def test_ssd_is_as_torchvision_reads_it():
    from torchvision.models.detection._utils import BoxCoder
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
    from torchvision.models.detection.image_list import ImageList

    torch.manual_seed(0)
    ratios = [[2], [2, 3], [2, 3], [2, 3], [2], [2]]
    scales, steps = [0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05], [8, 16, 32, 64, 100, 300]
    maps = [torch.zeros(1, 1, side, side) for side in (38, 19, 10, 5, 3, 1)]
    images = ImageList(torch.zeros(1, 3, 300, 300), [(300, 300)])
    anchors = DefaultBoxGenerator(ratios, scales=scales, steps=steps)(images, maps)[0]
    moves, scores = torch.randn(8732, 4), torch.randn(8732, 3)
    boxes = BoxCoder((10.0, 10.0, 5.0, 5.0)).decode_single(moves, anchors)
    how = parse_flag("ssd300,nms_iou=0,score_threshold=0")
    rows = decoder(how, (300, 300), what="net")((moves[None], scores[None]), 1)[0]
    best, labels = scores.softmax(-1)[:, 1:].max(-1)
    order = best.argsort(descending=True)[:300]
    assert torch.allclose(rows[:, :4], boxes[order], atol=1e-3)
    assert torch.equal(rows[:, 5], labels[order].float() + 1)


def test_anchors_that_do_not_fit_get_a_sentence():
    how = {"format": "anchors", "strides": [8, 16], "anchors": [[[8, 8]]]}
    for changed, match in (
        ({}, "2 strides and anchors of 1"),
        ({"strides": [8], "units": "share"}, "units share do not apply"),
        ({"strides": [8], "format": "boxes"}, 'has anchors, and its format is "boxes"'),
        ({"anchors": [[[8, -8]]]}, "anchors of the detector in it must be"),
        ({"variances": [1]}, "variances of the detector in it must be four numbers"),
    ):
        with pytest.raises(InputError, match=match):
            parse_detector(how | changed, where="it", source="it")
    with pytest.raises(InputError, match=r"for strides \[8, 16, 32\], and it returns"):
        decoded("retinaface", (torch.zeros(1, 9, 4), torch.zeros(1, 9, 2)))


def test_a_declaration_is_read_back_from_its_plain_form():
    for name in PRESETS:
        made = parse_flag(name)
        again = parse_detector(dict(made.plain), where="it", source=made.source)
        assert again == made


def test_overlapping_boxes_are_suppressed_class_by_class():
    """Against a loop: greedy, by score, IoU above the bound, within a class."""
    torch.manual_seed(0)
    corner, size = torch.rand(60, 2) * 40, torch.rand(60, 2) * 25 + 5
    boxes = torch.cat([corner, corner + size], 1)
    scores, labels = torch.rand(60), torch.randint(3, (60,))
    kept = []
    for i in scores.argsort(descending=True).tolist():
        if scores[i] < 0.3:
            continue
        if all(labels[i] != labels[j] or iou(boxes[i], boxes[j]) <= 0.45 for j in kept):
            kept.append(i)
    known = [(boxes[i].tolist(), scores[i].item(), labels[i].item()) for i in kept]
    raw = (boxes[None], scores[None], labels[None])
    same(decoded("format=boxes,labels=2,nms_iou=0.45", raw)[0], known)
    assert len(kept) < (scores >= 0.3).sum() == len(decoded("format=boxes,labels=2", raw)[0])


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0) * max(height, 0)
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return inter / (sum(areas) - inter)


MISFITS = {
    "torchvision": (ended(), "(1, 5, 6)"),
    "yolov5": (rows_of(centred, 1).transpose(1, 2), "(1, 9, 40)"),
    "yolov8": (rows_of(centred, 0), "(1, 40, 8)"),
    "yolov10": (rows_of(centred, 0), "(1, 40, 8)"),
    "yolox": (rows_of(centred, 1), "(1, 40, 9)"),
    "detr": ((boxes, scores), "(1, 5, 4)"),
    "format=boxes": ((scores, boxes), "(1, 5, 4)"),
    "format=boxes,labels=7": ((boxes, scores, labels), "(1, 5, 4)"),
    "format=rows,output=x": (ended(), "(1, 5, 6)"),
}


@pytest.mark.parametrize("how", MISFITS)
def test_what_does_not_fit_says_which_shape_was_met(how):
    returned, shape = MISFITS[how]
    with pytest.raises(InputError) as caught:
        decoded(how, returned)
    assert shape in str(caught.value)


def test_other_batches_than_asked_are_refused():
    with pytest.raises(InputError, match=r"\(1, 5, 6\)"):
        decoded("yolov10", ended(), 2)


def test_what_could_be_read_in_two_ways_is_refused():
    four = torch.rand(1, 5, 4)
    with pytest.raises(InputError, match="either may be the boxes"):
        decoded("format=boxes", (four, boxes))
    with pytest.raises(InputError, match="names no labels"):
        decoded("format=boxes", (boxes, scores, labels))
    same(decoded("format=boxes", {"boxes": boxes, "labels": labels, "scores": scores})[0])


def test_scores_that_are_no_probabilities_are_refused():
    """Mask coefficients behind the classes, key points, or logits without an activation."""
    more = torch.cat([CASES["yolov8"], torch.full((1, 32, 40), -0.6)], 1)
    with pytest.raises(InputError, match=r"scores goes from -0\.6 to"):
        decoded("yolov8", more)
    with pytest.raises(InputError, match="would be scores"):
        decoded("format=boxes,boxes=pred_boxes,scores=logits", CASES["rtdetr"])


def test_labels_between_whole_numbers_are_refused():
    """Two scores per class behind a box are no score and label."""
    two = ended()
    two[..., 5] = 0.25
    with pytest.raises(InputError, match=r"a label would be 0\.25"):
        decoded("yolov10", two)


@pytest.mark.parametrize("count", [-1, 6, 2.5])
def test_impossible_counts_are_refused(count):
    with pytest.raises(InputError, match="as the number of boxes"):
        decoded(
            "format=boxes,count=n",
            {"boxes": boxes, "scores": scores, "labels": labels, "n": torch.tensor([count])},
        )


@pytest.mark.parametrize("column", [0, 4, 5])
@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_an_image_with_nan_is_a_row_of_nan(column, odd):
    two = torch.cat([ended(), ended()])
    two[1, 0, column] = odd
    rows = decoded("yolov10", two, 2)
    same(rows[0])
    assert rows[1].isnan().any()


def test_inverted_boxes_are_kept_and_suppress_nothing():
    turned = ((24.0, 20.0, 8.0, 4.0), 0.95, 2)
    raw = padded((turned, *KNOWN))
    same(decoded("format=boxes,labels=2,nms_iou=0.45", raw)[0], (turned, *KNOWN))
