"""Which pixels of a file a model wants."""

from __future__ import annotations

from equiaudit.data import Geometry, Letterbox
from equiaudit.models.types import Preprocess


def geometry(how: Preprocess, margin: int) -> Geometry:
    """The window of the model's preprocessing, with `margin` px of real pixels around it."""
    return Geometry(
        window=how.size,
        margin=margin,
        resize=how.resize,
        interpolation=how.interpolation,
        gray=how.channels == "gray",
        channels=how.planes if how.channels == "multi" else None,
        value_range=how.image_range,
        fixed="input shape" in how.source.get("size", ""),
        letterbox=Letterbox(how.pad, how.place) if how.fit == "letterbox" else None,
    )
