from __future__ import annotations

import csv
import io
import json
import math
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from results import make_result, png

from equiaudit.comparison import (
    comparable,
    compare,
    compare_files,
    difference_of,
    paired_differences,
    read_samples,
    render_comparison,
)
from equiaudit.errors import InputError
from equiaudit.gates import judge, judged_against, parse_gate
from equiaudit.report import write_reports
from equiaudit.results import Estimate, Result
from equiaudit.shifts import make_plan

COLUMNS = (
    "file",
    "kind",
    "label",
    "clean_label",
    "clean_confidence",
    "offsets",
    "agree",
    "consistency",
    "correct",
    "flip_radius",
    "flipped_label",
    "flipped_dy",
    "flipped_dx",
    "confidence_wobble",
    "logit_error",
    "nonfinite",
)
KINDS = ("circular", "crop")
N, K = 200, 8


def rows_of(kept: Callable[[random.Random], int], right: float, seed: int) -> list[dict[str, str]]:
    """One row per image and kind: `kept` of K shifts keep a label that is right with `right`."""
    draw = random.Random(seed)
    found = []
    for i in range(N):
        label = 1 if draw.random() < right else 0
        for kind in KINDS:
            agree = kept(draw)
            row = dict.fromkeys(COLUMNS, "")
            row |= {
                "file": f"{i}.png",
                "kind": kind,
                "label": "1",
                "clean_label": str(label),
                "clean_confidence": "0.9",
                "offsets": str(K),
                "agree": str(agree),
                "consistency": repr((agree * (agree - 1) + (K - agree) * (K - agree - 1)) / 56),
                "correct": str(agree if label else K - agree),
                "confidence_wobble": "0.25",
                "logit_error": repr(round(draw.random(), 5)),
                "nonfinite": "0",
            }
            found.append(row)
    return found


