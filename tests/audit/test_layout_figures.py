"""The same images and masks in a published layout and in images/ + masks/ give one result."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dense_small import dense_model, dense_scan, segmenter
from miniatures import CASES, Material, put
from PIL import Image
from small import small_model

from equiaudit.data import Dataset, MaskReader, open_dataset, open_dense_dataset
from equiaudit.results import Result


def ours(theirs: Dataset, material: Material, root: Path) -> Path:
    """In the order of theirs, since shifts are drawn by an image's place."""
    ids_of = {i.tobytes(): ids for i, ids in zip(material.images, material.ids, strict=True)}
    for place, item in enumerate(theirs.items):
        pixels = np.asarray(Image.open(item.path).convert("RGB"))
        ids = ids_of[pixels.tobytes()]
        put(root / "images" / f"{place}.png", pixels)
        put(root / "masks" / f"{place}.png", np.where(ids < 0, 255, ids).astype(np.uint8))
    return root


def unnamed(result: Result) -> str:
    """The figures of result.json, without what a published data set calls classes and files."""
    shifts = {kind: each.model_dump(mode="json") for kind, each in result.shifts.items()}
    for each in shifts.values():
        for score in each["dense"]["classes"]:
            del score["name"], score["colour"]
        for lost in each["dense"]["objects"]["lost"]:
            del lost["file"]
    return json.dumps(shifts)


@pytest.mark.parametrize("case", CASES)
def test_a_published_layout_gives_the_figures_of_our_own(case: str, tmp_path: Path) -> None:
    _, classes, write = CASES[case]
    material = Material(classes)
    write(tmp_path / "theirs", material)
    theirs = open_dense_dataset(tmp_path / "theirs", "segmentation", MaskReader(classes))
    root = ours(theirs, material, tmp_path / "ours")
    own = open_dense_dataset(root, "segmentation", MaskReader(classes, ignore=255))
    model = dense_model(segmenter(classes), classes=classes)
    results = [
        dense_scan(data, model, max_shift=1, offsets=2, shifts=("circular",)).result
        for data in (theirs, own)
    ]
    assert unnamed(results[0]) == unnamed(results[1])
    assert [result.layout for result in results] == [theirs.layout, "images-masks"]


LABELS = [2, 0, 3, 1, 1, 0, 3, 2]
Named = dict[str, bytes]


def pngs() -> Named:
    found = {}
    for i in range(len(LABELS)):
        out = io.BytesIO()
        pixels = np.random.default_rng(i).integers(0, 256, (16, 16, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(out, "PNG")
        found[f"{i}.png"] = out.getvalue()
    return found


def lay(root: Path, files: Named) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def rows(form: str) -> bytes:
    return "".join(form.format(i, label) for i, label in enumerate(LABELS)).encode()


def listed(root: Path, files: Named) -> None:
    lay(root, files | {"val.txt": rows("{}.png {}\n")})


def tiny(root: Path, files: Named) -> None:
    table = rows("{}.png\tn0000000{}\t0\t0\t9\t9\n")
    lay(root, {f"val/images/{n}": c for n, c in files.items()} | {"val/val_annotations.txt": table})


def imagefolder(root: Path, files: Named) -> None:
    lay(root, files | {"metadata.csv": b"file_name,label\n" + rows("{}.png,{}\n")})


def jsonl(root: Path, files: Named) -> None:
    lay(root, files | {"metadata.jsonl": rows('{{"file_name": "{}.png", "label": {}}}\n')})


def shard(root: Path, files: Named) -> None:
    root.mkdir()
    members = files | {f"{i}.cls": str(label).encode() for i, label in enumerate(LABELS)}
    with tarfile.open(root / "shard-000.tar", "w") as archive:
        for name, content in sorted(members.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def parquet(root: Path, files: Named) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    label = {"names": ["a", "b", "c", "d"], "_type": "ClassLabel"}
    stated = {"info": {"features": {"image": {"_type": "Image"}, "label": label}}}
    cells = [{"bytes": content, "path": name} for name, content in files.items()]
    table = pa.table({"image": cells, "label": LABELS})
    (root / "data").mkdir(parents=True)
    pq.write_table(
        table.replace_schema_metadata({"huggingface": json.dumps(stated)}),
        root / "data" / "test-00000-of-00001.parquet",
    )


@pytest.mark.parametrize(
    ("layout", "write"),
    [("imagenet-list", listed), ("tiny-imagenet", tiny), ("hugging-face", imagefolder),
     ("hugging-face", jsonl), ("webdataset", shard), ("datasets", parquet)],
)  # fmt: skip
def test_labels_of_a_published_layout_give_the_figures_of_a_table(
    layout: str, write: Callable[[Path, Named], None], tmp_path: Path
) -> None:
    write(tmp_path / "theirs", pngs())
    lay(tmp_path / "ours", pngs())
    (tmp_path / "labels.csv").write_bytes(b"file,label\n" + rows("{}.png,{}\n"))
    theirs = open_dataset(tmp_path / "theirs", num_classes=4)
    ours = open_dataset(tmp_path / "ours", labels=tmp_path / "labels.csv", num_classes=4)
    settings = {"max_shift": 1, "offsets": 2, "shifts": ("circular",), "accuracy_check": False}
    found = [dense_scan(data, small_model(), **settings).result for data in (theirs, ours)]
    assert theirs.layout == layout
    assert not any("not read" in note for note in theirs.notes)
    assert found[0].shifts == found[1].shifts
    assert "accuracy_clean" in found[0].shifts["circular"].metrics
