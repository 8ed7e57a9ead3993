"""Settings: the order of precedence, the checks, and errors that name what is wrong."""

from dataclasses import fields
from pathlib import Path

import pytest

from equiaudit.api.reading import Reading
from equiaudit.api.repairing import FixSettings
from equiaudit.api.scanning import AllSettings, _Asked
from equiaudit.audit.options import ScanOptions
from equiaudit.cli.fix import DATA_FLAGS
from equiaudit.cli.inspect import MODEL_FLAGS
from equiaudit.config import DEFAULTS, Flag, Settings, resolve
from equiaudit.config.flags import declared, taken
from equiaudit.errors import InputError
from equiaudit.repair.options import (
    FixOptions,
    Measuring,
    MeasuringSettings,
    MethodSettings,
    Stages,
    TrainingSettings,
)

NOT_OF_SCAN = {"gate": "gates", "format": None}


def settle(given=None, tmp_path=Path("/nonexistent"), env=None, **more):
    return resolve(given or {}, folder=tmp_path, environ=env or {}, **more)


def refused(**how) -> str:
    with pytest.raises(InputError) as caught:
        settle(**how)
    return str(caught.value)


def test_each_layer_overrides_the_one_below(tmp_path):
    (tmp_path / "equiaudit.toml").write_text('max-shift = 3\nseed = 3\nlimit = 3\ntask = "image"')
    env = {"EQUIAUDIT_SEED": "2", "EQUIAUDIT_LIMIT": "2"}
    found = settle({"limit": "1"}, tmp_path, env)
    settings = found.settings
    assert (settings.limit, settings.seed, settings.max_shift) == (1, 2, 3)
    assert settings.offsets == 16
    assert found.origins == {
        "limit": "--limit",
        "seed": "EQUIAUDIT_SEED",
        "max_shift": f"max-shift in {tmp_path / 'equiaudit.toml'}",
        "task": f"task in {tmp_path / 'equiaudit.toml'}",
    }


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("size", "32", (32, 32)),
        ("size", "224X192", (224, 192)),
        ("stride", "4x8", (4, 8)),
        ("mean", "0.1, .2,0.3", (0.1, 0.2, 0.3)),
        ("std", "0.5", (0.5,)),
        ("offsets", "full", "full"),
        ("offsets", "2", 2),
        ("batch_size", "auto", "auto"),
        ("batch_size", "8", 8),
        ("workers", "2", 2),
        ("shifts", "crop,circular", ("crop", "circular")),
        ("format", "json,text", ("json", "text")),
        ("device", "cuda:1", "cuda:1"),
        ("gate", ("a>=1", "b>=2"), ("a>=1", "b>=2")),
    ],
)
def test_a_flag_is_parsed(name, text, value):
    assert getattr(settle({name: text}).settings, name) == value


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("size", "3y", "HxW"),
        ("size", "0", "HxW"),
        ("size", "1x2x3", "HxW"),
        ("mean", "a,b", "number"),
        ("mean", ",", "empty"),
        ("offsets", "1", "from 2"),
        ("offsets", "some", "full"),
        ("batch_size", "0", "from 1"),
        ("workers", "0", "from 1"),
        ("max_shift", "0", "1"),
        ("max_shift", "1.5", "integer"),
        ("limit", "0", "1"),
        ("seed", "-1", "0"),
        ("shifts", "circular,corp", "'crop'"),
        ("shifts", "crop,crop", "twice"),
        ("format", "htm", "'html'"),
        ("device", "gpu", "cuda:N"),
        ("task", "detect", "segmentation"),
        ("backend", "tensorrt", "onnxruntime"),
    ],
)
def test_a_bad_value_is_refused_by_name(name, text, said):
    message = refused(given={name: text})
    assert message.startswith(f"--{name.replace('_', '-')}: ")
    assert said in message
    assert "\n" not in message