def text_of(rows: list[dict[str, str]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def result_of(rows: list[dict[str, str]]) -> Result:
    """A result whose agreement is that of the rows."""
    base = make_result(kinds=KINDS, radius=1, period=1, n=N)
    shifts = {}
    for kind, shift in base.shifts.items():
        own = [int(r["agree"]) / K for r in rows if r["kind"] == kind and r["nonfinite"] == "0"]
        mean = sum(own) / len(own)
        agreement = Estimate(
            value=mean, low=mean - 0.03, high=mean + 0.02, n=len(own), method="bca"
        )
        metrics = shift.metrics | {"agreement": agreement}
        shifts[kind] = shift.model_copy(update={"metrics": metrics})
    return base.model_copy(update={"shifts": shifts})


def write(folder: Path, rows: list[dict[str, str]]) -> Path:
    write_reports(result_of(rows), folder, samples_csv=text_of(rows))
    return folder / "result.json"


POOR = rows_of(lambda draw: draw.choice([4, 5, 6, 7, 8]), 0.7, seed=1)
GOOD = rows_of(lambda draw: draw.choice([7, 8, 8]), 0.9, seed=2)


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path / "a", POOR), write(tmp_path / "b", GOOD)


def test_differences_are_b_less_a_over_the_same_images(both: tuple[Path, Path]) -> None:
    rows = {row.metric: row for row in compare_files(*both).rows}
    expected = [
        (int(g["agree"]) - int(p["agree"])) / K
        for p, g in zip(POOR, GOOD, strict=True)
        if p["kind"] == "crop"
    ]
    row = rows["crop.agreement"]
    assert row.difference.value == pytest.approx(sum(expected) / N)
    assert row.difference.n == N
    assert row.paired
    assert row.verdict == "better"
    assert rows["crop.flipped"].verdict == "better"
    assert rows["crop.flipped"].difference.value is not None
    assert rows["crop.flipped"].difference.value < 0


def test_swapped_it_is_worse(both: tuple[Path, Path]) -> None:
    rows = {row.metric: row for row in compare_files(both[1], both[0]).rows}
    for name in ("crop.agreement", "circular.consistency", "crop.flipped", "crop.accuracy_clean"):
        assert rows[name].verdict == "worse", name


def test_the_same_file_twice_shows_no_difference(both: tuple[Path, Path]) -> None:
    found = compare_files(both[0], both[0])
    assert {row.verdict for row in found.rows} == {"no difference shown"}
    assert any("one and the same model" in note for note in found.notes)


def test_mcnemar_is_exact(both: tuple[Path, Path]) -> None:
    row = next(r for r in compare_files(*both).rows if r.metric == "crop.accuracy_clean")
    pairs = [
        (p["clean_label"] == "1", g["clean_label"] == "1")
        for p, g in zip(POOR, GOOD, strict=True)
        if p["kind"] == "crop"
    ]
    a_only, b_only = pairs.count((True, False)), pairs.count((False, True))
    few, trials = min(a_only, b_only), a_only + b_only
    tail = sum(math.comb(trials, i) for i in range(few + 1)) / 2**trials
    assert row.mcnemar is not None
    assert (row.mcnemar.a_only, row.mcnemar.b_only) == (a_only, b_only)
    assert row.mcnemar.p_value == pytest.approx(min(1.0, 2 * tail))


def test_metrics_that_are_no_mean_over_images_are_not_paired(both: tuple[Path, Path]) -> None:
    rows = {row.metric: row for row in compare_files(*both).rows}
    for metric in ("consistency_correct", "flip_radius", "logit_error_max"):
        assert not rows[f"crop.{metric}"].paired
    assert rows["crop.logit_error"].difference.method == "bca"
    assert rows["crop.logit_error_max"].difference.low is None


def test_images_that_one_could_not_score_are_left_out(tmp_path: Path) -> None:
    lost = [dict(row) for row in GOOD]
    for row in lost[:10]:
        row |= {"nonfinite": "2", "agree": "", "consistency": "", "correct": ""}
    found = compare_files(write(tmp_path / "a", POOR), write(tmp_path / "b", lost))
    rows = {row.metric: row for row in found.rows}
    assert rows["crop.agreement"].difference.n == N - 5
    assert "crop: 5 images could not be scored" in " ".join(found.notes)


def test_order_of_rows_does_not_matter(both: tuple[Path, Path], tmp_path: Path) -> None:
    shuffled = list(GOOD)
    random.Random(0).shuffle(shuffled)
    other = write(tmp_path / "c", shuffled)
    mixed, plain = compare_files(both[0], other).rows, compare_files(*both).rows
    for one, two in zip(mixed, plain, strict=True):
        assert one.difference == two.difference


def test_paired_differences_feed_a_drop_gate(both: tuple[Path, Path]) -> None:
    before, after = result_of(GOOD), result_of(POOR)
    found = paired_differences(before, after, read_samples(both[1]), read_samples(both[0]))
    assert "crop.flip_radius" not in found
    gate = parse_gate("crop.agreement drop<=0.01")
    figures = judged_against(after, [gate], before, found)
    (verdict,) = judge(after.model_copy(update={"baseline": figures}), [gate])
    assert verdict.verdict == "fail"
    assert "paired by image" in verdict.reason
    same = paired_differences(before, before, *[read_samples(both[1])] * 2)
    figures = judged_against(before, [gate], before, same)
    (fine,) = judge(before.model_copy(update={"baseline": figures}), [gate])
    assert fine.verdict == "inconclusive"


# -- refusals


def changed(result: Result, **fields: object) -> Result:
    return result.model_copy(update={"fingerprint": result.fingerprint.model_copy(update=fields)})


def test_other_models_and_normalisation_may_be_compared() -> None:
    a = make_result(radius=1, period=1)
    other = changed(a, model_sha256="1" * 64, preprocess=a.fingerprint.preprocess | {"mean": [0]})
    comparable(a, other)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"data_sha256": "0" * 64}, "the images differ"),
        ({"task": "segmentation"}, "the tasks differ"),
        ({"plan_hash": "0" * 64}, "hashes"),
        ({"plan_hash": "0" * 64, "plan": {"seed": 3}}, "the shift plans differ"),
    ],
)
def test_what_forbids_a_comparison_is_named(fields: dict[str, object], said: str) -> None:
    a = make_result(radius=1, period=1)
    with pytest.raises(InputError, match=said):
        comparable(a, changed(a, **fields))


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [("seed", 1, "seed is 0 against 1"), ("window", [64, 64], r"window is \[32, 32\] against")],
)
def test_the_first_difference_of_the_plan_is_named(setting: str, value: object, said: str) -> None:
    a = make_result(radius=1, period=1)
    plan = a.fingerprint.plan | {setting: value}
    with pytest.raises(InputError, match=said):
        comparable(a, changed(a, plan=plan, plan_hash="0" * 64))


def test_a_baseline_of_another_draw_is_told_apart() -> None:
    plan = make_plan(("circular",), window=(32, 32))
    new = changed(make_result(radius=1), plan=plan.describe(), plan_hash=plan.hash)
    stated = {k: v for k, v in plan.describe().items() if k != "draw"}
    old = changed(new, plan=stated, plan_hash="0" * 64)
    with pytest.raises(InputError, match=r"draw is not stated \(another version .* against dealt"):
        comparable(old, new)


def test_another_reach_is_named() -> None:
    a, b = make_result(radius=1, period=1), make_result(radius=2, period=1)
    with pytest.raises(InputError, match="max_shift is 1 against 2"):
        comparable(a, b)


def test_samples_of_another_run_are_refused() -> None:
    a, b = result_of(POOR), result_of(GOOD)
    with pytest.raises(InputError, match=r"not of its result\.json"):
        compare(a, b, {}, {})


def test_swapped_samples_are_refused(both: tuple[Path, Path]) -> None:
    first, second = map(read_samples, both)
    compare(result_of(POOR), result_of(GOOD), first, second)
    with pytest.raises(InputError, match=r"not of its result\.json"):
        compare(result_of(POOR), result_of(GOOD), second, first)


