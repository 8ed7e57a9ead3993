"""A miniature of each layout of masks, built from its published description.

Each writer lays out eight images and their ids. The sources are those that the layouts name.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from equiaudit.data.layouts.scenes import TRAIN_IDS

SIZE = (16, 24)
COUNT = 8
NORMAL = (0, 5)
"""Images that show background alone."""


class Material:
    """Eight images and their ids, of which two show background alone."""

    def __init__(self, classes: int, *, first: int = 0, normal: bool = True) -> None:
        rng = np.random.default_rng(classes)
        self.images = [rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8) for _ in range(COUNT)]
        self.ids = [np.full(SIZE, first, np.int32) for _ in range(COUNT)]
        for i, ids in enumerate(self.ids):
            if not normal or i not in NORMAL:
                ids[3 : 6 + i, 4:14] = 1 + i % (classes - 1)
                ids[9 + i % 3 :, 15 + i % 4 :] = 1 + (i + 1) % (classes - 1)


def put(path: Path, pixels: np.ndarray, **how: object) -> None:
    """Lossless, whatever the ending says; the content decides what a file is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, format=how.pop("format", "PNG"), **how)


def white(ids: np.ndarray) -> np.ndarray:
    return np.where(ids > 0, 255, 0).astype(np.uint8)


def grey(ids: np.ndarray) -> np.ndarray:
    return ids.astype(np.uint8)