def test_a_file_has_native_values_and_dashes_or_underscores(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        "[tool.equiaudit]\nsize = [32, 48]\nmean = [0.5, 0.5, 0.5]\nmax_shift = 4\n"
        'batch-size = 8\ngate = ["a>=1", "b>=2"]\nstrict = true\nshifts = ["crop"]\n'
    )
    settings = settle(tmp_path=tmp_path).settings
    assert settings.size == (32, 48)
    assert settings.mean == (0.5, 0.5, 0.5)
    assert (settings.max_shift, settings.batch_size, settings.strict) == (4, 8, True)
    assert (settings.gate, settings.shifts) == (("a>=1", "b>=2"), ("crop",))


def test_the_command_line_replaces_the_gates_of_a_file(tmp_path):
    (tmp_path / "equiaudit.toml").write_text('gate = ["a>=1", "b>=2"]')
    assert settle({"gate": ["c>=3"]}, tmp_path).settings.gate == ("c>=3",)


def test_equiaudit_toml_goes_before_pyproject(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.equiaudit]\nseed = 1\nlimit = 1")
    (tmp_path / "equiaudit.toml").write_text("seed = 2")
    settings = settle(tmp_path=tmp_path).settings
    assert (settings.seed, settings.limit) == (2, None)


def test_a_pyproject_of_another_tool_sets_nothing(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.other]\nseed = 1")
    assert settle(tmp_path=tmp_path).origins == {}


def test_config_names_the_file_and_its_paths_are_beside_it(tmp_path):
    (tmp_path / "ci").mkdir()
    path = tmp_path / "ci" / "audit.toml"
    path.write_text('baseline = "base.json"\nlabels = "/abs/labels.csv"')
    (tmp_path / "equiaudit.toml").write_text("seed = 9")
    settings = settle(tmp_path=tmp_path, config=path).settings
    assert settings.baseline == tmp_path / "ci" / "base.json"
    assert settings.labels == "/abs/labels.csv"
    assert settings.seed == 0
    by_env = settle(tmp_path=tmp_path, env={"EQUIAUDIT_CONFIG": str(path)}).settings
    assert by_env == settings


def test_an_unknown_key_names_file_and_nearest(tmp_path):
    (tmp_path / "equiaudit.toml").write_text("max-shfit = 4")
    message = refused(tmp_path=tmp_path)
    assert "'max-shfit'" in message
    assert "'max-shift'" in message
    assert str(tmp_path / "equiaudit.toml") in message


def test_an_unknown_variable_is_a_note_with_the_nearest():
    found = settle(env={"EQUIAUDIT_MAX_SHFIT": "4", "EQUIAUDIT_CASES": "x", "OTHER": "1"})
    assert found.settings.max_shift == 16
    (note,) = found.notes
    assert "EQUIAUDIT_MAX_SHFIT" in note
    assert "EQUIAUDIT_MAX_SHIFT" in note


@pytest.mark.parametrize("content", [b"seed = ", b"seed = 1\nseed = 2", b"\xff\xfe"])
def test_a_broken_file_is_named(tmp_path, content):
    (tmp_path / "equiaudit.toml").write_bytes(content)
    assert str(tmp_path / "equiaudit.toml") in refused(tmp_path=tmp_path)


def test_a_bad_value_in_a_file_names_key_and_file(tmp_path):
    (tmp_path / "equiaudit.toml").write_text('size = "big"')
    assert refused(tmp_path=tmp_path).startswith(f"size in {tmp_path / 'equiaudit.toml'}: ")


def test_missing_config_is_an_error(tmp_path):
    assert "no settings file" in refused(tmp_path=tmp_path, config=tmp_path / "none.toml")
    (tmp_path / "pyproject.toml").write_text("[tool.other]")
    assert "[tool.equiaudit]" in refused(tmp_path=tmp_path, config=tmp_path / "pyproject.toml")


def test_trust_is_not_taken_from_a_file_or_the_environment(tmp_path):
    (tmp_path / "equiaudit.toml").write_text("trust = true")
    assert "command line only" in refused(tmp_path=tmp_path)
    assert "command line only" in refused(env={"EQUIAUDIT_TRUST": "1"})
    assert settle({"trust": True}).settings.trust


