"""Settings: each declared once, read from command line, environment, file or default.

A setting is a field of `Settings`. The command line makes its flags from these fields,
`EQUIAUDIT_<NAME>` sets one from the environment, and a key of the same name in
`equiaudit.toml`, or in `[tool.equiaudit]` of `pyproject.toml`, sets one from a file. All
three go through the same checks.
"""

from equiaudit.config.flags import Flag, flag_name
from equiaudit.config.resolving import Resolved, resolve
from equiaudit.config.settings import DEFAULTS, Settings

__all__ = ["DEFAULTS", "Flag", "Resolved", "Settings", "flag_name", "resolve"]
