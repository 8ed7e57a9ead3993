"""Causes by distance and what to do about them stand in every report that people read."""

import pytest
from results import estimate, make_result

from equiaudit.report import render
from equiaudit.results import BoundaryPart, CausePoint, Estimate

NEAR, FAR = (CausePoint(nearest=8, furthest=f, estimate=estimate(f / 100, 50)) for f in (8, 16))


@pytest.fixture(scope="module")
def result():
    noise = Estimate(value=-0.01, low=-0.05, high=0.03, n=50, method="paired-wilson")
    parts = (
        BoundaryPart(
            name="crop: border",
            meaning="what enters",
            estimate=estimate(0.3, 50),
            remedy="stand back",
            by_distance=(NEAR, FAR),
        ),
        BoundaryPart(
            name="crop: sampling",
            meaning="the rest",
            estimate=noise,
            remedy="sample better",
            by_distance=(NEAR, FAR),
        ),
        BoundaryPart(name="circular: sampling", meaning="no room", reason="no room <b>"),
    )
    return make_result(radius=1, period=1).model_copy(update={"boundary": parts})


def test_what_is_found_is_followed_by_what_to_do(result):
    text = render(result, "text")
    assert "crop: border: stand back." in text
    assert "sample better" not in text, "its interval holds 0"
    assert "| stand back |" in render(result, "md")
    assert "what enters. stand back" in render(result, "html")


def test_distances_are_listed_by_kind(result):
    for form, title in (("text", "Causes by distance, crop"), ("md", "Causes by distance, `crop`")):
        shown = render(result, form)
        assert title in shown
        assert "8 to 16" in shown.split(title)[1]
    page = render(result, "html")
    assert "<caption>Causes by distance, crop</caption>" in page
    assert '<th scope="row">8 to 16</th>' in page
    assert "no room &lt;b&gt;" in page
    assert "Causes by distance, circular" not in page
