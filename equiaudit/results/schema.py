"""The JSON Schema of `result.json`: ``python -m equiaudit.results.schema`` prints it."""

from __future__ import annotations

import json

from equiaudit.results.types import Result


def result_schema() -> str:
    """The schema as text, as docs/result.schema.json holds it."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Result.model_json_schema(
        mode="serialization"
    )
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    print(result_schema(), end="")
