"""What the labels of a data set mean to a model: label -> class index, in every way it may be read.

A name that the model knows, or a wnid of ImageNet, has one meaning. A number may be the index, or
count from 1, or be the name of a folder that torchvision's ImageFolder counted in the order of
strings (0, 1, 10, 2); other names were counted in the order of strings or, by timm, naturally
(class_2 before class_10). Where these differ, all are kept, and what the model says of the images
decides (`Doubt`), or the user.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from equiaudit.errors import InputError

ClassOrder = Literal["string", "natural", "index"]

_LABELS_TIP = "Give the labels with --labels FILE.csv (columns file,label)."
_TABLE_TIP = "Labels are class indices from 0, or names that --class-names FILE lists."
_NAMES_TIP = "--class-names FILE says which classes the model has, in their order."
_NUMBER = re.compile(r"(\d{1,9})(?:\.0+)?", re.ASCII)
_REAL = re.compile(r"[+-]?\d+(\.\d*)?(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_NUMBERED = re.compile(r"(.*?)(\d{1,9})", re.ASCII | re.DOTALL)
_WNID = re.compile(r"n\d{8}", re.ASCII)
_MOST_CLASSES = 1 << 17
_SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing", "dev", "eval"}


@dataclass(frozen=True)
class Known:
    """What is known of the model's classes."""

    count: int | None = None
    names: Sequence[str] | None = None
    ids: Sequence[str] | None = None
    """Further names, such as wnids, one of each class."""


@dataclass(frozen=True)
class Meaning:
    """One meaning of the labels."""

    order: ClassOrder
    said: str
    """As part of "the class folders are read by ..."."""
    index: Mapping[str, int]
    names: Mapping[int, str] = field(default_factory=dict)
    """Class index -> name; empty where the labels are indices and the model has no names."""


@dataclass(frozen=True)
class Classes:
    """What each label in the data means: label -> class index, and class index -> name."""

    index: Mapping[str, int]
    names: Mapping[int, str]
    notes: tuple[str, ...] = ()
    meanings: tuple[Meaning, ...] = ()
    """Where there are several: all, the one in `index` first."""
    settled: bool = False
    """That one holds where nothing speaks for another."""


@dataclass(frozen=True, eq=False)
class Doubt:
    """Labels that can be read in several ways; what a model says of the images may tell."""

    source: str
    meanings: tuple[Meaning, ...]
    """The one that the labels follow, and others."""
    labels: tuple[NDArray[np.int32], ...]
    """(n,) of each meaning."""
    settled: bool
    """The first holds where nothing speaks for another."""

    def of(self, chosen: NDArray[np.int32]) -> Doubt | None:
        """That of the images kept, where meanings still differ."""
        labels = [own[chosen] for own in self.labels]
        kept = [i for i, own in enumerate(labels) if not any((own == b).all() for b in labels[:i])]
        if len(kept) < 2:
            return None
        return Doubt(
            self.source,
            tuple(self.meanings[i] for i in kept),
            tuple(labels[i] for i in kept),
            self.settled,
        )


def classes_of(
    labels: Collection[str],
    known: Known,
    *,
    source: str,
    order: ClassOrder | None = None,
    table: bool = False,
    whole: Sequence[str] = (),
) -> Classes:
    """Match the distinct `labels` of `source` with the classes of the model.

    In this order: (1) all are names or ids of the model's classes; (2) all are wnids, and the
    model has as many classes as ImageNet; (3) all are numbers, alone or behind one prefix; (4)
    there are as many as the model has classes, or that is unknown. A part of the classes will do
    for 1 to 3. Of 3 and 4 there may be several meanings; `order` leaves those of that kind.
    Anything else is an InputError.
    """
    labels = sorted(set(labels))
    named = named_classes(labels, known)
    if named is not None:
        if order is not None:
            raise InputError(
                f"The {source} bear the names of the model's classes, so --class-order is not "
                "needed.",
                tip="Leave it out.",
            )
        return named
    _refuse_splits(labels, source)
    if (bad := no_index(labels)) is not None:
        raise InputError(
            f"The {source} have the label {bad}, which is no class.", tip=_labels_tip(source)
        )
    found = _of_list(labels, whole, known) if whole else _meanings(labels, known, table)
    meanings = _distinct(labels, found, known)
    if order is not None:
        meanings = _of_order(meanings, order, labels, source)
    if not meanings:
        raise _unreadable(labels, known, source)
    return _classes(labels, meanings, known, source, table)


def named_classes(labels: Sequence[str], known: Known) -> Classes | None:
    """(1) and (2) of `classes_of`; None where names do not tell."""
    return _by_model_name(labels, known) or _by_wnid(labels, known)


