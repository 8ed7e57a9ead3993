"""Images with annotated boxes, whose categories become the labels of a model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from equiaudit.data.classes import spelling
from equiaudit.data.dataset import Dataset, dataset_of, listing_of
from equiaudit.data.layouts import Asked
from equiaudit.data.objects import Marked, ObjectReader, Objects
from equiaudit.data.places import Place, folder_of, let_go
from equiaudit.errors import InputError

_SHOWN = 3
_ALONE = "--layout images takes the images alone: consistency needs no boxes."
_CATEGORY = 4
"""The column of a row that holds it."""


@dataclass(frozen=True)
class Labels:
    """What is known of the labels that a detector gives."""

    model: str
    names: Sequence[str] = ()
    """In the order of labels; empty where they are not known."""
    count: int | None = None
    """How many there are, where the shape of outputs says so."""
    numbers: Literal["ids", ""] = ""
    """"ids": those of the data set that it was trained on, as torchvision's detectors give."""


def open_objects(
    root: str | Place,
    kind: str,
    known: Labels,
    *,
    layout: str = "auto",
    split: str | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Dataset:
    """List the images under `root`, with the boxes of each where a layout has them.

    Categories become labels by name where `known` has names, else by number where layout and
    model say what numbers mean; InputError where neither settles it. `layout`, `split`, `limit`
    and `seed` choose as for `open_dense_dataset`.
    """
    top = folder_of(root)
    name, listing = listing_of(top, kind, layout, Asked(split=split, named=layout != "auto"))
    let_go(top)
    found = dataset_of(name, listing, limit, seed)
    objects = listing.objects
    if objects is None:
        return found
    labels, said = _labels(objects, known, top)
    of = {}
    digest = hashlib.sha256(found.listing_sha256.encode())
    for item in found.items:
        of[item.file] = own = _labelled(objects.of[item.file], labels)
        digest.update(f"{item.file}:{own.size}:".encode() + own.rows.tobytes())
    return replace(
        found,
        truth=ObjectReader(of, objects.shares),
        labelled=True,
        class_names={labels[i]: objects.names[i] for i in sorted(labels)},
        listing_sha256=digest.hexdigest(),
        notes=(*found.notes, f"Categories of the boxes are the model's labels {said}."),
    )


def _labelled(own: Marked, labels: Mapping[int, int]) -> Marked:
    rows = own.rows.copy()
    rows[:, _CATEGORY] = [labels[int(category)] for category in rows[:, _CATEGORY]]
    return replace(own, rows=rows)


def _labels(objects: Objects, known: Labels, root: Place) -> tuple[dict[int, int], str]:
    """Category -> label, for all categories that occur or can be told; and how."""
    if known.names:
        return _by_name(objects, known, root)
    names, count = objects.names, known.count
    order = sorted(names)
    if len(order) == count == 1:
        return {order[0]: 0}, "as there is one of each"
    if objects.labels and count in (None, len(order)):
        return {i: i for i in order}, "by number, as such data have it"
    if objects.ids and known.numbers == "ids":
        return {i: i for i in order}, "by number, as detectors of that kind give the ids"
    if objects.ids and count is not None and count in (len(order), order[-1] + 1):
        if count == order[-1] + 1:
            return {i: i for i in order}, "by number, as there are as many as ids go"
        return {i: k for k, i in enumerate(order)}, "in the order of their ids"
    has = "" if count is None else f", of which there are {count}"
    raise InputError(
        f"{root} has {len(order)} categories ({_listed(names.values())}), and which labels of"
        f" {known.model}{has} they are cannot be told.",
        tip=f"--class-names FILE names its labels in their order; {_ALONE}",
    )


def _by_name(objects: Objects, known: Labels, root: Place) -> tuple[dict[int, int], str]:
    places: dict[str, list[int]] = {}
    for place, name in enumerate(known.names):
        places.setdefault(spelling(name), []).append(place)
    occurs = {int(c) for own in objects.of.values() for c in np.unique(own.rows[:, _CATEGORY])}
    found: dict[int, int] = {}
    lacking = []
    for category, name in objects.names.items():
        at = places.get(spelling(name), [])
        if len(at) == 1:
            found[category] = at[0]
        elif category in occurs:
            lacking.append(name)
    if lacking:
        raise InputError(
            f"{root} has boxes of {_listed(lacking)}, and {known.model} knows no such class:"
            f" its {len(known.names)} are {_listed(known.names)}.",
            tip=f"--class-names FILE names its labels in their order, as the data call them;"
            f" {_ALONE}",
        )
    if len(set(found.values())) < len(found):
        raise InputError(f"{root} has two categories of one name, so which is meant is not told.")
    return found, "by name"


def _listed(names: Iterable[str]) -> str:
    each = list(names)
    return ", ".join(each[:_SHOWN]) + (", ..." if len(each) > _SHOWN else "")
