"""Layouts of published data sets of defects."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from equiaudit.data.layouts.base import Asked, Layout, Listing, Rank
from equiaudit.data.layouts.pairs import Pairs, found_in, paired_layout, pattern
from equiaudit.data.layouts.splits import chosen_split, split_of
from equiaudit.data.listing import ImageFile, is_mask
from equiaudit.data.mask_files import read_stored
from equiaudit.data.rules import MaskRule
from equiaudit.data.tree import Tree
from equiaudit.errors import InputError

_GOOD = r"(?:^|/)(?:good|ok|normal)/"
_LOCO = re.compile(r"(?:^|/)ground_truth/[^/\n]+/[^/\n]+$", re.IGNORECASE | re.MULTILINE)
_OF_LOCO = pattern(r"<top>ground_truth/<defect>/<stem:[^/]+>/<part>EXT")
_LOCO_IMAGES = Pairs(
    images=r"<top>test/<defect>/<stem>EXT",
    masks=r"<top>ground_truth/<defect>/<stem>EXT",
    aside=r"(?:^|/)(?:train|validation|ground_truth)/",
)


@dataclass(frozen=True)
class UnitedMasks:
    """Several masks of an image, of which each shows one defect."""

    files: Mapping[str, tuple[ImageFile, ...]] = field(repr=False)
    """Name of an image -> its masks; none of one that shows background."""
    sha256: str

    def draw(self, name: str, size: tuple[int, int]) -> NDArray[np.int32]:
        """(H, W) 1 where any of the masks is above 0."""
        ids = np.zeros(size, np.int32)
        for file in self.files.get(name, ()):
            stored = read_stored(file.path, size[0] * size[1])
            if stored.values is None or stored.shape != size:
                raise InputError(
                    f"The mask {file.path} is no grey file of {size[0]}x{size[1]} px (height x"
                    " width), as its image is."
                )
            ids[stored.values > 0] = 1
        return ids


def _loco(tree: Tree, asked: Asked) -> Listing:
    found = found_in(tree, _LOCO_IMAGES)
    images = sorted(found.images.values(), key=lambda image: os.fsencode(image.relative))
    images, notes = chosen_split(
        images, lambda image: split_of(image.name), (), (), asked.split, tree.root
    )
    masks: dict[tuple[str, ...], list[ImageFile]] = {}
    for file in tree.files:
        match = _OF_LOCO.fullmatch(file.name)
        if match is not None and is_mask(file.relative):
            masks.setdefault((match["defect"], match["stem"], match["top"] or ""), []).append(file)
    files: dict[str, tuple[ImageFile, ...]] = {}
    normal = 0
    for key, image in found.images.items():
        own = files[image.name] = tuple(masks.pop(key, ()))
        good = re.search(_GOOD, image.name, re.IGNORECASE)
        normal += not own
        if not own and not good and asked.no_mask != "background":
            raise InputError(
                f"{image.path} has no mask: there is no folder ground_truth/{key[0]}/{key[1]}.",
                tip="Add its masks, or move the image away; --no-mask background where it shows"
                " nothing to find.",
            )
    digest = hashlib.sha256()
    for name, own in sorted(files.items()):
        digest.update(f"{name}:{[(file.name, file.size) for file in own]}".encode())
    notes += (
        f"{sum(map(len, files.values()))} masks of {len(files) - normal} images, those of an image"
        f" united; {normal} normal images have none and count as background.",
    )
    spare = next(iter(masks.values()), None)
    if spare is not None:
        notes += (f"masks without an image, left out: {len(masks)} ({spare[0].name}).",)
    return Listing(
        tree.root,
        images,
        masked=True,
        rule=MaskRule(drawn=UnitedMasks(files, digest.hexdigest())),
        notes=notes,
    )


LAYOUTS = (
    paired_layout(
        "mvtec",
        Pairs(
            images=r"<top>test/<defect>/<stem>EXT",
            masks=r"<top>ground_truth/<defect>/<stem>EXT",
            suffixes=("_mask", ""),
            aside=r"(?:^|/)(?:train|validation)/",
            marks=r"(?:^|/)ground_truth/",
            normal=_GOOD,
        ),
        rank=Rank.PUBLISHED,
        looks="test/good/000.png\ntest/crack/000.png\nground_truth/crack/000_mask.png\ntrain/good/...",
        assumed="Images of test/; those in good/ (ok/, normal/) have no mask and show background."
        " One object, or a folder of several. Also BTAD and others laid out so.",
        source="MVTec AD, https://www.mvtec.com/company/research/datasets/mvtec-ad",
    ),
    Layout(
        name="mvtec-loco",
        kind="segmentation",
        rank=Rank.PUBLISHED,
        looks="test/good/000.png\ntest/logical_anomalies/000.png\n"
        "ground_truth/logical_anomalies/000/000.png, 001.png, ...",
        assumed="Images of test/; the masks in the folder of an image are united; those in good/"
        " have none and show background.",
        fits=lambda tree: bool(_LOCO.search(tree.folders)),
        read=_loco,
        source="MVTec LOCO AD, https://www.mvtec.com/company/research/datasets/mvtec-loco",
    ),
    paired_layout(
        "mvtec-ad2",
        Pairs(
            images=r"<top>test_public/<defect>/<stem>EXT",
            masks=r"<top>test_public/ground_truth/<defect>/<stem>EXT",
            suffixes=("_mask", ""),
            aside=r"(?:^|/)(?:train|validation|test_private(?:_mixed)?)/",
            marks=r"(?:^|/)test_public/ground_truth/",
            normal=_GOOD,
        ),
        rank=Rank.PUBLISHED,
        looks="test_public/good/000_regular.png\ntest_public/bad/000_regular.png\n"
        "test_public/ground_truth/bad/000_regular_mask.png",
        assumed="Images of test_public/; those in good/ have no mask and show background.",
        source="MVTec AD 2, https://www.mvtec.com/company/research/datasets/mvtec-ad-2",
    ),
    paired_layout(
        "ksdd",
        Pairs(
            images=r"<top><part:kos\d+>/<stem>EXT",
            masks=r"<top><part:kos\d+>/<stem>EXT",
            suffixes=("_label",),
            apart=False,
            marks=r"(?:^|/)kos\d+$",
        ),
        rank=Rank.PUBLISHED,
        looks="kos01/Part0.jpg\nkos01/Part0_label.bmp",
        assumed="A mask per image.",
        source="KolektorSDD, https://www.vicos.si/resources/kolektorsdd/",
    ),
    paired_layout(
        "ksdd2",
        Pairs(
            images=r"<top><part:train|test>/<stem:\d+(?:_gt)?>EXT",
            masks=r"<top><part:train|test>/<stem:\d+_gt>EXT",
            suffixes=("_gt",),
            apart=False,
            marks=r"(?:^|/)(?:train|test)$",
            split=("test",),
        ),
        rank=Rank.PUBLISHED,
        looks="test/20000.png\ntest/20000_GT.png\ntrain/...",
        assumed="Images of test/, a mask each.",
        source="KolektorSDD2, https://www.vicos.si/resources/kolektorsdd2/",
    ),
    paired_layout(
        "dagm",
        Pairs(
            images=r"<top><stem>EXT",
            masks=r"<top>label/<stem>EXT",
            suffixes=("_label",),
            marks=r"(?:^|/)label$",
            unmasked="background",
            split=("test",),
        ),
        rank=Rank.PUBLISHED,
        looks="Class1/Test/0576.PNG\nClass1/Test/Label/0576_label.PNG\nClass1/Train/...",
        assumed="Images of Test/; one without a mask shows background.",
        source="DAGM 2007, https://hci.iwr.uni-heidelberg.de/content/weakly-supervised-learning-industrial-optical-inspection",
    ),
    paired_layout(
        "magnetic-tile",
        Pairs(
            images=r"<top><defect:MT_\w+>/Imgs/<stem>\.jpe?g",
            masks=r"<top><defect:MT_\w+>/Imgs/<stem>\.png",
            apart=False,
            marks=r"(?:^|/)MT_\w+/Imgs$",
            normal=r"(?:^|/)MT_Free/",
        ),
        rank=Rank.PUBLISHED,
        looks="MT_Crack/Imgs/exp1_num_4727.jpg\nMT_Crack/Imgs/exp1_num_4727.png\nMT_Free/Imgs/...",
        assumed="The JPEG is the image, the PNG its mask; those of MT_Free may lack it.",
        source="Magnetic tile defects, https://github.com/abin24/Magnetic-tile-defect-datasets.",
    ),
    paired_layout(
        "neu-seg",
        Pairs(
            images=r"<top>images/<part:training|test>/<stem:(?!ADE_)[^/]+?>EXT",
            masks=r"<top>annotations/<part:training|test>/<stem>EXT",
            marks=r"(?:^|/)annotations/test$",
            split=("test",),
        ),
        rank=Rank.PUBLISHED,
        looks="images/test/000201.jpg\nannotations/test/000201.png\nimages/training/...",
        assumed="Images of test/, masks of class ids 0 to 3.",
        source="NEU-Seg, https://github.com/DHW-Master/NEU_Seg",
    ),
)
