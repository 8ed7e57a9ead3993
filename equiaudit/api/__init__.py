"""The verbs as functions: what the command line calls and what a test imports."""

from equiaudit.api.loading import ModelSettings, load_model
from equiaudit.api.repairing import fix, inspect, verify
from equiaudit.api.scanning import scan

__all__ = ["ModelSettings", "fix", "inspect", "load_model", "scan", "verify"]
