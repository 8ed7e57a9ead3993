from __future__ import annotations

import json
import subprocess
import sys

import pytest

from equiaudit.report.repair import render_fix, render_inspection, render_verification
from equiaudit.results import Estimate, Skipped
from equiaudit.results.repair import (
    Claim,
    Cost,
    FixReport,
    Inspection,
    Mismatch,
    OpRow,
    ShiftErrors,
    Verification,
)

CONV = OpRow(
    node="conv2d",
    where="layer1.conv1",
    op="conv2d",
    stride=(2, 2),
    padding=(1, 1, 1, 1),
    uneven_padding=True,
    effect="samples a fixed grid",
    fixable=True,
)
EXACT = ShiftErrors(
    comparisons=1023,
    comparisons_exact=1023,
    values=10230,
    values_exact=10230,
    worst_absolute=0.0,
    worst_relative=0.0,
    worst_at=None,
    labels=1023,
    label_changes=0,
)
BROKEN = ShiftErrors(
    comparisons=200_000,
    comparisons_exact=199_999,
    values=2_000_000,
    values_exact=1_999_999,
    worst_absolute=3.5,
    worst_relative=0.25,
    worst_at=Mismatch(image="bar", shift=(3, 0)),
    labels=200_000,
    label_changes=1,
)


def inspection(**changes: object) -> Inspection:
    fields = {
        "tool_version": "1",
        "model": "net.pt",
        "model_sha256": "0" * 64,
        "route": "torch.export",
        "input_size": (224, 224),
        "total_stride": (32, 32),
        "size_multiple": (32, 32),
        "dense": False,
        "ops": (CONV,),
    }
    return Inspection.model_validate(fields | changes)


def verification(**changes: object) -> Verification:
    fields = {
        "subject": "saved file",
        "passed": True,
        "figures": EXACT,
        "control": BROKEN,
        "total_stride": (32, 32),
        "phases": 1023,
        "phases_total": 1023,
        "coverage": "all 1023 phases, each on at least 1 images",
        "images": tuple(f"image {i}" for i in range(9)),
        "dense": False,
        "dtype": "float32",
        "device": "cpu",
        "torch_version": "2.15.0",
        "threads": 1,
        "settings": ("TF32 off",),
    }
    return Verification.model_validate(fields | changes)


def report(**changes: object) -> FixReport:
    cost = {"batch_size": 1, "threads": 1, "device": "cpu", "parameters": 1000}
    fields = {
        "tool_version": "1",
        "outcome": "written",
        "method": "mass",
        "select": "features",
        "inspection": inspection(),
        "output": "fixed.pt",
        "verifications": (verification(),),
        "cost_before": Cost(latency_ms=10.0, bytes=None, **cost),
        "cost_after": Cost(latency_ms=11.5, bytes=2_000_000, **cost),
    }
    return FixReport.model_validate(fields | changes)


def test_an_inspection_shows_every_operation_and_the_sizes() -> None:
    text = render_inspection(inspection(), explain=True)
    assert "1 operation matters to shift equivariance; all can be converted." in text
    assert "sizes in multiples of 32x32 fit" in text
    row = next(line for line in text.splitlines() if "layer1.conv1" in line)
    assert " ".join(row.split()) == "layer1.conv1 conv2d 2x2 1 uneven samples a fixed grid yes"


def test_an_inspection_is_by_stage_and_fits_the_terminal() -> None:
    paths = [f"encoder.layer{n}.{i}.conv1" for n in (1, 2) for i in range(4)]
    paths += [
        "features.3.squeeze",
        "",
        "stem",
        "module." + "deep." * 12 + "conv",
        "blocks.0.0.conv",
    ]
    pads = {"effect": "pads with zeros at the border"}
    ops = [CONV.model_copy(update={"where": path}) for path in paths]
    text = render_inspection(inspection(ops=(*ops, ops[0].model_copy(update=pads))), width=100)
    rows = [" ".join(line.split()) for line in text.splitlines() if "conv2d" in line]
    assert rows == [
        "encoder.layer1 conv2d 4 samples a fixed grid yes",
        "encoder.layer2 conv2d 4 samples a fixed grid yes",
        "features.3 conv2d 1 samples a fixed grid yes",
        "- conv2d 1 samples a fixed grid yes",
        "stem conv2d 1 samples a fixed grid yes",
        "module conv2d 1 samples a fixed grid yes",
        "blocks.0 conv2d 1 samples a fixed grid yes",
        "encoder.layer1 conv2d 1 pads with zeros at the border yes",
    ]
    assert max(map(len, text.splitlines())) <= 100


