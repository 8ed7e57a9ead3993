"""What a result is in a notebook: a table of pandas, a page, figures."""

import io

import pytest
from dense_results import make_dense_result
from results import make_result

from equiaudit.errors import InputError
from equiaudit.report import render

RESULT = make_result(n=64)


def test_every_figure_is_a_row():
    found = RESULT.to_dataframe()
    assert len(found) == len(RESULT.metric_names())
    for row in found.itertuples():
        estimate = RESULT.metric(f"{row.kind}.{row.metric}")
        assert row.n == estimate.n
        assert row.value == estimate.value or (row.value != row.value and estimate.value is None)
    assert list(found.columns[:5]) == ["kind", "metric", "value", "low", "high"]


def test_the_table_has_a_row_per_metric_and_a_column_per_kind():
    wide = RESULT.table()
    assert list(wide.columns) == list(RESULT.shifts)
    first = next(iter(RESULT.shifts.values())).metrics
    assert list(wide.index) == list(first)
    assert wide.loc["consistency", "crop"] == RESULT.metric("crop.consistency").value


def test_a_result_is_shown_as_its_page_in_a_frame():
    shown = RESULT._repr_html_()
    assert shown.startswith("<iframe srcdoc=")
    page = shown.split('srcdoc="')[1].split('"')[0]
    assert "<" not in page
    assert page.count("&lt;") == render(RESULT, "html").count("<")


def test_agreement_is_drawn_where_it_was_measured():
    figure = RESULT.plot("offsets")
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == list(RESULT.shifts)
    grid = RESULT.shifts["circular"].agreement_map
    drawn = panels[0].collections[0]
    row, column = next(
        (i, j) for i, line in enumerate(grid.total) for j, total in enumerate(line) if total
    )
    share = grid.agree[row][column] / grid.total[row][column]
    values = drawn.get_array().reshape(len(grid.rows), len(grid.cols))
    assert values[row, column] == pytest.approx(share)
    at = drawn.get_coordinates()[row, column]
    assert abs(at[0] - grid.cols[column]) <= 3
    assert abs(at[1] - grid.rows[row]) <= 3


def test_intervals_are_drawn_where_they_are():
    points = [p for p in RESULT.shifts["circular"].by_distance if p.agreement.value is not None]
    (axes,) = RESULT.plot("distance").axes
    bars = axes.containers[0].lines[2][0].get_segments()
    for point, segment in zip(points, bars, strict=True):
        assert sorted(segment[:, 1]) == pytest.approx([point.agreement.low, point.agreement.high])
        assert segment[0, 0] == point.distance


@pytest.mark.parametrize(
    ("result", "what"),
    [(RESULT, "phases"), (RESULT, "causes"), (make_dense_result(), "causes")],
)
def test_every_picture_can_be_saved_and_shows_itself(result, what):
    figure = result.plot(what)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    assert out.getvalue().startswith(b"\x89PNG")
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_what_there_is_not_is_said():
    with pytest.raises(InputError, match="'ofsets'"):
        RESULT.plot("ofsets")
    bare = RESULT.model_copy(update={"boundary": (), "worst": (), "examples": ()})
    with pytest.raises(InputError, match="no causes"):
        bare.plot("causes")
    with pytest.raises(InputError, match="no pictures"):
        bare.plot("frames")