def write_csv(path: Path, *rows: tuple[object, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)


def own(root: Path, m: Material) -> None:
    for i, (image, ids) in enumerate(zip(m.images, m.ids, strict=True)):
        put(root / "images" / f"{i}.png", image)
        put(root / "masks" / f"{i}.png", grey(ids))


def suffixed(suffix: str, ending: str, kind: str = "PNG") -> Callable[[Path, Material], None]:
    def write(root: Path, m: Material) -> None:
        for i, (image, ids) in enumerate(zip(m.images, m.ids, strict=True)):
            put(root / "images" / f"{i}.jpg", image)
            put(root / "masks" / f"{i}{suffix}{ending}", grey(ids), format=kind)

    return write


def beside(root: Path, m: Material) -> None:
    for i, (image, ids) in enumerate(zip(m.images, m.ids, strict=True)):
        put(root / f"{i}.jpg", image)
        put(root / f"{i}_mask.png", grey(ids))


def same_stem(root: Path, m: Material) -> None:
    for i, (image, ids) in enumerate(zip(m.images, m.ids, strict=True)):
        put(root / f"{i}.jpg", image)
        put(root / f"{i}.png", grey(ids))


def numpy_masks(root: Path, m: Material) -> None:
    for i, (image, ids) in enumerate(zip(m.images, m.ids, strict=True)):
        put(root / "images" / f"{i}.jpg", image)
        (root / "masks").mkdir(exist_ok=True)
        np.save(root / "masks" / f"{i}.npy", ids.astype(np.int64))


def one_folder_up(root: Path, m: Material) -> None:
    for i, (image, ids) in enumerate(zip(m.images, m.ids, strict=True)):
        put(root / "train" / "images" / f"{i}.jpg", image)
        put(root / "train" / "masks" / f"{i}.png", grey(ids))


def images_labels(root: Path, m: Material) -> None:
    for i, (image, ids) in enumerate(zip(m.images, m.ids, strict=True)):
        put(root / "images" / f"{i}.jpg", image)
        put(root / "labels" / f"{i}.png", grey(ids))


def voc(root: Path, m: Material) -> None:
    names = [f"2007_00003{i}" for i in range(COUNT)]
    for name, image, ids in zip(names, m.images, m.ids, strict=True):
        put(root / "JPEGImages" / f"{name}.jpg", image)
        put(root / "SegmentationClass" / f"{name}.png", grey(ids))
        put(root / "SegmentationObject" / f"{name}.png", grey(ids))
    put(root / "JPEGImages" / "2007_unlisted.jpg", m.images[0])
    table = root / "ImageSets" / "Segmentation" / "val.txt"
    table.parent.mkdir(parents=True)
    table.write_text("\n".join(names))


def mvtec(root: Path, m: Material, *, ground: str = "ground_truth", test: str = "test") -> None:
    put(root / "train" / "good" / "000.png", m.images[0])
    for i, (image, ids) in enumerate(zip(m.images, m.ids, strict=True)):
        if i in NORMAL:
            put(root / test / "good" / f"{i:03}.png", image)
        else:
            put(root / test / "crack" / f"{i:03}.png", image)
            put(root / ground / "crack" / f"{i:03}_mask.png", white(ids))


def mvtec_ad2(root: Path, m: Material) -> None:
    put(root / "can" / "validation" / "good" / "000_regular.png", m.images[0])
    put(root / "can" / "test_private" / "000_regular.png", m.images[0])
    mvtec(root / "can", m, test="test_public", ground="test_public/ground_truth")


def mvtec_loco(root: Path, m: Material) -> None:
    """A mask per defect of an image, of a number of its own (defects_config.json)."""
    put(root / "box" / "train" / "good" / "000.png", m.images[0])
    for i, (image, ids) in enumerate(zip(m.images, m.ids, strict=True)):
        if i in NORMAL:
            put(root / "box" / "test" / "good" / f"{i:03}.png", image)
            continue
        put(root / "box" / "test" / "logical_anomalies" / f"{i:03}.png", image)
        upper = np.arange(SIZE[0])[:, None] < 8
        for k, part in enumerate((ids * upper, ids * ~upper)):
            folder = root / "box" / "ground_truth" / "logical_anomalies" / f"{i:03}"
            put(folder / f"{k:03}.png", (part * (255 - k)).astype(np.uint8))
    (root / "box" / "defects_config.json").write_text("[]")


def btad(root: Path, m: Material) -> None:
    put(root / "01" / "train" / "ok" / "0000.bmp", m.images[0])
    for i, (image, ids) in enumerate(zip(m.images, m.ids, strict=True)):
        if i in NORMAL:
            put(root / "01" / "test" / "ok" / f"{i:04}.bmp", image, format="BMP")
        else:
            put(root / "01" / "test" / "ko" / f"{i:04}.bmp", image, format="BMP")
            put(root / "01" / "ground_truth" / "ko" / f"{i:04}.png", white(ids))


def visa(root: Path, m: Material) -> None:
    rows: list[tuple[object, ...]] = [("object", "split", "label", "image", "mask")]
    for i, (image, ids) in enumerate(zip(m.images, m.ids, strict=True)):
        kind = "Normal" if i in NORMAL else "Anomaly"
        name, mask = f"candle/Data/Images/{kind}/{i:03}.JPG", ""
        put(root / name, image)
        if i not in NORMAL:
            mask = f"candle/Data/Masks/Anomaly/{i:03}.png"
            put(root / mask, (ids * (1 + i % 3)).astype(np.uint8))  # a number per kind of defect
        label = "normal" if i in NORMAL else "anomaly"
        rows.append(("candle", "test", label, name, mask))
    put(root / "candle/Data/Images/Normal/train.JPG", m.images[0])
    rows.append(("candle", "train", "normal", "candle/Data/Images/Normal/train.JPG", ""))
    write_csv(root / "split_csv" / "1cls.csv", *rows)


def ksdd(root: Path, m: Material) -> None:
    for i, (image, ids) in enumerate(zip(m.images, m.ids, strict=True)):
        put(root / f"kos{i // 2 + 1:02}" / f"Part{i % 2}.jpg", image)
        put(root / f"kos{i // 2 + 1:02}" / f"Part{i % 2}_label.bmp", white(ids), format="BMP")


def ksdd2(root: Path, m: Material) -> None:
    for i, (image, ids) in enumerate(zip(m.images, m.ids, strict=True)):
        put(root / "test" / f"2000{i}.png", image)
        put(root / "test" / f"2000{i}_GT.png", white(ids))
    put(root / "train" / "10000.png", m.images[0])
    put(root / "train" / "10000_GT.png", white(m.ids[0]))


def dagm(root: Path, m: Material) -> None:
    for i, (image, ids) in enumerate(zip(m.images, m.ids, strict=True)):
        put(root / "Class1" / "Test" / f"057{i}.PNG", image)
        if i not in NORMAL:
            put(root / "Class1" / "Test" / "Label" / f"057{i}_label.PNG", white(ids))
    (root / "Class1" / "Test" / "Label" / "Labels.txt").write_text("1\n")
    put(root / "Class1" / "Train" / "0001.PNG", m.images[0])
    put(root / "Class1" / "Train" / "0002.PNG", m.images[0])
    put(root / "Class1" / "Train" / "Label" / "0002_label.PNG", white(m.ids[1]))


def magnetic_tile(root: Path, m: Material) -> None:
    for i, (image, ids) in enumerate(zip(m.images, m.ids, strict=True)):
        folder = root / ("MT_Free" if i in NORMAL else "MT_Crack") / "Imgs"
        put(folder / f"exp1_num_{i}.jpg", image)
        put(folder / f"exp1_num_{i}.png", white(ids))


def neu_seg(root: Path, m: Material) -> None:
    for i, (image, ids) in enumerate(zip(m.images, m.ids, strict=True)):
        put(root / "images" / "test" / f"00020{i}.jpg", image)
        put(root / "annotations" / "test" / f"00020{i}.png", grey(ids))
    put(root / "images" / "training" / "000001.jpg", m.images[0])
    put(root / "annotations" / "training" / "000001.png", grey(m.ids[1]))


def drive(root: Path, m: Material) -> None:
    """Outside the field of view nothing counts."""
    for i, (image, ids) in enumerate(zip(m.images, m.ids, strict=True)):
        view = np.zeros(SIZE, np.uint8)
        view[1:-1, 2:-2] = 255
        folder = root / "test"
        put(folder / "images" / f"0{i}_test.tif", image, format="TIFF")
        put(folder / "1st_manual" / f"0{i}_manual1.gif", white(ids), format="GIF")
        put(folder / "2nd_manual" / f"0{i}_manual2.gif", white(ids) * 0, format="GIF")
        put(folder / "mask" / f"0{i}_test_mask.gif", view, format="GIF")
        ids[view == 0] = -1
    put(root / "training" / "images" / "21_training.tif", m.images[0], format="TIFF")
    put(root / "training" / "1st_manual" / "21_manual1.gif", white(m.ids[0]), format="GIF")
    put(root / "training" / "mask" / "21_training_mask.gif", view, format="GIF")


def isic(root: Path, m: Material) -> None:
    for i, (image, ids) in enumerate(zip(m.images, m.ids, strict=True)):
        name = f"ISIC_001225{i}"
        put(root / "ISIC-2017_Validation_Data" / f"{name}.jpg", image)
        put(root / "ISIC-2017_Validation_Data" / f"{name}_superpixels.png", image)
        truth = root / "ISIC-2017_Validation_Part1_GroundTruth"
        put(truth / f"{name}_segmentation.png", white(ids))
    put(root / "ISIC-2017_Training_Data" / "ISIC_0000000.jpg", m.images[0])
    truth = root / "ISIC-2017_Training_Part1_GroundTruth"
    put(truth / "ISIC_0000000_segmentation.png", white(m.ids[1]))


COLOURS = np.array([(64, 128, 64), (192, 0, 128), (0, 128, 192), (0, 0, 0)], np.uint8)


def camvid(root: Path, m: Material) -> None:
    for i, (image, ids) in enumerate(zip(m.images, m.ids, strict=True)):
        put(root / "test" / f"Seq05VD_f0000{i}.png", image)
        put(root / "test_labels" / f"Seq05VD_f0000{i}_L.png", COLOURS[ids])
    put(root / "train" / "0001TP_006690.png", m.images[0])
    put(root / "train_labels" / "0001TP_006690_L.png", COLOURS[m.ids[0]])
    names = ("Animal", "Archway", "Bicyclist", "Void")
    rows = [(n, *map(int, colour)) for n, colour in zip(names, COLOURS, strict=True)]
    write_csv(root / "class_dict.csv", ("name", "r", "g", "b"), *rows)


def camvid_segnet(root: Path, m: Material) -> None:
    for i, (image, ids) in enumerate(zip(m.images, m.ids, strict=True)):
        put(root / "test" / f"Seq05VD_f0000{i}.png", image)
        put(root / "testannot" / f"Seq05VD_f0000{i}.png", grey(np.where(ids == 10, 11, ids)))
        ids[ids == 10] = -1


def cityscapes(
    root: Path, m: Material, *, kind: str = "labelTrainIds", table: tuple[int, ...] = ()
) -> None:
    for i, (image, ids) in enumerate(zip(m.images, m.ids, strict=True)):
        name = f"val/munster/munster_00000{i}_000019"
        put(root / "leftImg8bit" / f"{name}_leftImg8bit.png", image)
        void = ids.copy()
        void[0, :] = -1
        stored = np.where(void < 0, 255, void) if not table else np.array([*table, 3])[void]
        put(root / "gtFine" / f"{name}_gtFine_{kind}.png", stored.astype(np.uint8))
        put(root / "gtFine" / f"{name}_gtFine_color.png", image)
        put(root / "gtFine" / f"{name}_gtFine_instanceIds.png", grey(ids))
        ids[:] = void
    put(root / "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png", m.images[0])
    put(root / f"gtFine/train/aachen/aachen_000000_000019_gtFine_{kind}.png", grey(m.ids[0] * 0))


def cityscapes_ids(root: Path, m: Material) -> None:
    cityscapes(root, m, kind="labelIds", table=TRAIN_IDS)


def one_based(names: tuple[str, str]) -> Callable[[Path, Material], None]:
    def write(root: Path, m: Material) -> None:
        for i, (image, ids) in enumerate(zip(m.images, m.ids, strict=True)):
            ids[:2] = -1
            put(root / names[0].format(i), image)
            put(root / names[1].format(i), grey(ids + 1))

    return write


ade = one_based(
    ("images/validation/ADE_val_0000000{}.jpg", "annotations/validation/ADE_val_0000000{}.png")
)
loveda = one_based(("Val/Urban/images_png/351{}.png", "Val/Urban/masks_png/351{}.png"))


def runs_of(flat: np.ndarray) -> str:
    """A slow loop over the pixels of one column after the other, counted from 1."""
    parts, inside = [], 0
    for place, on in enumerate([*flat.tolist(), False], start=1):
        if on:
            inside += 1
        elif inside:
            parts += [place - inside, inside]
            inside = 0
    return " ".join(map(str, parts))


def severstal(root: Path, m: Material) -> None:
    rows: list[tuple[object, ...]] = [("ImageId", "ClassId", "EncodedPixels")]
    for i, (image, ids) in enumerate(zip(m.images, m.ids, strict=True)):
        put(root / "train_images" / f"000{i}.jpg", image)
        for index in sorted(set(ids.ravel().tolist()) - {0}):
            rows.append((f"000{i}.jpg", index, runs_of((ids == index).ravel(order="F"))))
    write_csv(root / "train.csv", *rows)


def coco_json(m: Material, path: str, shape: Callable[[np.ndarray], object]) -> dict[str, object]:
    """Categories 3, 7, 20: not in line, as COCO's."""
    numbers = (3, 7, 20)
    shapes = [
        {"image_id": i, "category_id": numbers[index - 1], "segmentation": shape(ids == index)}
        for i, ids in enumerate(m.ids)
        for index in sorted(set(ids.ravel().tolist()) - {0})
    ]
    return {
        "info": {},
        "images": [
            {"id": i, "file_name": path.format(i), "height": SIZE[0], "width": SIZE[1]}
            for i in range(COUNT)
        ],
        "annotations": shapes,
        "categories": [{"id": n, "name": f"kind {n}"} for n in reversed(numbers)],
    }


def counts(mask: np.ndarray) -> dict[str, object]:
    """Runs off and on in turns, by a slow loop."""
    found, state = [0], False
    for on in mask.ravel(order="F").tolist():
        if on != state:
            found.append(0)
            state = on
        found[-1] += 1
    return {"counts": found, "size": list(SIZE)}


def coco(root: Path, m: Material) -> None:
    for i, image in enumerate(m.images):
        put(root / "val2017" / f"00000000013{i}.jpg", image)
    (root / "annotations").mkdir()
    table = coco_json(m, "00000000013{}.jpg", counts)
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(table))
    (root / "annotations" / "captions_val2017.json").write_text("{}")


