"""Circular, crop and zero-pad shifts: which offsets, and how pixels move. `canvas` needs torch."""

from equiaudit.shifts.plan import ShiftPlan, make_plan
from equiaudit.shifts.protocols import PROTOCOLS, Protocol
from equiaudit.shifts.series import Series

__all__ = ["PROTOCOLS", "Protocol", "Series", "ShiftPlan", "make_plan"]