def _classes(
    labels: Sequence[str], found: list[Meaning], known: Known, source: str, table: bool
) -> Classes:
    first = found[0]
    if len(found) == 1:
        return Classes(first.index, first.names, _notes(first, known, source))
    numbers = [_NUMBER.fullmatch(label) for label in labels]
    zero = all(numbers) and any(int(number[1]) == 0 for number in numbers if number)
    return Classes(first.index, first.names, (), tuple(found), settled=table and zero)


def _notes(only: Meaning, known: Known, source: str) -> tuple[str, ...]:
    if only.order == "index":
        return ()
    if _is_plain(only.index):
        return (f"The {source} are read by {only.said}.",)
    unlike = "" if known.names is None else ", which do not bear the names of the model's classes"
    return (f"Classes are numbered from 0 in the sorted order of the {source}{unlike}.",)


def _is_plain(labels: Collection[str]) -> bool:
    """Whether all are whole numbers."""
    return all(_NUMBER.fullmatch(label) for label in labels)


def _by_model_name(labels: Sequence[str], known: Known) -> Classes | None:
    first = [name.partition(",")[0] for name in known.names or ()]  # of synonyms
    for names in (known.ids, known.names, first or None):
        if names is None:
            continue
        spelled = [spelling(name) for name in names]
        count = Counter(spelled)
        # A name that two classes share decides nothing.
        index = {name: i for i, name in enumerate(spelled) if count[name] == 1}
        if labels and all(spelling(label) in index for label in labels):
            own = {label: index[spelling(label)] for label in labels}
            return Classes(own, dict(enumerate(known.names or names)))
    return None


def spelling(name: str) -> str:
    """A name as names are compared."""
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


@cache
def _imagenet() -> dict[str, int]:
    """wnid -> index of the 1000 classes of ILSVRC 2012, which count in the order of wnids."""
    text = files("equiaudit.data").joinpath("imagenet_wnids.txt").read_text(encoding="ascii")
    return {f"n{number}": i for i, number in enumerate(text.split())}


def _by_wnid(labels: Sequence[str], known: Known) -> Classes | None:
    """Wnids of ImageNet's 1000 classes; of a model with 1001 the first is the background."""
    if known.count not in (1000, 1001) or not all(_WNID.fullmatch(label) for label in labels):
        return None
    wnids = _imagenet()
    if not labels or not all(label in wnids for label in labels):
        return None
    first = known.count - 1000
    index = {label: wnids[label] + first for label in labels}
    names = dict(enumerate(known.names)) if known.names else {i: w for w, i in index.items()}
    behind = ", behind one of the background" if first else ""
    note = f"Wnids are taken for the {len(wnids)} classes of ImageNet in their order{behind}."
    return Classes(index, names, (note,))


def _refuse_splits(labels: Sequence[str], source: str) -> None:
    if len(labels) > 1 and all(label.casefold() in _SPLITS for label in labels):
        raise InputError(
            f"The {source} are {some(labels)}: parts of a data set, and no classes.",
            tip=f"Name one of them as DATA, such as DATA/{labels[-1]}.",
        )


def no_index(labels: Collection[str]) -> str | None:
    """Of labels that are all numbers, the first that is below 0 or has a fraction."""
    if not all(_REAL.fullmatch(label) for label in labels):
        return None
    return next((label for label in labels if _NUMBER.fullmatch(label) is None), None)


def _meanings(labels: Sequence[str], known: Known, table: bool) -> Iterator[Meaning]:
    numbers = _numbers(labels)
    count = known.count
    if count is None and known.names is not None:
        count = len(known.names)
    if numbers is not None:
        yield from _numbered(numbers, count)
        if not numbers.prefix and (count is None or table):
            return
    if count is None or count == len(labels):
        natural = sorted(labels, key=_natural_key)
        yield _counted("string", "string order (ImageFolder)", labels)
        yield _counted("natural", "natural order (timm)", natural)


def _of_list(labels: Sequence[str], whole: Sequence[str], known: Known) -> Iterator[Meaning]:
    """Nothing where the list lacks a label, or the model has another number of classes."""
    if not set(labels) <= set(whole) or known.count not in (None, len(whole)):
        return
    ways: tuple[tuple[ClassOrder, str, Sequence[str]], ...] = (
        ("string", "string order (ImageFolder)", sorted(set(whole))),
        ("index", "the order of the data set's own list", whole),
    )
    for order, said, classes in ways:
        place = {name: i for i, name in enumerate(classes)}
        yield Meaning(order, said, {label: place[label] for label in labels})


def _counted(order: ClassOrder, said: str, labels: Sequence[str]) -> Meaning:
    return Meaning(order, said, {label: i for i, label in enumerate(labels)})


def _natural_key(label: str) -> list[tuple[int, int, str]]:
    """That of timm: digits count as numbers, and case does not."""
    parts = re.split(r"(\d+)", label.lower(), flags=re.ASCII)
    return [(1, int(p), "") if p.isdigit() and p.isascii() else (0, 0, p) for p in parts]