def test_no_samples_beside_is_said(tmp_path: Path) -> None:
    write_reports(result_of(POOR), tmp_path)
    with pytest.raises(InputError, match=r"no samples\.csv"):
        compare_files(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text.replace(",8,", ",eight,", 1), "line 2"),
        (lambda text: text.replace("kind", "sort", 1), "line 2"),
        (lambda text: text + text.splitlines()[-1] + "\n", "repeats"),
        (lambda text: text.replace("0.25", "nan", 1), "not a finite number"),
        (lambda text: text.replace("0.25,", "", 1)[: len(text) // 2], "line"),
        (lambda text: '"' + text, "not a"),
    ],
)
def test_a_broken_samples_file_is_an_input_error(
    tmp_path: Path, spoil: Callable[[str], str], said: str
) -> None:
    path = tmp_path / "samples.csv"
    path.write_text(spoil(text_of(POOR)), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_samples(path)
    assert said in str(caught.value)


# -- both intervals


def test_the_unpaired_interval_is_that_of_independent_figures() -> None:
    a = Estimate(value=0.9, low=0.88, high=0.91, n=100, method="bca")
    b = Estimate(value=0.8, low=0.77, high=0.84, n=80, method="bca")
    found = difference_of(a, b)
    assert found.value == pytest.approx(-0.1)
    assert found.low == pytest.approx(-0.1 - math.hypot(0.03, 0.01))
    assert found.high == pytest.approx(-0.1 + math.hypot(0.04, 0.02))


# -- rendering


def test_text_names_each_row_and_its_verdict(both: tuple[Path, Path]) -> None:
    text = render_comparison(compare_files(*both), "text")
    found = compare_files(*both)
    lines = text.splitlines()
    count = Counter(row.verdict for row in found.rows)
    total = f"Of {len(found.rows)} figures b is better in {count['better']} and worse in "
    assert any(line.startswith(total) for line in lines)
    row = next(i for i, line in enumerate(lines) if line.strip().startswith("Agreement"))
    assert lines[row].count("better") == 2
    assert "points [" in lines[row + 1]
    assert max(map(len, lines)) <= 100
    assert "McNemar p" in render_comparison(found, "md")


def test_the_images_that_changed_are_named(both: tuple[Path, Path]) -> None:
    found = compare_files(*both)
    first, second = (read_samples(path) for path in both)
    files = dict.fromkeys(file for _, file in first)
    differ = [
        file
        for file in files
        if first["crop", file].clean_label != second["crop", file].clean_label
    ]
    assert found.labels is not None
    assert found.labels.differ == len(differ)
    assert found.labels.same.value == 1 - len(differ) / len(files)
    assert [each.file for each in found.labels.examples] == differ[:20]

    assert found.changed[0].metric == "crop.agreement", "what a camera does comes first"
    gains = {
        file: second["crop", file].figure("agreement") - first["crop", file].figure("agreement")
        for file in files
    }
    steadier = [gains[each.file] for each in found.changed[0].steadier]
    assert steadier == sorted((g for g in gains.values() if g > 0), reverse=True)[:20]
    shakier = [gains[each.file] for each in found.changed[0].shakier]
    assert shakier == sorted(g for g in gains.values() if g < 0)[:20]


def test_the_page_shows_the_pictures_that_a_scan_kept(both: tuple[Path, Path]) -> None:
    found = compare_files(*both)
    bare = render_comparison(found, "html")
    assert "Images that changed" not in bare
    first = found.changed[0]
    image = first.shakier[0] if first.shakier else first.steadier[0]
    uri = png([[(1, 2, 3)]])
    shown = image.model_copy(update={"pictures": (("<b>tench", uri), ("x", "javascript:no"))})
    changed = first.model_copy(update={"shakier": (shown,), "steadier": ()})
    page = render_comparison(found.model_copy(update={"changed": (changed,)}), "html")
    assert page.count(uri) == 1
    assert "<b>tench" not in page
    assert "javascript:no" not in page


def test_json_and_csv_hold_every_row(both: tuple[Path, Path]) -> None:
    found = compare_files(*both)
    assert json.loads(render_comparison(found, "json"))["rows"][0]["metric"] == found.rows[0].metric
    rows = list(csv.DictReader(io.StringIO(render_comparison(found, "csv"))))
    assert [f"{row['kind']}.{row['metric']}" for row in rows] == [r.metric for r in found.rows]
    assert float(rows[0]["difference"]) == found.rows[0].difference.value


def test_names_stay_names_in_a_comparison(both: tuple[Path, Path]) -> None:
    found = compare_files(*both)
    hostile = found.model_copy(update={"model_a": "<b>|`x`\x1b[31m\n# h", "notes": ("@me <i>",)})
    text = render_comparison(hostile, "md")
    page = MarkdownIt("commonmark").enable("table").render(text)  # passes tags through
    assert "<b>" not in page
    assert "<i>" not in page
    assert "\n# h" not in text
    for name in ("text", "md", "csv", "json", "html"):
        assert "\x1b" not in render_comparison(hostile, name)


def test_unknown_format_is_an_input_error(both: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match="text, json, csv, md, html"):
        render_comparison(compare_files(*both), "pdf")
