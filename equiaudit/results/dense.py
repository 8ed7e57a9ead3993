"""What is found beyond the figures where a model's output is a map: profiles, maps, pictures.

Pictures are `data:` URIs of PNG files. A *change* is, for segmentation, the share of pixels
whose label differs between the shifted prediction, moved back, and the unshifted one; for
image-to-image models the squared error of the same two over the mean square of the unshifted
output.
"""

from __future__ import annotations

from typing import Literal

from equiaudit.results.base import Estimate, Frozen

Measure = Literal["flip rate", "relative squared error"]


class ClassScore(Frozen):
    """One class of a segmentation, against the masks."""

    index: int
    name: str | None = None
    colour: str
    """``#rrggbb``, as in the pictures."""
    pixels: int
    """Of it in the masks of the unshifted windows."""
    iou_clean: Estimate
    iou_shifted: Estimate
    iou_worst: Estimate
    """At each image's worst shift, see `miou_worst`."""
    lost_object: Estimate | None = None
    """None for the background, class 0."""


class BorderBin(Frozen):
    """Pixels `low` to `high` px (both included) from the nearest border; 0 is the outermost."""

    low: int
    high: int
    change: Estimate


class BorderProfile(Frozen):
    """The change by distance to the border.

    The distance of a pixel is the smaller of two: to the border of the unshifted window, and,
    where the shift took it, to that of the shifted one. Beyond the receptive-field radius
    neither prediction saw a border, so what changes there is not padding's doing.
    """

    measure: Measure
    meaning: str
    bins: tuple[BorderBin, ...]


class ReceptiveField(Frozen):
    """How far an input pixel reaches in the output.

    `radius` is the largest displacement along an axis, px of the input, None where it could
    not be found (`method` then says why). `covers_window`: the reach ended only at the border
    of the window, so the true radius may be larger.
    """

    radius: int | None
    covers_window: bool = False
    method: str


class HeatMap(Frozen):
    """The mean change over a grid of cells that covers the window, row by row.

    `height` and `width` are those of the window, px. None where nothing was compared.
    """

    height: int
    width: int
    values: tuple[tuple[float | None, ...], ...]


class ImageHeatMap(Frozen):
    """Where one image changes: a grey picture, 0 for no change, 255 for a change of `top`."""

    file: str
    change: float
    """Mean over its pixels and shifts."""
    top: float
    picture: str


class ObjectSize(Frozen):
    """The objects of `low` to `high` px, both included, that some shift leaves whole."""

    low: int
    high: int
    objects: int
    always: int
    """Found unshifted and by every shift."""
    lost: int
    """Found unshifted, and by some shift no more."""
    missed: int
    """Not found unshifted."""


class LostObject(Frozen):
    """An object that is found unshifted, and by only `found` of `tried` shifts."""

    file: str
    label: int
    area: int
    """px."""
    at: tuple[int, int]
    """(y, x) of its middle in the unshifted window, px."""
    tried: int
    found: int


class ObjectTable(Frozen):
    """What became of objects: 8-connected parts of a class, class 0 left out."""

    of: Literal["masks", "predictions"]
    """Whether they are those of the masks, or of the unshifted predictions."""
    sizes: tuple[ObjectSize, ...]
    safe_area: int | None
    """px: every object of at least that area was found unshifted and by every shift; None where
    the largest was not."""
    safe_objects: int
    """How many those are."""
    lost: tuple[LostObject, ...] = ()
    """Those that shifts lose most often."""


class DenseShift(Frozen):
    """What one shift kind does to a map."""

    profile: BorderProfile
    mean_map: HeatMap
    """Over all images, in the frame of the unshifted window."""
    heat_maps: tuple[ImageHeatMap, ...] = ()
    """One per image, the most changed first."""
    classes: tuple[ClassScore, ...] = ()
    """Of a segmentation with masks."""
    objects: ObjectTable | None = None
    """Of a segmentation with masks, or of two classes."""


class DenseExample(Frozen):
    """One of the least stable images at its worst shift, in pictures of one size.

    Predictions are coloured by class for segmentation. Where a shift leaves no overlap to
    compare, `shifted_back` and `difference` are grey.
    """

    file: str
    kind: str
    offset: tuple[int | float, int | float]
    """The shift (dy, dx)."""
    change: float
    """At that shift: flip rate, or NMSE."""
    miou_clean: float | None = None
    """Of this image, where it has a mask."""
    miou_shifted: float | None = None
    """Of this image at that shift."""
    input: str
    shifted_input: str
    clean: str
    """The unshifted prediction."""
    shifted_back: str
    """The prediction of the shifted input, moved back."""
    difference: str
    """White where labels differ, black where they agree; or the absolute error, scaled so
    that the largest is white."""
    truth: str | None = None
    """The mask or the target."""