def test_only_the_settings_that_apply_come_from_below(tmp_path):
    (tmp_path / "equiaudit.toml").write_text('format = "html"\nstrict = true')
    settings = settle({"format": "json"}, tmp_path, applies=("strict",)).settings
    assert (settings.format, settings.strict) == (("json",), True)
    assert settle({}, tmp_path, applies=("strict",)).settings.format == ("text",)


def test_scan_takes_what_the_command_line_takes():
    """By the same names; a format is how the command line shows the result."""
    flags = {NOT_OF_SCAN.get(name, name) for name in Settings.model_fields} - {None}
    assert set(AllSettings.__annotations__) == flags


def test_every_option_has_one_default():
    """That of `Settings`; `fix` has each of its own in one place."""
    for group in (ScanOptions, _Asked, Reading):
        for field in fields(group):
            name = {"gates": "gate"}.get(field.name, field.name)
            assert field.default == getattr(DEFAULTS, name), field.name


OF_FIX = {FixOptions: MethodSettings, Measuring: MeasuringSettings, Stages: TrainingSettings}


def test_fix_takes_what_its_flags_say():
    for group, settings in OF_FIX.items():
        assert set(declared(group)) == set(settings.__annotations__)
        assert all(each.flag.help.endswith(".") for each in declared(group).values())
    flags = {name for group in OF_FIX for name in declared(group)}
    assert set(FixSettings.__annotations__) == flags | {*DATA_FLAGS, *MODEL_FLAGS, "seed"}


@pytest.mark.parametrize(
    ("group", "given", "read"),
    [
        (FixOptions, {"margin": "4", "window": "3", "seconds": "1.5"}, (4, 3, 1.5)),
        (FixOptions, {"window": "auto", "only": ["a", "b"]}, ("auto", ["a", "b"])),
        (
            FixOptions,
            {"positions": ["a=b=boxes", "1=none:px"]},
            ((("a=b", "boxes"), ("1", "none:px")),),
        ),
        (FixOptions, {"positions": {"out": "boxes"}, "window": None}, ((("out", "boxes"),), None)),
        (Measuring, {"max_accuracy_drop": "0.5%", "data": "d"}, (0.005, "d")),
        (Measuring, {"max_accuracy_drop": 0.01, "report": Path("r")}, (0.01, Path("r"))),
        (Stages, {"distil": "2", "train_zero_pad": "0.5", "calibrate": True}, (2, 0.5, True)),
    ],
)
def test_an_option_of_fix_is_read_as_it_declares(group, given, read):
    names = list(given)
    found = taken(group, given)
    assert tuple(getattr(found, name) for name in names) == read
    assert given == {}


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        (FixOptions, "margin", 0),
        (FixOptions, "window", "wide"),
        (FixOptions, "window", -1),
        (FixOptions, "select", "magic"),
        (FixOptions, "pad", "zeros"),
        (FixOptions, "positions", ["boxes"]),
        (FixOptions, "seconds", "soon"),
        (Measuring, "goal", "zero-pad"),
        (Measuring, "max_accuracy_drop", "lots"),
        (Measuring, "max_accuracy_drop", 1.5),
        (Stages, "distil", -1),
        (Stages, "train_limit", 1),
        (Stages, "train_zero_pad", 1.1),
    ],
)
def test_an_option_of_fix_out_of_its_range_is_refused_by_name(group, name, value):
    with pytest.raises(InputError, match=rf"^--{name.replace('_', '-')}: "):
        taken(group, {name: value})


def test_every_setting_has_a_flag_and_help():
    for name, field in Settings.model_fields.items():
        (flag,) = (item for item in field.metadata if isinstance(item, Flag))
        assert flag.help.endswith("."), name


def test_every_format_that_may_be_named_is_there_with_a_file_of_its_own():
    report = pytest.importorskip("equiaudit.report")
    assert {Settings(format=(name,)).format for name in report.FORMATS}
    assert len({each.file for each in report.FORMATS.values()}) == len(report.FORMATS) == 7
