from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from results import CLASSES, estimate, make_result

from equiaudit.errors import InputError
from equiaudit.report import FORMATS, figures, render, render_text, step_summary, write_reports
from equiaudit.report.maps import heat_maps
from equiaudit.results import Estimate, GridMap, Result, Skipped, load_result
from equiaudit.tasks import METRICS


@pytest.fixture(scope="module")
def result() -> Result:
    return make_result()


def with_agreement(value: float, n: int = 1000) -> Result:
    base = make_result(kinds=("circular",), radius=2, period=2, n=n)
    shift = base.shifts["circular"]
    metrics = shift.metrics | {"agreement": estimate(value, n)}
    return base.model_copy(
        update={"shifts": {"circular": shift.model_copy(update={"metrics": metrics})}}
    )


# -- text


def test_text_says_the_finding_in_words(result: Result) -> None:
    """Real moves first; beside the share of moves stands that of images struck at all."""
    lines = " ".join(
        render(
            result,
            "text",
        ).split()
    )
    assert lines.startswith("1 image in 13 changes its label when moved by up to 16 px (crop, what")
    assert "1 image in 22 changes its label when moved by up to 16 px (circular, a probe" in lines
    flipped = figures.value(result.metric("crop.flipped"), METRICS["flipped"])
    assert f"{flipped} of the images change theirs at some of their moves" in lines


@pytest.mark.parametrize(
    ("agreement", "words"),
    [
        (13 / 14, "1 image in 14 changes its label when moved by up to 2 px"),
        (0.54, "46 images in 100 change their label when moved by up to 2 px"),
        (1.0, "No image changes its label when moved by up to 2 px"),
        (0.0, "Every image changes its label when moved by up to 2 px"),
    ],
)
def test_headline(agreement: float, words: str) -> None:
    assert render(with_agreement(agreement), "text").startswith(words)


def test_text_shows_every_metric_gate_and_loss(result: Result) -> None:
    text = render(result, "text")
    for expected in (
        "[92.7, 95.6]",
        "Accuracy, worst",
        "INCONCLUSIVE",
        "3,700 images",
        "cat/broken.jpg",
        "truck/0007.png",
        "not known",
        "eval mode",
    ):
        assert expected in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_text_keeps_to_its_width(result: Result, width: int) -> None:
    assert max(map(len, render_text(result, width=width).splitlines())) <= width


def test_colour_is_asked_for(result: Result) -> None:
    assert "\x1b[" not in render_text(result)
    assert "\x1b[" in render_text(result, color=True)


# -- json, csv


