from pathlib import Path

from equiaudit.results.schema import result_schema


def test_the_published_schema_is_current():
    published = Path(__file__).parents[1] / "docs" / "result.schema.json"
    assert published.read_text("utf-8") == result_schema()
