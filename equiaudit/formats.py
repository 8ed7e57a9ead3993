"""The formats of a report: each a module of `equiaudit.report`, loaded when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from equiaudit.registry import Registry

if TYPE_CHECKING:
    from equiaudit.report.options import Format

FORMATS: Registry[Format] = Registry(
    "format",
    {
        "text": "equiaudit.report.text:FORMAT",
        "json": "equiaudit.report.json:FORMAT",
        "csv": "equiaudit.report.csv:FORMAT",
        "md": "equiaudit.report.markdown:FORMAT",
        "html": "equiaudit.report.html:FORMAT",
        "junit": "equiaudit.report.junit:FORMAT",
        "github": "equiaudit.report.github:FORMAT",
    },
)