def test_json_is_the_result(result: Result, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(render(result, "json"), encoding="utf-8")
    assert load_result(path) == result


def test_json_is_stable_and_ends_in_a_newline(result: Result) -> None:
    text = render(result, "json")
    assert text == render(Result.model_validate(json.loads(text)), "json")
    assert text.endswith("}\n")


def test_csv_has_one_row_per_kind_and_metric(result: Result) -> None:
    rows = list(csv.DictReader(io.StringIO(render(result, "csv"))))
    assert [f"{row['kind']}.{row['metric']}" for row in rows] == list(result.metric_names())
    for row in rows:
        assert float(row["value"]) == result.metric(f"{row['kind']}.{row['metric']}").value


# -- md


def test_markdown_is_small_however_much_was_lost(result: Result) -> None:
    many = tuple(Skipped(name=f"{i}" * 40, reason="broken") for i in range(20_000))
    text = step_summary(result.model_copy(update={"unreadable": many, "worst": result.worst * 500}))
    assert len(text.encode()) < 2**20
    assert "19,950 more" in text


def test_markdown_has_no_pictures(result: Result) -> None:
    assert "data:" not in render(result, "md")


# -- html


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def test_html_policy_allows_its_own_style_and_data_images_only(result: Result) -> None:
    text = render(result, "html")
    page = Page(text)
    policy = next(m for m in page.of("meta") if m.get("http-equiv") == "Content-Security-Policy")
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy["content"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    assert page.tags.index(("meta", policy)) < [t for t, _ in page.tags].index("style")


def test_html_loads_nothing_and_runs_nothing(result: Result) -> None:
    page = Page(render(result, "html"))
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "base", "form", "a"}
    for tag, attrs in page.tags:
        assert "style" not in attrs, "the policy would block it"
        assert not [key for key in attrs if key.startswith("on")]
        assert not {"href", "xlink:href", "srcset", "data"} & attrs.keys()
        if "src" in attrs:
            assert tag == "img"
            assert (attrs["src"] or "").startswith("data:image/png;base64,")
        for value in attrs.values():
            assert "url(" not in (value or "") or (value or "").startswith("url(#")


def test_html_style_imports_nothing(result: Result) -> None:
    style = re.search(r"<style>(.*?)</style>", render(result, "html"), re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_html_ids_are_unique_and_labels_point_to_them(result: Result) -> None:
    page = Page(render(result, "html"))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.tags:
        for target in (attrs.get("aria-labelledby") or "").split():
            assert target in ids


def test_html_draws_each_map_cell_with_its_count(result: Result) -> None:
    text = render(result, "html")
    grid = result.shifts["crop"].agreement_map
    assert grid is not None
    i, j = grid.rows.index(3), grid.cols.index(-5)
    share = 100 * grid.agree[i][j] / grid.total[i][j]
    assert f"<title>dy 3, dx -5: {share:.1f}% of {grid.total[i][j]}</title>" in text
    cells = sum(t > 0 for s in result.shifts.values() for row in s.agreement_map.total for t in row)
    assert text.count("<title>dy ") == cells + 3 * 16


def test_html_images_can_be_left_out(result: Result) -> None:
    assert len(Page(render(result, "html")).of("img")) == 16
    assert not Page(render(result, "html", images=False)).of("img")


def test_html_shows_the_worst_images_with_class_names(result: Result) -> None:
    text = render(result, "html")
    worst = result.worst[0]
    assert f"{CLASSES[worst.clean_label]} → {CLASSES[worst.flipped_label]}" in text
    assert worst.file in text


def test_html_tables_have_captions_and_images_have_alternatives(result: Result) -> None:
    page = Page(render(result, "html"))
    assert len(page.of("table")) == len(page.of("caption"))
    assert all(attrs.get("scope") in {"row", "col"} for attrs in page.of("th"))
    assert all(attrs.get("alt") for attrs in page.of("img"))
    assert all(
        attrs.get("role") == "img" and ("aria-label" in attrs or "aria-labelledby" in attrs)
        for attrs in page.of("svg")
    )


def even_map(radius: int) -> GridMap:
    axis = tuple(range(-radius, radius + 1))
    row = (99,) * len(axis)
    return GridMap(
        rows=axis, cols=axis, agree=(row,) * len(axis), total=((100,) * len(axis),) * len(axis)
    )


@pytest.mark.parametrize(("kinds", "radius"), [(3, 112), (20, 32)])
def test_html_stays_under_5_mb(kinds: int, radius: int) -> None:
    base = make_result(radius=2, period=2)
    shift = base.shifts["crop"].model_copy(
        update={"agreement_map": even_map(radius), "phase_map": even_map(radius)}
    )
    heavy = {"thumbnail_clean": base.worst[0].thumbnail_clean[:-4] + "A" * 200_000}
    changes = {
        "shifts": {f"kind{i}": shift.model_copy(update={"kind": f"kind{i}"}) for i in range(kinds)},
        "worst": tuple(w.model_copy(update=heavy) for w in base.worst * 40),
        "unreadable": (Skipped(name="x" * 200, reason="y" * 200),) * 50_000,
    }
    text = render(base.model_copy(update=changes), "html")
    assert len(text.encode()) < 5_000_000
    assert 0 < len(Page(text).of("img")) < 80


def test_a_large_map_is_summed_over_blocks() -> None:
    (drawn,), _ = heat_maps([("crop", even_map(112))])
    assert (drawn.columns, drawn.rows) == (57, 57)
    assert drawn.cells[0].title == "dy -112 to -109, dx -112 to -109: 99.0% of 1,600"
    assert [tick.text for tick in drawn.x_ticks] == ["−112", "−56", "0", "56", "112"]
    assert drawn.x_ticks[2].at == pytest.approx(112.5 / 4 * drawn.scale, abs=0.01)


def test_a_sparse_map_is_summed_until_its_cells_mean_something() -> None:
    grid = even_map(16)
    single = grid.model_copy(
        update={
            name: tuple(tuple(min(count, 1) for count in row) for row in getattr(grid, name))
            for name in ("agree", "total")
        }
    )
    (drawn,), _ = heat_maps([("crop", single)], sparse=True)
    assert (drawn.columns, drawn.cells[0].title) == (
        11,
        "dy -16 to -14, dx -16 to -14: 100.0% of 9",
    )
    (dense,), _ = heat_maps([("crop", grid)], sparse=True)
    assert dense.columns == 33


def test_html_of_a_result_with_almost_nothing_in_it() -> None:
    bare = make_result(kinds=("circular",), radius=1, period=1, labelled=False)
    shift = bare.shifts["circular"].model_copy(
        update={"agreement_map": None, "phase_map": None, "by_distance": (), "metrics": {}}
    )
    empty = bare.model_copy(
        update={
            "shifts": {"circular": shift},
            "boundary": (),
            "worst": (),
            "gates": (),
            "unreadable": (),
            "notes": (),
        }
    )
    for name in FORMATS:
        assert render(empty, name) is not None
    assert not Page(render(empty, "html")).of("svg")


@pytest.mark.parametrize("name", ["md", "html", "text"])
def test_a_cause_without_a_remedy_leaves_its_place_empty(result: Result, name: str) -> None:
    assert not any(part.remedy for part in result.boundary)
    assert "(blank" not in render(result, name).replace("\\", "")


def test_boundary_part_without_estimate_shows_its_reason(result: Result) -> None:
    for name in ("text", "md", "html"):
        assert "cannot be padded" in render(result, name)


def test_reproduce_is_a_command_of_this_scan(result: Result) -> None:
    text = render(result, "html")
    assert (
        "equiaudit scan resnet20_cifar10.onnx DATA --shifts circular,crop,zero-pad "
        "--max-shift 16 --offsets 48 --seed 0 --mean 0.4914,0.4822,0.4465" in text
    )


# -- junit, github


def test_junit_says_what_failed_and_what_was_not_settled(result: Result) -> None:
    suite = ET.fromstring(render(result, "junit")).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("4", "1", "2")
    outcomes = [[child.tag for child in case] for case in suite.iter("testcase")]
    assert outcomes == [[], ["failure"], ["skipped"], ["skipped"]]


def test_junit_strict_fails_the_inconclusive(result: Result) -> None:
    suite = ET.fromstring(render(result, "junit", strict=True)).find("testsuite")
    assert suite is not None
    assert [[child.tag for child in case] for case in suite.iter("testcase")][2] == ["failure"]


def test_junit_names_are_unique_even_when_gates_repeat(result: Result) -> None:
    twice = result.model_copy(update={"gates": result.gates * 3})
    cases = ET.fromstring(render(twice, "junit")).findall("testsuite/testcase")
    assert len({case.get("name") for case in cases}) == len(cases) == 12


def test_github_puts_errors_first_and_stops_at_ten(result: Result) -> None:
    many = result.model_copy(update={"gates": result.gates * 10})
    lines = render(many, "github").splitlines()
    assert len(lines) == 10
    assert [line.startswith("::error") for line in lines[:9]] == [True] * 9
    assert lines[-1].endswith("more, see the report.")


def test_github_levels(result: Result) -> None:
    lines = render(result, "github").splitlines()
    levels = [line.split()[0] for line in lines]
    assert levels == ["::error", *["::warning"] * 3, *["::notice"] * 3]
    assert render(result, "github", strict=True).count("::error") == 2


# -- files and names


def test_reports_are_written_whole(result: Result, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    paths = write_reports(result, folder, samples_csv="file,kind\n")
    assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in paths)
    assert (folder / "samples.csv").read_bytes() == b"file,kind\n"
    assert (folder / "result.json").read_text(encoding="utf-8") == render(result, "json")


def test_writing_again_replaces(result: Result, tmp_path: Path) -> None:
    write_reports(result, tmp_path, images=False)
    write_reports(result.model_copy(update={"notes": ("second",)}), tmp_path)
    assert load_result(tmp_path).notes == ("second",)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_folder_that_is_a_file_is_an_input_error(result: Result, tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        write_reports(result, place)


def test_nothing_is_left_when_a_rename_fails(result: Result, tmp_path: Path) -> None:
    (tmp_path / "result.json").mkdir()
    with pytest.raises(InputError):
        write_reports(result, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_unknown_format_names_the_nearest(result: Result) -> None:
    with pytest.raises(InputError, match="Did you mean html"):
        render(result, "htlm")


def test_a_value_of_nothing_is_a_dash() -> None:
    base = make_result(kinds=("circular",), radius=1, period=1)
    shift = base.shifts["circular"]
    nothing = Estimate(value=None, n=0, method="bca")
    metrics = shift.metrics | {"flip_radius": nothing, "agreement": nothing}
    changed = shift.model_copy(update={"metrics": metrics})
    for name in FORMATS:
        assert "None" not in render(
            base.model_copy(update={"shifts": {"circular": changed}}), name
        ).replace('"None"', "")


def test_causes_stand_before_figures_and_cells_name_their_kind_where_columns_do_not_fit() -> None:
    page = render(make_result(n=64), "html")
    assert page.index('id="causes"') < page.index('id="figures"')
    kinds = re.findall(r'<td role="cell" data-kind="([^"]+)"', page)
    assert kinds[:3] == ["circular", "crop", "zero-pad"]
    assert "n = 64" not in page
    assert "64 images" in page
