"""What speaks for and against a reading of an output: names, operators, ranges, siblings.

Each rule looks at one output among all and returns the words of what it found, or None. The
table of them is in docs/models.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from equiaudit.models.layouts import fitting_layouts
from equiaudit.models.origins import Origin
from equiaudit.models.outputs import is_share, sums_to_one
from equiaudit.models.types import Layout

_MANY = 10
"""Numbers from which on it is no accident that none is negative, or that all are of one kind."""
_FEATURES = 64
"""The widths of features are multiples of it."""
_COARSE = 16
_HUGE = 15.0
"""A logit of this size for noise would be an odd one."""


@dataclass(frozen=True)
class Output:
    """One tensor among those that a model returns for noise."""

    name: str
    place: int
    tensor: Tensor
    origin: Origin

    @property
    def shown(self) -> str:
        """Name and shape."""
        return f"{self.name or 'output'} {tuple(self.tensor.shape)}"

    @property
    def rows(self) -> Tensor:
        """(N, ...) as (N, numbers)."""
        return self.tensor.flatten(1) if self.tensor.dim() > 1 else self.tensor[:, None]


@dataclass(frozen=True)
class Seen:
    """All that a look at a model has shown; what costs a run is run when asked for."""

    batch: int
    window: tuple[int, int]
    outputs: tuple[Output, ...]
    louder: Callable[[int], Tensor | None] = lambda place: None
    """The output at a place for noise a hundred times as strong; None where it cannot be had."""
    follows: Callable[[int], Layout | None] = lambda place: None
    """The layout whose axes a changed patch of the image shows along."""
    suppresses: bool = False
    """A non-maximum suppression is somewhere in the graph."""
    stated: str = ""
    """The task that the file's metadata state."""
    names: int = 0
    """How many classes the file names."""
    named: bool = False
    """The user named the output."""

    @cached_property
    def per_image(self) -> tuple[Output, ...]:
        """The outputs that have a row per image."""
        return tuple(
            o for o in self.outputs if o.tensor.dim() > 0 and o.tensor.shape[0] == self.batch
        )


@dataclass(frozen=True)
class Look:
    """What numbers per image may be instead of scores of classes."""

    name: str
    task: str
    """The value of --task that audits it; "" for what nothing can audit."""
    loss: str
    """What reading it as scores would come to."""
    rule: Callable[[Output, Seen], str | None]
    certain: Callable[[Output, Seen], bool] = lambda output, seen: False
    """Whether nothing else is left, so that it is read as `task`."""


def is_whole(tensor: Tensor) -> bool:
    """Whether it holds whole numbers by type."""
    return not tensor.dtype.is_floating_point and not tensor.dtype.is_complex


def has_map_shape(tensor: Tensor) -> bool:
    """Whether it has four axes and more than one place."""
    return tensor.dim() == 4 and tensor.shape[2:] != (1, 1) and tensor.shape[1:3] != (1, 1)


def _named(*words: str) -> re.Pattern[str]:
    return re.compile(rf"(^|[^a-z])({'|'.join(words)})([^a-z]|$)")


_EMBEDDING_SURE = _named("emb", "embs", "embedding", "embeddings", "embeds")
_EMBEDDING = _named("emb", "embs", "embedding", "embeddings", "embeds", "feat", "feats", "feature")
_EMBEDDING_TOO = _named("features", "descriptor", "descriptors", "pooled", "pooler", "hidden")
_POINTS = _named("landmark", "landmarks", "keypoint", "keypoints", "kpt", "kpts", "kps", "joints")
_QUANTITY = _named(
    "age", "depth", "distance", "regression", "yaw", "pitch", "roll", "angle", "steering", "bbox"
)
_QUANTITY_TOO = _named("box", "boxes", "coords", "iou", "weight", "height", "price", "temperature")
_BOXES = _named("box", "boxes", "bbox", "bboxes", "dets", "detections", "detection", "num_dets")
_CLASS_MAPS = ("out", "logits", "seg", "segmentation", "semantic", "mask", "masks", "probs")


def _found(name: str, *patterns: re.Pattern[str]) -> str | None:
    spelled = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return f"its name is {name!r}" if any(p.search(spelled) for p in patterns) else None


