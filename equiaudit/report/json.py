"""The result itself: what `result.json` holds."""

from __future__ import annotations

import json
from dataclasses import dataclass

from equiaudit.report.options import Options
from equiaudit.results import Result


@dataclass(frozen=True)
class JsonReport:
    """Keys in the order of the types, floats to the last bit, ASCII only (no control bytes)."""

    file: str = "result.json"

    def render(self, result: Result, options: Options) -> str:
        """The text of `result.json`; `options` change nothing."""
        return json.dumps(result.model_dump(mode="json"), indent=2, allow_nan=False) + "\n"


FORMAT = JsonReport()
