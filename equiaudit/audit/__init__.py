"""The scan engine: plan x images x model -> `Result`."""

from equiaudit.audit.options import ScanOptions

__all__ = ["ScanOptions"]
