"""Runtimes that run files of nets, each in a module of its own behind `base.Runtime`."""

from equiaudit.models.runtimes.base import Runtime
from equiaudit.models.runtimes.registry import NATIVE, RUNTIMES, installed

__all__ = ["NATIVE", "RUNTIMES", "Runtime", "installed"]