def coco_panoptic(root: Path, m: Material) -> None:
    annotations = []
    for i, (image, ids) in enumerate(zip(m.images, m.ids, strict=True)):
        put(root / "val2017" / f"00000000013{i}.jpg", image)
        void = ids.copy()
        void[:, -2:] = -1
        number = np.where(void < 0, 0, 70_001 + void)
        colours = np.stack([number % 256, number // 256 % 256, number // 65536], axis=-1)
        folder = root / "annotations" / "panoptic_val2017"
        put(folder / f"00000000013{i}.png", colours.astype(np.uint8))
        present = sorted(set(void.ravel().tolist()) - {-1})
        segments = [{"id": 70_001 + k, "category_id": 5 + 3 * k} for k in present]
        name = f"00000000013{i}.png"
        annotations.append({"image_id": i, "file_name": name, "segments_info": segments})
        ids[:] = void
    table = coco_json(m, "00000000013{}.jpg", counts) | {
        "annotations": annotations,
        "categories": [{"id": 5 + 3 * k, "name": f"kind {k}"} for k in range(3)],
    }
    (root / "annotations" / "panoptic_val2017.json").write_text(json.dumps(table))


CASES: dict[str, tuple[str, int, Callable[[Path, Material], None]]] = {
    "own": ("images-masks", 3, own),
    "gif": ("images-masks", 3, suffixed("_gt", ".gif", "GIF")),
    "bmp": ("images-masks", 3, suffixed("_Segmentation", ".bmp", "BMP")),
    "tif": ("images-masks", 3, suffixed("_manual1", ".tif", "TIFF")),
    "_L": ("images-masks", 3, suffixed("_L", ".png")),
    "npy": ("images-masks", 3, numpy_masks),
    "train": ("images-masks", 3, one_folder_up),
    "labels": ("images-masks", 3, images_labels),
    "beside": ("pairs", 3, beside),
    "same-stem": ("jpg-png", 3, same_stem),
    "voc": ("voc", 3, voc),
    "mvtec": ("mvtec", 2, mvtec),
    "mvtec-loco": ("mvtec-loco", 2, mvtec_loco),
    "btad": ("mvtec", 2, btad),
    "mvtec-ad2": ("mvtec-ad2", 2, mvtec_ad2),
    "visa": ("visa", 2, visa),
    "ksdd": ("ksdd", 2, ksdd),
    "ksdd2": ("ksdd2", 2, ksdd2),
    "dagm": ("dagm", 2, dagm),
    "magnetic-tile": ("magnetic-tile", 2, magnetic_tile),
    "neu-seg": ("neu-seg", 4, neu_seg),
    "drive": ("drive", 2, drive),
    "isic": ("isic", 2, isic),
    "camvid": ("camvid", 4, camvid),
    "camvid-segnet": ("camvid-segnet", 11, camvid_segnet),
    "cityscapes": ("cityscapes", 19, cityscapes),
    "cityscapes-label-ids": ("cityscapes-label-ids", 19, cityscapes_ids),
    "ade20k": ("ade20k", 150, ade),
    "loveda": ("loveda", 7, loveda),
    "severstal": ("severstal", 5, severstal),
    "coco": ("coco", 4, coco),
    "coco-panoptic": ("coco-panoptic", 3, coco_panoptic),
}