def _embedding(output: Output, seen: Seen) -> str | None:
    rows, named = output.rows, _found(output.name, _EMBEDDING, _EMBEDDING_TOO)
    if named and rows.shape[1] > 1:
        return named
    if output.origin.maker == "normalize":
        return "it is divided by its length"
    if rows.shape[1] >= _MANY and _has_unit_length(rows):
        louder = seen.louder(output.place)
        if louder is not None and _has_unit_length(louder.flatten(1)):
            return "every row has length 1"
    features = rows.shape[1] >= _FEATURES and rows.shape[1] % _FEATURES == 0
    if features and output.origin.maker in ("pool", "norm", "relu"):
        return f"it comes from a {_LAYERS[output.origin.maker]}, not from a linear layer"
    return None


def _surely_embedding(output: Output, seen: Seen) -> bool:
    """Unit vectors by construction or in fact, or called an embedding."""
    called = _found(output.name, _EMBEDDING_SURE) and output.rows.shape[1] > 1
    if called or output.origin.maker == "normalize":
        return True
    louder = seen.louder(output.place)
    rows = output.rows
    unit = rows.shape[1] >= _MANY and louder is not None and _has_unit_length(rows)
    return unit and louder is not None and _has_unit_length(louder.flatten(1))


_LAYERS = {"pool": "pooling", "norm": "normalisation", "relu": "rectification"}


def _has_unit_length(rows: Tensor) -> bool:
    length = rows.float().norm(dim=1)
    return torch.allclose(length, torch.ones_like(length), atol=1e-3) and not sums_to_one(rows)


def _points(output: Output, seen: Seen) -> str | None:
    rows = output.rows
    count = rows.shape[1]
    if count > 1 and (named := _found(output.name, _POINTS)):
        return named
    if count < _MANY or count % 2 or output.origin.maker in (*_LAYERS, "softmax", "sigmoid"):
        return None
    low, high = float(rows.min()), float(rows.max())
    if low == high:  # an untrained head of zeros
        return None
    if low >= 0 and 8 <= high <= max(seen.window):
        return f"all {count} numbers lie between {low:.0f} and {high:.0f}, as pixels would"
    if low >= 0 and high <= 1 and not sums_to_one(rows):
        return f"all {count} numbers lie in 0..1, and their sum is not 1"
    return None


def _quantity(output: Output, seen: Seen) -> str | None:
    rows = output.rows.float()
    if (named := _found(output.name, _QUANTITY, _QUANTITY_TOO)) and not sums_to_one(rows):
        return named
    if rows.shape[1] != 1 or output.origin.maker in ("sigmoid", "softmax"):
        return None
    low = float(rows.min())
    return f"it is about {low:.0f} for noise" if low > _HUGE else None


def _multilabel(output: Output, seen: Seen) -> str | None:
    rows = output.rows
    if rows.shape[1] < 2 or sums_to_one(rows):
        return None
    if _states_several(seen):
        return f"its metadata say {seen.stated!r}"
    if not is_share(rows):
        return None
    if output.origin.maker == "sigmoid":
        return "each of its numbers is a sigmoid, and their sum is not 1"
    if output.origin.maker or float(rows.min()) == float(rows.max()):
        return None
    louder = seen.louder(output.place)
    if louder is None or not is_share(louder) or sums_to_one(louder.flatten(1)):
        return None
    return "its numbers lie in 0..1 for noise a hundred times as strong, and their sum is not 1"


def _states_several(seen: Seen) -> bool:
    return re.sub(r"[^a-z]", "", seen.stated.lower()).startswith("multilabel")


def _is_multilabel(output: Output, seen: Seen) -> bool:
    """A sigmoid per class whose name says nothing else, metadata, or shares under as many names."""
    if _states_several(seen) or seen.names == output.rows.shape[1]:
        return True
    other = (_POINTS, _QUANTITY, _QUANTITY_TOO, _EMBEDDING, _EMBEDDING_TOO)
    return output.origin.maker == "sigmoid" and not _found(output.name, *other)


def _ranked(output: Output, seen: Seen) -> str | None:
    rows = output.rows
    if rows.shape[1] < 2:
        return None
    if output.origin.maker == "topk":
        return "a top-k made it"
    beside = [
        other
        for other in seen.per_image
        if other is not output
        and is_whole(other.tensor)
        and other.tensor.shape == output.tensor.shape
    ]
    if not beside or not bool((rows[:, 1:] <= rows[:, :-1]).all()):
        return None
    return f"it is sorted, beside {beside[0].shown} of whole numbers"


