"""Shift-equivariant sampling layers, plain `nn.Module`s for any net."""

from equiaudit.sampling.canonical import Canonical, CanonicalPosition, canonical_origin
from equiaudit.sampling.crop_select import CropPosition, CropSelect
from equiaudit.sampling.mass import MASS, MASSUp
from equiaudit.sampling.mean import OrderFreeMean, order_free_mean
from equiaudit.sampling.origin import OriginSelector
from equiaudit.sampling.seam import canonical_position
from equiaudit.sampling.torus_hash import torus_hash
from equiaudit.sampling.wrapping import CircularPad2d, circular_pad, gather_window, roll_by

__all__ = [
    "MASS",
    "Canonical",
    "CanonicalPosition",
    "CircularPad2d",
    "CropPosition",
    "CropSelect",
    "MASSUp",
    "OrderFreeMean",
    "OriginSelector",
    "canonical_origin",
    "canonical_position",
    "circular_pad",
    "gather_window",
    "order_free_mean",
    "roll_by",
    "torus_hash",
]
