"""Annotated boxes as they are published: miniatures, and a sentence for what is wrong in them."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from equiaudit.data import Geometry, Labels, Letterbox, decode, open_objects
from equiaudit.errors import InputError

NAMES = ("helmet", "head")
KNOWN = Labels("net", NAMES, 2)
WHOLE = Geometry(window=(40, 60))


def image(path, size=(60, 40), **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path, **how)


def rows_of(data, geometry=WHOLE, known=KNOWN, **how):
    found = open_objects(data, "detection", known, **how)
    return {i.file: decode(i, geometry, found.truth).truth.values.tolist() for i in found.items}


def coco(root, **changed):
    image(root / "val2017/1.png")
    image(root / "val2017/2.png")
    table = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 40, "width": 60} for i in (1, 2)],
        "categories": [{"id": 3, "name": "head"}, {"id": 9, "name": "Helmet"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 9, "bbox": [10, 5, 20, 10], "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 3, "bbox": [0, 0, 5, 5], "iscrowd": 1},
            {"id": 3, "image_id": 1, "category_id": 3, "segmentation": [[1, 2, 9, 2, 9, 8]]},
            {
                "id": 4,
                "image_id": 1,
                "category_id": 3,
                "segmentation": {"counts": [83, 4, 36, 4, 2273], "size": [40, 60]},
            },
            {
                "id": 5,
                "image_id": 1,
                "category_id": 3,
                "bbox": [7, 7, 0, 3],
                "keypoints": [1, 1, 2],
            },
        ],
    } | changed
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations/instances_val2017.json").write_text(json.dumps(table))
    return root


def voc(root, objects, *, size=(60, 40), name="1"):
    image(root / "JPEGImages/1.png")
    (root / "Annotations").mkdir(exist_ok=True)
    rows = "".join(
        f"<object><name>{n}</name><difficult>{d}</difficult><bndbox><xmin>{b[0]}</xmin><ymin>{b[1]}"
        f"</ymin><xmax>{b[2]}</xmax><ymax>{b[3]}</ymax></bndbox></object>"
        for n, b, d in objects
    )
    sizes = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    (root / f"Annotations/{name}.xml").write_text(f"<annotation>{sizes}{rows}</annotation>")
    return root


def yolo(root, lines, *, yaml="names: [helmet, head]"):
    image(root / "images/val/1.png")
    image(root / "images/val/2.png")
    image(root / "images/train/3.png")
    (root / "labels/val").mkdir(parents=True, exist_ok=True)
    (root / "labels/val/1.txt").write_text("\n".join(lines))
    (root / "data.yaml").write_text(yaml)
    return root


def test_coco_boxes_polygons_and_runs(tmp_path):
    found = open_objects(coco(tmp_path), "detection", KNOWN)
    assert found.layout == "coco"
    assert any("without an area, left out: 1" in note for note in found.notes)
    assert any("model's labels by name" in note for note in found.notes)
    assert rows_of(tmp_path)["val2017/1.png"] == [
        [10, 5, 30, 15, 0, 0],
        [0, 0, 5, 5, 1, 1],
        [1, 2, 9, 8, 1, 0],
        [2, 3, 4, 7, 1, 0],
    ]
    assert rows_of(tmp_path)["val2017/2.png"] == []


def test_voc_counts_from_one_unless_a_box_begins_before(tmp_path):
    one = voc(tmp_path / "a", [("helmet", (1, 1, 60, 40), 0), ("head", (11, 6, 20, 9), 1)])
    assert rows_of(one) == {"JPEGImages/1.png": [[0, 0, 60, 40, 0, 0], [10, 5, 20, 9, 1, 1]]}
    zero = voc(tmp_path / "b", [("helmet", (0, 1, 60, 40), 0)])
    assert rows_of(zero) == {"JPEGImages/1.png": [[0, 1, 60, 40, 0, 0]]}


def test_yolo_lines_and_outlines(tmp_path):
    data = yolo(tmp_path, ["0 0.5 0.5 0.5 0.25", "1 0.1 0.2 0.5 0.2 0.5 0.4"])
    assert rows_of(data, known=Labels("net")) == {
        "images/val/1.png": [[15, 15, 45, 25, 0, 0], [6, 8, 30, 16, 1, 0]],
        "images/val/2.png": [],
    }
    posed = yolo(
        tmp_path / "pose", ["0 0.5 0.5 0.5 0.25 0.1 0.1"], yaml="names: {0: a}\nkpt_shape: [1, 2]"
    )
    assert rows_of(posed, known=Labels("net", (), 1))["images/val/1.png"] == [
        [15, 15, 45, 25, 0, 0]
    ]


@pytest.mark.parametrize(
    ("geometry", "expected"),
    [
        (Geometry((40, 60)), [10, 5, 30, 15]),
        (Geometry((20, 20)), [-10, -5, 10, 5]),
        (Geometry((20, 20), margin=4), [-10, -5, 10, 5]),
        (Geometry((20, 20), resize=20), [5 - 5, 2.5, 15 - 5, 7.5]),
        (Geometry((30, 30), letterbox=Letterbox(114, "top-left")), [5, 2.5, 15, 7.5]),
        (Geometry((30, 30), letterbox=Letterbox(114, "centre")), [5, 7.5, 15, 12.5]),
    ],
)
def test_boxes_follow_their_image_into_the_window(geometry, expected, tmp_path):
    assert rows_of(coco(tmp_path), geometry)["val2017/1.png"][0][:4] == expected


@pytest.mark.parametrize(
    ("known", "label"),
    [
        (Labels("net", ("a", "helmet", "head")), 1),
        (Labels("net", (), 2), 1),
        (Labels("net", (), 10), 9),
        (Labels("net", (), None, "ids"), 9),
    ],
)
def test_categories_become_labels(known, label, tmp_path):
    assert rows_of(coco(tmp_path), known=known)["val2017/1.png"][0][4] == label


def bad(make, match, known=KNOWN, **how):
    with pytest.raises(InputError, match=match) as error:
        rows_of(make, known=known, **how)
    assert len(re.findall(r"\.(?: |$)", str(error.value).split("\n")[0])) <= 2


def test_annotations_that_do_not_fit_get_a_sentence(tmp_path):
    lone = [{"id": 7, "image_id": 8, "category_id": 9, "bbox": [1, 1, 2, 2]}]
    bad(
        coco(tmp_path / "a", annotations=lone), "annotation 7 of the image 8, which its images lack"
    )
    lone = [{"id": 7, "image_id": 1, "category_id": 4, "bbox": [1, 1, 2, 2]}]
    bad(coco(tmp_path / "b", annotations=lone), "of the category 4, which its categories lack")
    lone = [{"id": 7, "image_id": 1, "category_id": 9, "bbox": [1, 1, -2, 2]}]
    bad(coco(tmp_path / "c", annotations=lone), r"whose box is \[1, 1, -2, 2\]")
    gone = [{"id": 1, "file_name": "9.png"}]
    bad(coco(tmp_path / "d", images=gone), "names the image 9.png, which is not there")
    odd = [{"id": 1, "file_name": "1.png", "height": 41, "width": 60}]
    bad(coco(tmp_path / "e", images=odd, annotations=[]), "as 41x60 px .* and it is 40x60")
    bad(
        coco(tmp_path / "f"),
        "boxes of head, Helmet, and net knows no such class",
        Labels("net", "ab"),
    )
    bad(coco(tmp_path / "f"), "which labels of net they are cannot be told", Labels("net"))
    bad(coco(tmp_path / "f"), "of which there are 5 they are cannot be told", Labels("net", (), 5))
    bad(voc(tmp_path / "g", [], name="7"), "has Annotations/7.xml, and no image JPEGImages/7")
    bad(voc(tmp_path / "h", [("helmet", (9, 1, 5, 4), 0)]), r"a helmet from \(9, 1\) to \(5, 4\)")
    bad(
        voc(tmp_path / "i", [("cat", (1, 1, 5, 4), 0)]), "boxes of cat, and net knows no such class"
    )
    damaged = voc(tmp_path / "j", [])
    (damaged / "Annotations/1.xml").write_text("<annotation><object></annotation>")
    bad(damaged, "is no Pascal VOC annotation")
    (damaged / "Annotations/1.xml").write_text('<!DOCTYPE a [<!ENTITY b "c">]><a/>')
    bad(damaged, "it declares entities")
    bad(yolo(tmp_path / "k", ["5 0.5 0.5 0.1 0.1"]), "is of class 5, and the YAML names 0 to 1")
    bad(yolo(tmp_path / "l", ["0 0.5 0.5 0.1"]), "holds no box")
    bad(yolo(tmp_path / "m", ["0 x"]), "Line 1 of .* is not numbers")
    bad(yolo(tmp_path / "n", [], yaml="nc: 3"), "has no names")
    bad(yolo(tmp_path / "o", [], yaml="a: [b"), "cannot be read")


def test_a_turned_image_says_where_its_boxes_lie(tmp_path):
    data = coco(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    image(data / "val2017/1.png", exif=exif)
    bad(data, "which its EXIF orientation turns", geometry=Geometry((60, 40)))
    image(data / "val2017/1.png", size=(40, 60), exif=exif)
    found = open_objects(data, "detection", KNOWN)
    made = decode(found.items[0], WHOLE, found.truth)
    assert any("upright" in note for note in made.notes)


def test_images_alone_need_nothing(tmp_path):
    found = open_objects(coco(tmp_path), "detection", Labels("net"), layout="images")
    assert (found.truth, found.labelled, len(found)) == (None, False, 2)
    assert np.array_equal(found.items.indices, [0, 1])
