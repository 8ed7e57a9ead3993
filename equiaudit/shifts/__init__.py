"""Circular, crop and zero-pad shifts: which offsets, and how pixels move. `canvas` needs torch."""

from equiaudit.shifts.plan import KINDS, Series, ShiftPlan, make_plan
from equiaudit.shifts.protocols import PROTOCOLS, Protocol

__all__ = ["KINDS", "PROTOCOLS", "Protocol", "Series", "ShiftPlan", "make_plan"]
