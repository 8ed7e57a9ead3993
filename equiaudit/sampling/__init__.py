"""Shift-equivariant sampling layers, plain `nn.Module`s for any net."""

from equiaudit.sampling.aps import APSD, APSU, APSSelector
from equiaudit.sampling.blurpool import BlurPool
from equiaudit.sampling.border import border_pad, has_border
from equiaudit.sampling.canonical import Canonical, CanonicalPosition, canonical_origin
from equiaudit.sampling.caps import CAPSD, CAPSU, CAPSSelector
from equiaudit.sampling.circles import circular
from equiaudit.sampling.crop_select import CropPosition, CropSelect
from equiaudit.sampling.ddac import DDAC
from equiaudit.sampling.lps import LPSD, LPSU, LPSSelector, TauSchedule
from equiaudit.sampling.mass import MASS, MASSUp
from equiaudit.sampling.mean import OrderFreeMean, order_free_mean
from equiaudit.sampling.origin import OriginSelector
from equiaudit.sampling.polyphase import Choice, PolyphaseDown, PolyphaseUp, Selector
from equiaudit.sampling.seam import canonical_position
from equiaudit.sampling.torus_hash import torus_hash
from equiaudit.sampling.whole_nets import circular_
from equiaudit.sampling.windowing import WindowTrade, window_trade, window_width
from equiaudit.sampling.wrapping import CircularPad2d, circular_pad, gather_window, roll_by

__all__ = [
    "APSD",
    "APSU",
    "CAPSD",
    "CAPSU",
    "DDAC",
    "LPSD",
    "LPSU",
    "MASS",
    "APSSelector",
    "BlurPool",
    "CAPSSelector",
    "Canonical",
    "CanonicalPosition",
    "Choice",
    "CircularPad2d",
    "CropPosition",
    "CropSelect",
    "LPSSelector",
    "MASSUp",
    "OrderFreeMean",
    "OriginSelector",
    "PolyphaseDown",
    "PolyphaseUp",
    "Selector",
    "TauSchedule",
    "WindowTrade",
    "border_pad",
    "canonical_origin",
    "canonical_position",
    "circular",
    "circular_",
    "circular_pad",
    "gather_window",
    "has_border",
    "order_free_mean",
    "roll_by",
    "torus_hash",
    "window_trade",
    "window_width",
]
