"""Layouts of published data sets of defects."""

from __future__ import annotations

from equiaudit.data.layouts.base import Rank
from equiaudit.data.layouts.pairs import Pairs, paired_layout

__all__ = ["LAYOUTS"]

_GOOD = r"(?:^|/)(?:good|ok|normal)/"

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
