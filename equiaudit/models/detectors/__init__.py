"""Detectors: what says that a model is one, and how boxes are made of what it returns."""

from equiaudit.models.detectors.declaration import Declaration, parse_detector
from equiaudit.models.detectors.decoding import MOST_BOXES, decoder
from equiaudit.models.detectors.found import stated_detector
from equiaudit.models.detectors.instances import masks_in, points_in
from equiaudit.models.detectors.looking import as_detector, prepared

__all__ = [
    "MOST_BOXES",
    "Declaration",
    "as_detector",
    "decoder",
    "masks_in",
    "parse_detector",
    "points_in",
    "prepared",
    "stated_detector",
]
