"""What reports say of dense outputs."""

from __future__ import annotations

import re

import pytest
from dense_results import EDGES, example, make_dense_result

from equiaudit.report import render
from equiaudit.results import ReceptiveField, Result

RESULT = make_dense_result()


def shown(page: str) -> str:
    return re.sub(r"</?[a-z][^>]*>", " ", page)


@pytest.mark.parametrize("format", ["html", "md", "text"])
def test_the_finding_is_about_pixels_of_the_kind_that_changes_most(format: str) -> None:
    text = " ".join(shown(render(RESULT, format)).split())
    assert "1 pixel in 12 changes its label when moved by up to 4 px" in text
    assert "1 image in" not in text
    assert re.search(r"What changes a pixel(&#39;|')s label, by cause", text)


def test_the_headline_is_of_real_moves_else_of_the_kind_that_changes_most() -> None:
    def title(result: Result) -> str:
        return render(result, "html").split("<h1>")[1].split("</h1>")[0]

    assert title(RESULT).endswith("(crop)")
    probes = {kind: shift for kind, shift in RESULT.shifts.items() if kind != "crop"}
    found = title(RESULT.model_copy(update={"shifts": probes}))
    assert found == "1 pixel in 12 changes its label when moved by up to 4 px (zero-pad)"


def test_sequences_are_said_in_frames_and_counted_as_sequences() -> None:
    shift = RESULT.shifts["circular"]
    lost = shift.metrics["flip_rate"].model_copy(update={"value": 0.05, "n": 9})
    own = shift.model_copy(update={"kind": "caps-middle", "metrics": {"lost_share": lost}})
    text = render(RESULT.model_copy(update={"shifts": {"caps-middle": own}}), "text")
    assert "1 frame in 20 loses the defect" in text
    assert "9 sequences" in text


def test_image_outputs_are_said_by_their_error() -> None:
    text = render(make_dense_result(task="image"), "text")
    assert "The output changes by 0.0064 of its energy" in text
    assert "What changes the output, by cause" in text


@pytest.mark.parametrize("format", ["html", "md", "text"])
def test_classes_and_profile_are_in_every_document(format: str) -> None:
    text = render(RESULT, format)
    assert "background" in text
    assert "defect" in text
    assert "22 px away" in text
    last = "32 to 71 px"
    assert last in text


def test_the_profile_has_a_point_per_bin_and_marks_the_receptive_field() -> None:
    page = render(RESULT, "html")
    section = page.split('id="profile"')[1].split("</section>")[0]
    assert section.count('class="dot"') == len(EDGES) * 3
    assert section.count('class="mark"') == 3
    beyond = RESULT.model_copy(
        update={"receptive_field": ReceptiveField(radius=500, method="reach", covers_window=True)}
    )
    page = render(beyond, "html")
    assert 'class="mark"' not in page.split('id="profile"')[1].split("</section>")[0]
    assert "at least 500 px" in page


def test_pictures_of_an_example_come_in_order_and_foreign_ones_are_left_out() -> None:
    hostile = example("a.png", truth="javascript:alert(1)", clean="data:text/html;base64,AAAA")
    page = render(RESULT.model_copy(update={"examples": (hostile,)}), "html")
    strip = page.split('class="strip"')[1].split("</figure>")[0]
    captions = re.findall(r'soft">([^<]+)</p>', strip)
    assert captions == ["input", "shifted input", "shifted, moved back", "difference"]
    assert "javascript:" not in page
    assert "text/html" not in page


def test_the_file_stays_under_5_mb_with_500_images_and_says_what_is_missing() -> None:
    big = make_dense_result(heat_maps=500, examples=12, side=160)
    page = render(big, "html")
    assert len(page.encode()) < 5_000_000
    assert re.search(r"under circular \(\d+ of 500, the most changed first\)", page)


def test_a_class_colour_is_a_colour() -> None:
    shift = RESULT.shifts["circular"]
    assert shift.dense is not None
    bad = tuple(c.model_copy(update={"colour": 'red"/><script>'}) for c in shift.dense.classes)
    dense = shift.dense.model_copy(update={"classes": bad})
    own = shift.model_copy(update={"dense": dense})
    page = render(RESULT.model_copy(update={"shifts": {"circular": own}}), "html")
    assert "<script" not in page
    assert 'fill="#888888"' in page
