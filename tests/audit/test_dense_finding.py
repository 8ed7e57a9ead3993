"""A segmenter that finds nothing keeps every pixel: that is refused, or said first."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from dense_small import dense_model, dense_scan, segmentation_data, write_masks
from PIL import Image
from small import write_images

from equiaudit.errors import InputError
from equiaudit.report import render


def distance(x):
    """A map of values that is never below 0."""
    return x.abs().mean(1, keepdim=True) + 0.01


def nothing(x):
    """Class 0 of three, by far."""
    return torch.cat([x[:, :1] * 0 + 9, x[:, :2]], 1)


def parting(x):
    return x[:, :1] - x.mean()


def unlabelled(tmp_path, count=4):
    return segmentation_data(write_images(tmp_path / "plain", count=count, size=(26, 30)), 2)


def masked(tmp_path, count):
    return segmentation_data(write_masks(tmp_path / f"masked{count}", count=count))


def scan(data, net, classes, **settings):
    return dense_scan(data, dense_model(net, classes=classes), **settings).result


def test_a_map_that_is_never_below_0_is_no_class_all_over(tmp_path):
    with pytest.raises(InputError, match="above 0 at every pixel of 4 images") as caught:
        scan(unlabelled(tmp_path), distance, 1)
    assert "--task image" in caught.value.tip


def test_it_stops_after_the_first_block(tmp_path):
    with pytest.raises(InputError, match=r"of 32 images"):
        scan(unlabelled(tmp_path, 33), distance, 1)


def test_where_it_goes_on_the_reports_begin_with_it(tmp_path):
    result = scan(unlabelled(tmp_path), distance, 1, accuracy_check=False)
    (warning,) = result.warnings
    assert "one class (class 1) on 4 of 4 images" in warning
    assert "--task image" in warning
    for form in ("text", "md", "html", "github"):
        shown = " ".join(render(result, form).split())
        assert "so that pixels keep their class says little" in shown, form
    assert render(result, "text").startswith("Warning: ")


def test_a_shift_that_parts_is_seen(tmp_path):
    """One class on the unshifted window alone is no class all over."""

    def padded(x):  # the black that enters is below all that is in the images
        return x.mean(1, keepdim=True) - black

    black = float(((0 - torch.tensor([0.4, 0.5, 0.6])) / torch.tensor([0.2, 0.3, 0.5])).mean())
    black += 1e-4
    data = unlabelled(tmp_path)
    assert scan(data, padded, 1, shifts=("zero-pad",)).warnings == ()
    with pytest.raises(InputError, match="at every pixel"):
        scan(data, padded, 1, shifts=("circular",))


def test_a_segmenter_that_parts_is_not_warned_of(tmp_path):
    assert scan(unlabelled(tmp_path), parting, 1).warnings == ()
    assert scan(masked(tmp_path, 4), None, 3).warnings == ()


def test_one_class_all_over_is_said_of_several_and_of_class_0(tmp_path):
    data = unlabelled(tmp_path)
    (warning,) = scan(data, nothing, 3).warnings
    assert "one class (class 0) on 4 of 4 images" in warning
    assert "--task image" not in warning
    (warning,) = scan(data, lambda x: -distance(x), 1).warnings
    assert "--task image" in warning


def test_masks_of_classes_that_are_never_found_stop_the_scan(tmp_path):
    few = replace(masked(tmp_path, 9), class_names={1: "defect"})
    warnings = scan(few, nothing, 3).warnings
    assert "class 1 (defect), class 2 are never found although 9 masks hold them" in warnings[0]
    assert "preprocessing" in warnings[0]
    many = masked(tmp_path, 10)
    with pytest.raises(InputError, match="although 10 masks hold them") as caught:
        scan(many, nothing, 3)
    assert "--no-accuracy-check" in caught.value.tip
    assert len(scan(many, nothing, 3, accuracy_check=False).warnings) == 2


def test_a_class_that_is_met_is_found(tmp_path):
    def barely(x):
        scores = nothing(x)
        scores[:, 2, 5:9, 5:9] = 10
        return scores

    assert scan(masked(tmp_path, 10), barely, 3).warnings == ()


def test_masks_of_class_1_alone_are_met_by_it(tmp_path):
    root = write_masks(tmp_path / "data", ignored=None)
    for path in (root / "masks").iterdir():
        Image.fromarray(np.ones((26, 30), np.uint8)).save(path)
    (warning,) = scan(segmentation_data(root, 2, offset=0), distance, 1).warnings
    assert "one class (class 1)" in warning
