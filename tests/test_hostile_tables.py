"""Settings, results, tables and journals that try to take all time, or to say a book."""

import json

import pytest
from results import make_result

from equiaudit.config.resolving import _read_toml
from equiaudit.data.class_table import read_class_table
from equiaudit.errors import InputError
from equiaudit.models.preprocess import parse_preprocess, read_preprocess_file
from equiaudit.report import FORMATS, render
from equiaudit.results import load_result


def written(folder, text):
    path = folder / "file"
    path.write_text(text, encoding="utf-8")
    return path


def refused(read, *arguments):
    """What the refusal says: one line, and no longer than a person would read."""
    with pytest.raises(InputError) as caught:
        read(*arguments)
    said = str(caught.value)
    assert len(said) < 2_200
    assert caught.value.exit_code == 2
    return said


@pytest.mark.parametrize(
    "text",
    ["a." * 400_000 + "a=1", "[" + "a." * 400_000 + "a]", "k" * 900_000 + "=1"],
    ids=["dots", "table", "key"],
)
def test_a_preprocessing_file_that_takes_hours_to_read_is_not_read(tmp_path, text):
    assert "longer than 16 KiB" in refused(read_preprocess_file, written(tmp_path, text))
    with pytest.raises(InputError, match="the metadata of net is longer than 16 KiB"):
        parse_preprocess(text, where="the metadata of net", source="metadata")


@pytest.mark.parametrize(
    "text",
    [
        "a=" + "[" * 8_000,
        "size=" + "9" * 8_000,
        "k" * 15_000 + "=1",
        'layout="' + "x" * 9_000 + '"',
    ],
    ids=["brackets", "digits", "key", "value"],
)
def test_what_is_short_enough_to_be_read_is_refused_in_a_sentence(tmp_path, text):
    refused(read_preprocess_file, written(tmp_path, text))


@pytest.mark.parametrize("text", ["a=" + "[" * 50_000, "a=" + "9" * 50_000])
def test_settings_that_no_parser_reads_are_named(tmp_path, text):
    assert "is not valid TOML" in refused(_read_toml, written(tmp_path, text))


GOOD = make_result(kinds=("circular",), radius=2, period=2, n=50).model_dump_json()


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"schema_version":' + "9" * 5_000 + "}",
        '{"schema_version":"' + "x" * 1_000_000 + '"}',
        '{"schema_version":NaN}',
        GOOD[:-1] + ',"' + "k" * 1_000_000 + '":1}',
        GOOD[:-1] + ',"settings":' + '{"a":' * 400 + "1" + "}" * 400 + "}",
    ],
    ids=["deep", "digits", "version", "nan", "key", "nested"],
)
def test_a_result_that_is_none_is_refused_in_a_sentence(tmp_path, text):
    refused(load_result, written(tmp_path, text))


def test_control_a_result_is_read_and_can_be_shown(tmp_path):
    deep = json.loads(GOOD) | {"settings": json.loads('{"a":' * 40 + "1" + "}" * 40)}
    result = load_result(written(tmp_path, json.dumps(deep)))
    assert all(render(result, name) for name in FORMATS)


@pytest.mark.parametrize("text", ["name,index\na," + "9" * 100_000, "x" * 100_000 + "\n"])
def test_a_table_of_classes_is_refused_in_a_sentence(tmp_path, text):
    refused(read_class_table, written(tmp_path, text))