def test_what_there_was_no_time_for_stands_beside_the_claim() -> None:
    claim = Claim(
        exact=True, shifts="circular", condition="on every circular shift", training="none"
    )
    few = {"phases": 12, "coverage": "12 of the 62 phases along the axes, for want of time"}
    text = render_fix(report(claim=claim, verifications=(verification(**few), verification())))
    assert "Exact on every circular shift, tried at 12 of 1,023 phases for want of" in text
    along = render_fix(report(claim=claim, verifications=(verification(phases=62),)))
    assert "Exact on every circular shift." in along


def test_a_refusal_says_where_why_and_what_would_work() -> None:
    refused = CONV.model_copy(update={"fixable": False, "reason": "align_corners is set"})
    reason = "align_corners is set; " + "a long way out " * 20 + "the end"
    text = render_inspection(
        inspection(
            ops=(refused,),
            refusals=(Skipped(name="up (upsample)", reason=reason),),
            sizes_near=((224, 224), (256, 256)),
        )
    )
    assert "1 of them refused; the model cannot be converted" in text
    assert "up (upsample): align_corners is set" in text
    assert "the end" in text
    assert "does not fit, 224x224 or 256x256 would" in text


def test_a_verification_shows_its_control() -> None:
    text = render_verification(verification())
    assert text.startswith("Verification of the saved file: passed")
    exact = next(line for line in text.splitlines() if "all bits equal" in line)
    assert exact.split()[-2:] == ["100%", "99.9995%"]
    assert "bar by (3, 0)" in text
    assert "image 5 and 3 more" in text


def test_a_single_miss_is_not_rounded_to_100_percent() -> None:
    many = BROKEN.model_copy(update={"comparisons": 10**9, "comparisons_exact": 10**9 - 1})
    text = render_verification(verification(figures=many, control=None, passed=False))
    assert "FAILED" in text
    assert "100%" not in text


def test_periodic_images_and_warnings_are_shown() -> None:
    text = render_verification(
        verification(periodic=BROKEN, periodic_images=("stripes",), warnings=("Worthless.",))
    )
    assert "periodic images" in text
    assert "stripes" in text
    assert "Worthless." in text


def test_a_fix_shows_cost_and_metrics_side_by_side() -> None:
    before = {"circular.consistency": Estimate(value=0.8, low=0.7, high=0.9, n=5, method="bca")}
    after = {"circular.consistency": Estimate(value=1.0, n=5, method="none")}
    text = render_fix(report(before=before, after=after))
    assert "Converted and verified" in text
    assert "11.5 ms (1.15x)" in text
    line = next(line for line in text.splitlines() if "circular.consistency" in line)
    assert line.split()[1:] == ["80%", "[70,", "90]", "100.0%"]


def test_an_unverified_file_says_which_check_failed() -> None:
    text = render_fix(report(outcome="unverified", reason="The saved file cannot be run: x"))
    assert "not verified" in text
    assert "The saved file cannot be run: x" in text


@pytest.mark.parametrize(
    ("render", "record"),
    [
        (render_inspection, inspection()),
        (render_verification, verification()),
        (render_fix, report()),
    ],
)
def test_json_reads_back_as_the_record(render, record) -> None:
    text = render(record, "json")
    assert type(record).model_validate_json(text) == record
    assert json.loads(text)["schema_version"] == 1


def test_names_cannot_drive_the_terminal() -> None:
    text = render_inspection(inspection(model="a\x1b[2Jb", notes=("\x1b]0;title",)))
    assert "\x1b" not in text


def test_neither_results_nor_report_import_torch() -> None:
    code = "import equiaudit.report.repair, equiaudit.repair, sys; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_operations_of_a_kind_are_one_line_unless_asked_for() -> None:
    ops = tuple(CONV.model_copy(update={"where": f"layer{i}.conv1"}) for i in range(9))
    made = report(inspection=inspection(ops=ops))
    short = render_fix(made)
    assert "layer3.conv1" not in short
    (line,) = (line for line in short.splitlines() if "conv2d" in line)
    assert line.split()[1] == "9"
    assert "layer3.conv1" in render_fix(made, explain=True)
    assert "layer3.conv1" in render_fix(report(outcome="planned", inspection=inspection(ops=ops)))


def test_only_what_was_written_or_failed_is_verified_at_length() -> None:
    graph = verification(subject="converted graph")
    short = render_fix(report(verifications=(graph, verification())))
    assert short.count("Criterion:") == 1
    assert "Verification of the converted graph on cpu: passed; 1,023 comparisons" in short
    failed = verification(subject="converted graph", passed=False, figures=BROKEN)
    assert render_fix(report(verifications=(failed, verification()))).count("Criterion:") == 2