POSITIONS = Look("positions", "", "the largest of its numbers is no label", _points)
LOOKS = (
    Look("sorted scores", "", "the first would always be the largest", _ranked),
    Look(
        "an embedding",
        "embedding",
        "the largest of its numbers is no label",
        _embedding,
        _surely_embedding,
    ),
    POSITIONS,
    Look("a quantity", "regression", "its size is no score of a class", _quantity),
    Look(
        "several labels per image",
        "multilabel",
        "only the likeliest would count",
        _multilabel,
        _is_multilabel,
    ),
)
"""In the order in which they are looked for."""


def _boxes(output: Output, seen: Seen) -> str | None:
    boxes = boxes_among(seen)
    if boxes:
        return f"{boxes[0].shown} holds boxes"
    return "it has a non-maximum suppression" if seen.suppresses else None


DETECTION = Look("the boxes of a detector", "detection", "rows of a list are no classes", _boxes)


def boxes_among(seen: Seen) -> list[Output]:
    """The outputs that hold boxes, or a list that has them."""
    return [output for output in seen.outputs if _holds_boxes(output, seen)]


def _holds_boxes(output: Output, seen: Seen) -> bool:
    tensor = output.tensor
    if tensor.dim() in (2, 3) and _found(output.name, _BOXES):
        return True
    whole = is_whole(tensor)
    return tensor.dim() == 3 and tensor.shape[2] == 4 and not whole and not _is_map(tensor, seen)


def _is_map(tensor: Tensor, seen: Seen) -> bool:
    """A map (N, H, W) without an axis of channels."""
    height, width = tensor.shape[1:]
    return height * seen.window[1] == width * seen.window[0]


def maps_among(seen: Seen) -> list[Output]:
    """The outputs that are maps of several channels or one."""
    return [output for output in seen.per_image if has_map_shape(output.tensor)]


def unlike_a_segmenter(output: Output, layout: Layout, seen: Seen) -> str | None:
    """Why a map (N, C, H, W) is no map of classes: a feature map, or a part of a detector."""
    if _found(output.name, _EMBEDDING, _EMBEDDING_TOO):
        return f"its name is {output.name!r}"
    if seen.named or output.name.lower() in _CLASS_MAPS:
        return None
    raw = [
        other
        for other in seen.per_image
        if other.tensor.dim() in (3, 5)
        and not is_whole(other.tensor)
        and (other.tensor.dim() == 5 or not _is_map(other.tensor, seen))
    ]
    if raw:
        return f"it comes beside {raw[0].shown}, as the maps of a detector do"
    sizes = [_size(other, seen) for other in maps_among(seen)]
    own = _size(output, seen)
    if len(set(sizes)) > 1 and own != seen.window:
        return f"the maps have different sizes ({_sizes(sizes)}), as feature maps do"
    channels = output.tensor.shape[1 if layout == "NCHW" else 3]
    if channels >= _FEATURES and own[0] * _COARSE <= seen.window[0]:
        return f"it has {channels} channels and is {seen.window[0] // own[0]} times smaller"
    return None


def several_per_place(output: Output, layout: Layout, seen: Seen) -> str | None:
    """Why several channels of a map may be right at once, as the sigmoids of several labels."""
    axis = 1 if layout == "NCHW" else 3
    tensor = output.tensor
    if tensor.shape[axis] < 2 or not tensor.dtype.is_floating_point or not is_share(tensor):
        return None
    if sums_to_one(tensor.movedim(axis, 1)):
        return None
    if output.origin.maker == "sigmoid":
        return "each is a sigmoid, and their sum is not 1"
    louder = seen.louder(output.place)
    if louder is None or torch.equal(louder, tensor) or not is_share(louder):
        return None
    return "all lie in 0..1, however strong the image, and their sum is not 1"


def _size(output: Output, seen: Seen) -> tuple[int, int]:
    layouts = fitting_layouts(output.tensor.shape, seen.window)
    nhwc = layouts == ("NHWC",)
    height, width = output.tensor.shape[1:3] if nhwc else output.tensor.shape[2:]
    return height, width


def _sizes(sizes: Sequence[tuple[int, int]]) -> str:
    return ", ".join(f"{h}x{w}" for h, w in dict.fromkeys(sizes))
