"""A baseline is held against the run before any gate is judged."""

import pytest
from results import make_result

from equiaudit.errors import InputError
from equiaudit.judging import Judge
from equiaudit.report import render

PLAIN, DROP = "circular.consistency>=0.1", "circular.consistency drop<=0.5"


@pytest.fixture
def baseline(tmp_path):
    """A saved result, without its samples."""
    path = tmp_path / "base.json"
    path.write_text(render(make_result(), "json"))
    return path


def judged(judge, result):
    notes = []
    return judge.judged(result, None, notes.append).gates, notes


@pytest.mark.parametrize("gate", [PLAIN, DROP])
def test_a_baseline_of_other_images_is_refused_whatever_the_gate(baseline, gate):
    judge = Judge.prepare([gate], baseline)
    result = make_result()
    other = result.fingerprint.model_copy(update={"data_sha256": "f" * 64})
    with pytest.raises(InputError, match="images differ"):
        judged(judge, result.model_copy(update={"fingerprint": other}))
    assert judged(judge, result)[0][0].verdict == "pass"


def test_a_drop_without_samples_is_judged_unpaired_and_said(baseline):
    gates, notes = judged(Judge.prepare([DROP], baseline), make_result())
    assert gates[0].verdict == "pass"
    assert "not paired" in notes[0]


def test_a_missing_baseline_is_no_error_unless_required(tmp_path):
    path = tmp_path / "none.json"
    judge = Judge.prepare([DROP], path)
    assert judge.lacks_baseline
    gates, notes = judged(judge, make_result())
    assert gates[0].verdict == "not judged"
    assert str(path) in notes[0]
    with pytest.raises(InputError, match="no result"):
        Judge.prepare([DROP], path, require=True)
    with pytest.raises(InputError, match="--baseline"):
        Judge.prepare([DROP], None, require=True)
