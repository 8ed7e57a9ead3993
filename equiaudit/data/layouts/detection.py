"""Images whose boxes are found: annotated, or alone."""

from __future__ import annotations

from equiaudit.data.layouts import coco_boxes, voc_boxes, yolo_boxes
from equiaudit.data.layouts.base import Asked, Layout, Listing, Rank
from equiaudit.data.tree import Tree

_FOLDER = "images"


def _images(tree: Tree, asked: Asked) -> Listing:
    if tree.has(_FOLDER) and tree.tops == {_FOLDER}:
        return Listing(tree.root / _FOLDER, tree.under(_FOLDER))
    return Listing(tree.root, tree.images)


LAYOUTS = (
    *coco_boxes.LAYOUTS,
    *voc_boxes.LAYOUTS,
    *yolo_boxes.LAYOUTS,
    Layout(
        name="images",
        kind="detection",
        rank=Rank.PLAIN,
        looks="1.jpg\nsite/2.jpg",
        assumed="Images at any depth, of which nothing is known: consistency needs no boxes.",
        fits=lambda tree: True,
        read=_images,
    ),
)