@dataclass(frozen=True)
class _Numbers:
    prefix: str
    of: Mapping[str, int]
    width: int
    """Of numbers that are filled up with zeros; 0 where they are not."""

    def spelled(self, number: int) -> str:
        return f"{self.prefix}{number:0{self.width}d}"


def _numbers(labels: Sequence[str]) -> _Numbers | None:
    """The numbers that all labels end in, behind one prefix; None where they do not."""
    plain = [_NUMBER.fullmatch(label) for label in labels]
    if all(plain):
        found = [("", m[1]) for m in plain if m]
    else:
        ends = [_NUMBERED.fullmatch(label) for label in labels]
        if not all(ends):
            return None
        found = [(m[1], m[2]) for m in ends if m]
    widths = {len(digits) for _, digits in found}
    padded = len(widths) == 1 and any(d.startswith("0") and len(d) > 1 for _, d in found)
    if len({prefix for prefix, _ in found}) != 1 or not labels:
        return None
    of = {label: int(digits) for label, (_, digits) in zip(labels, found, strict=True)}
    return _Numbers(found[0][0], of, widths.pop() if padded else 0)


def _numbered(numbers: _Numbers, count: int | None) -> Iterator[Meaning]:
    """As indices, as counted from 1, and as strings of all the classes that there may be."""
    of = numbers.of
    if count is None:
        if not numbers.prefix:
            yield Meaning("index", "class indices", of)
        return
    bases = [b for b in (0, 1) if all(b <= n < b + min(count, _MOST_CLASSES) for n in of.values())]
    for base in bases:
        order: ClassOrder = "natural" if base else "index"
        said = "numbers from 1" if base else "class indices from 0"
        yield Meaning(order, said, {label: n - base for label, n in of.items()})
    for base in bases:
        whole = sorted(map(numbers.spelled, range(base, base + count)))
        place = {name: i for i, name in enumerate(whole)}
        said = f"string order from {whole[0]} (ImageFolder)"
        index = {label: place[numbers.spelled(n)] for label, n in of.items()}
        yield Meaning("string", said, index)


def _distinct(labels: Sequence[str], meanings: Iterator[Meaning], known: Known) -> list[Meaning]:
    """Those that differ, with the names that go with each."""
    found: dict[tuple[int, ...], Meaning] = {}
    for meaning in meanings:
        places = tuple(meaning.index[label] for label in labels)
        found.setdefault(places, replace(meaning, names=_names(meaning, known)))
    return list(found.values())


def _names(meaning: Meaning, known: Known) -> dict[int, str]:
    plain = _is_plain(meaning.index)
    if known.names is not None and (plain or meaning.order == "index"):
        return dict(enumerate(known.names))
    if plain and meaning.order == "index":
        return {}
    return {i: label for label, i in meaning.index.items()}


def _of_order(
    meanings: list[Meaning], order: ClassOrder, labels: Sequence[str], source: str
) -> list[Meaning]:
    if len(meanings) == 1:
        return meanings
    kept = [meaning for meaning in meanings if meaning.order == order]
    if not kept:
        known = ", ".join(dict.fromkeys(meaning.order for meaning in meanings))
        raise InputError(
            f"The {source} ({some(labels)}) cannot be read by --class-order {order}.",
            tip=f"They can by {known}." if known else _labels_tip(source),
        )
    return kept


def _of_table(source: str) -> bool:
    return source.startswith("rows of ")


def _labels_tip(source: str) -> str:
    """Who gave a table is not told to give one."""
    return _TABLE_TIP if _of_table(source) else _LABELS_TIP


def _unreadable(labels: Sequence[str], known: Known, source: str) -> InputError:
    numbers = _numbers(labels)
    count = known.count if known.count is not None else len(known.names or ())
    if numbers is not None and not numbers.prefix:
        label = next((label for label, n in numbers.of.items() if n >= count), max(labels, key=len))
        return InputError(
            f"The {source} name class {label!r}, and the model's {count} classes are 0 to "
            f"{count - 1}.",
            tip=_labels_tip(source),
        )
    return InputError(
        f"The {source} name {len(labels)} classes ({some(labels)}) and the model has {count}, so "
        f"which is which cannot be told{_unknown(labels, known)}.",
        tip=_NAMES_TIP if _of_table(source) else f"{_NAMES_TIP} {_LABELS_TIP}",
    )


def _unknown(labels: Sequence[str], known: Known) -> str:
    """The first label that is no name of the model's, where it has names."""
    names = known.names or known.ids
    if names is None:
        return ""
    spelled = {spelling(name) for name in (*(known.names or ()), *(known.ids or ()))}
    missing = [label for label in labels if spelling(label) not in spelled]
    if not missing:
        return ""
    return f"; the model has no class {missing[0]!r} (it has {some(names)})"


def some(names: Collection[str], limit: int = 3) -> str:
    """The first few, quoted."""
    shown = ", ".join(repr(name) for name in list(names)[:limit])
    return f"{shown}, ..." if len(names) > limit else shown
