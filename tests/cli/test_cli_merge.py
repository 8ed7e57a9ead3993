"""equiaudit scan --shard and equiaudit merge: the files, the streams and the exit codes."""

import json

import pytest

from equiaudit.demo import DEMO_ARCH, images_path, weights_path

SCAN = (
    *("scan", weights_path(), images_path(), "--arch", DEMO_ARCH, "--backend", "torch"),
    *("--shifts", "circular", "--offsets", "2", "--limit", "40", "-q"),
)
PASSES, FAILS = "circular.consistency>=0.2", "circular.consistency>=0.999"


@pytest.fixture
def parts(run):
    """Two shards in one folder, given one gate."""
    for shard in ("1/2", "2/2"):
        code, out, err = run(*SCAN, "--shard", shard, "--gate", FAILS, "-o", "parts")
        number = shard[0]
        assert (code, out, err) == (0, f"parts/shard-{number}-of-2.jsonl\n", "")
    return "parts"


def untimed(path):
    result = json.loads(path.read_text())
    del result["timings"]
    return json.dumps(result)


def test_the_reports_and_the_exit_code_are_those_of_one_scan(run, parts, tmp_path):
    for gate, code in ((PASSES, 0), (FAILS, 1)):
        assert run(*SCAN, "--gate", gate, "-o", "whole")[0] == code
        assert run("merge", parts, "--gate", gate, "-o", "merged", "-q")[0] == code
        whole, merged = tmp_path / "whole", tmp_path / "merged"
        assert {p.name for p in whole.iterdir()} == {p.name for p in merged.iterdir()}
        assert untimed(merged / "result.json") == untimed(whole / "result.json")
        assert (merged / "samples.csv").read_bytes() == (whole / "samples.csv").read_bytes()


def test_without_a_gate_those_of_the_shards_are_judged(run, parts):
    code, _, err = run("merge", f"{parts}/shard-2-of-2.jsonl", f"{parts}/shard-1-of-2.jsonl")
    assert code == 1
    assert f"fail  {FAILS}" in err
    assert "Wrote reports/merged/report.html" in err


def test_formats_go_where_they_go_after_a_scan(run, parts, tmp_path):
    code, out, _ = run("merge", parts, "--format", "json,junit", "-o", "out", "--gate", PASSES)
    assert code == 0
    assert json.loads(out)["tool_version"]
    assert (tmp_path / "out" / "junit.xml").is_file()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("merge", "parts/shard-1-of-2.jsonl"), "1 of 2 shards are missing: 2."),
        (("merge", "parts", "parts/shard-1-of-2.jsonl"), "Shard 1 of 2 is there twice"),
        (("merge", "nowhere"), "cannot be read"),
        (("merge", "parts", "--gate", "circular.consistensy>=1"), "consistensy"),
        ((*SCAN, "--shard", "3/2"), "--shard is '3/2'"),
        ((*SCAN, "--shard", "1/2", "--engine", "ray"), "one machine"),
        ((*SCAN, "--shard", "1/2", "--precision", "0.1"), "whole scan has seen enough"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_exit_2(run, parts, argv, said):
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
