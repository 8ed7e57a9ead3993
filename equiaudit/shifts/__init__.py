"""Circular, crop and zero-pad shifts: which offsets, and how pixels move. `canvas` needs torch."""

from equiaudit.shifts.plan import Series, ShiftPlan, make_plan
from equiaudit.shifts.protocols import PROTOCOLS, Protocol

__all__ = ["PROTOCOLS", "Protocol", "Series", "ShiftPlan", "make_plan"]
