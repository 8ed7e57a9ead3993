"""A file in another runtime beside onnxruntime, on images as they are."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from equiaudit.models.outputs import model_labels, spread_of
from equiaudit.models.runtimes import installed
from equiaudit.models.runtimes.drift import ROUNDING, first_drift
from equiaudit.models.types import Model
from equiaudit.results.elsewhere import RuntimeComparison

_IMAGES = 16


@torch.no_grad()
def compared_runtimes(
    model: Model,
    reference: Model,
    images: Mapping[str, Tensor],
    inputs: Mapping[str, str] | None = None,
) -> RuntimeComparison:
    """`model` beside `reference`, the same ONNX file in onnxruntime, on the first 16 `images`.

    Where the outputs are apart by more than `ROUNDING`, or a label is another, the graph is cut
    to find the operation that drifts first.
    """
    batch = torch.stack(list(images.values())[:_IMAGES])
    found, expected = model.run(batch), reference.run(batch)
    ours, theirs = (model_labels(model, output) for output in (found, expected))
    changes, errors = int((ours != theirs).sum()), [
        float((a - b).abs().max()) / spread_of(b[None])
        for a, b in zip(found, expected, strict=True)
    ]  # fmt: skip
    worst = max(errors)
    drift = None
    if model.path is not None and (changes or not worst <= ROUNDING):
        drift = first_drift(model.path, model.backend, _as_taken(model, batch), inputs=inputs)
    return RuntimeComparison(
        runtime=installed(model.backend).said(),
        reference=installed(reference.backend).said(),
        images=len(batch),
        labels=theirs.numel(),
        label_changes=changes,
        worst_relative=worst,
        bit_equal=sum(torch.equal(a, b) for a, b in zip(found, expected, strict=True)),
        tolerance=ROUNDING,
        drift=drift,
    )


def _as_taken(model: Model, batch: Tensor) -> Tensor:
    """As many images as the file takes, in its layout."""
    part = batch[: model.fixed_batch or 4]
    lacking = (model.fixed_batch or 0) - len(part)
    if lacking > 0:
        part = torch.cat([part, part[-1:].expand(lacking, *part.shape[1:])])
    return part.permute(0, 2, 3, 1) if model.preprocess.layout == "NHWC" else part
