"""The CAPS protocol: windows that slide 1 px per frame, the defect in the middle or at the edge.

Unlike the shift kinds, nothing is compared with an unshifted prediction: the frames of a
sequence show the same defect, so its IoU and its predicted area should not vary.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import platform
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from equiaudit._version import __version__
from equiaudit.audit.assemble import Scan
from equiaudit.audit.forward import outputs_of
from equiaudit.audit.geometry import geometry
from equiaudit.audit.journal import Journal
from equiaudit.audit.observer import Observer, Silent
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.records import ImageRecord
from equiaudit.audit.sequence_pictures import most_varying
from equiaudit.audit.setup import refuse_lost_folders
from equiaudit.data.sequences import Frames, SequenceData, SequenceSource, read_frames
from equiaudit.errors import InputError, RunError
from equiaudit.metrics.sequences import FrameScore, by_frame, score, score_frames, summarise
from equiaudit.models.pixels import normalise
from equiaudit.models.types import Model
from equiaudit.results import Fingerprint, Result, SequenceShift, ShiftResult, Skipped, Timings
from equiaudit.shifts.sliding import BORDER, CAPS, CAPS_KINDS, FRAMES

_COLUMNS = (
    "file",
    "kind",
    "frames",
    "mean_iou",
    "iou_variance",
    "area_variance",
    "lost_share",
    "iou_range",
    "true_area",
    "nonfinite",
)
_NOTES = {
    "middle": "the defect in the middle of the window",
    "boundary": f"the defect {BORDER} px from a corner of the first window",
}


@dataclass(frozen=True)
class SequenceRecord(ImageRecord):
    """One sequence: its kind, and the frames as (predicted, true, common) px."""

    kind: str = ""
    masks_sha256: str = ""
    frames: tuple[FrameScore, ...] = ()

    @property
    def truth(self) -> str:
        """The masks."""
        return self.masks_sha256

    @classmethod
    def from_json(cls, line: str) -> Self:
        """The inverse of `to_json`; ValueError, TypeError or KeyError on a damaged line."""
        data: dict[str, Any] = json.loads(line)
        frames = tuple(FrameScore(**frame) for frame in data.pop("frames"))
        return cls(**{**data, "notes": tuple(data["notes"])}, frames=frames)


def run_sequences(
    model: Model,
    data: SequenceData,
    options: ScanOptions,
    *,
    folder: Path | None = None,
    observer: Observer | None = None,
    settings: Mapping[str, object] | None = None,
) -> tuple[Scan, Journal[SequenceRecord]]:
    """Run `model` over every frame of every sequence; `run_scan` for this protocol.

    Raises InputError where no sequence can be made, or the model's preprocessing resizes.
    """
    if model.preprocess.resize is not None:
        raise InputError(
            "The caps protocol slides a window over images as they are, and the preprocessing"
            f" resizes them to {model.preprocess.resize_text} px.",
            tip="Leave `resize` out, or resize the images beforehand.",
        )
    journal = Journal(folder, _key(model, data), SequenceRecord.from_json, resume=options.resume)
    started, kept = time.time(), len(journal.records)
    try:
        _complete(model, data, options, journal, observer or Silent())
        records = sorted(journal.records.values(), key=lambda r: r.index)
        timings = _timings(started, records[kept:], resumed=kept > 0, batch=_batch(model))
        named = asdict(options) | {"shifts": list(options.shifts)} | dict(settings or {})
        scan = _assemble(model, data, options, records, named, timings)
    except InputError:
        journal.discard()
        raise
    return scan, journal


def _complete(
    model: Model,
    data: SequenceData,
    options: ScanOptions,
    journal: Journal[SequenceRecord],
    observer: Observer,
) -> None:
    frames = {s.index: FRAMES if s.slides else len(s.pairs) for s in data.items}
    done = journal.records.keys()
    if done:
        observer.note(f"Continuing: {len(done)} of {len(frames)} sequences were done before.")
    observer.begin(sum(frames.values()), sum(frames[index] for index in done))
    for source in data.items:
        if source.index not in journal.records:
            journal.append([_record(model, data, source, options)])
            observer.advance(frames[source.index])


def _record(
    model: Model, data: SequenceData, source: SequenceSource, options: ScanOptions
) -> SequenceRecord:
    how = model.preprocess
    kind = f"{CAPS}-{source.setting}"
    frames = read_frames(source, geometry(how, 0), reader=data.reader)
    if isinstance(frames, Skipped):
        refuse_lost_folders(data.root, ())
        if options.strict and frames.name != source.name:
            raise InputError(f"{frames.name}: {frames.reason}.")
        return SequenceRecord(source.index, source.name, "", kind=kind, unreadable=frames.reason)
    scores = score_frames(predicted_defects(model, frames), frames.defects)
    return SequenceRecord(
        index=source.index,
        file=source.name,
        sha256=frames.sha256,
        notes=frames.notes,
        kind=kind,
        masks_sha256=frames.masks_sha256,
        frames=scores,
    )


@torch.inference_mode()
def predicted_defects(model: Model, frames: Frames) -> NDArray[np.bool_]:
    """Where the model sees anything but background in each frame, (N, H, W)."""
    inputs = normalise(frames.pixels, model.preprocess, model.device)
    size = _batch(model)
    found = [
        _foreground(outputs_of(model, list(inputs[i : i + size]), size), model)
        for i in range(0, len(inputs), size)
    ]
    return torch.cat(found).cpu().numpy()


def _foreground(outputs: Tensor, model: Model) -> Tensor:
    outputs = _at_input_size(outputs, model)
    if not bool(outputs.isfinite().all()):
        raise RunError(
            f"{model.name} returned NaN or infinite outputs.",
            tip="Check the preprocessing, or try --device cpu and a float32 model.",
        )
    if outputs.shape[1] > 1:
        return outputs.argmax(1) != 0
    return outputs[:, 0] > (0.5 if model.outputs_probabilities else 0.0)


def _at_input_size(outputs: Tensor, model: Model) -> Tensor:
    """A smaller map is enlarged bilinearly, as its users would; labels are repeated."""
    size, window = (outputs.shape[2], outputs.shape[3]), model.preprocess.size
    if size == window:
        return outputs
    if window[0] % size[0] or window[1] % size[1]:
        raise InputError(
            f"The model returns maps of {size[0]}x{size[1]} for inputs of {window[0]}x{window[1]},"
            " which have no place in them.",
            tip="Use a --size that is a multiple of the map's.",
        )
    if model.outputs_labels:
        return F.interpolate(outputs, size=window, mode="nearest")
    return F.interpolate(outputs, size=window, mode="bilinear", align_corners=False)


def _batch(model: Model) -> int:
    return 8 if model.device.type == "cpu" else 64


def _assemble(
    model: Model,
    data: SequenceData,
    options: ScanOptions,
    records: Sequence[SequenceRecord],
    settings: dict[str, Any],
    timings: Timings,
) -> Scan:
    made = [r for r in records if r.unreadable is None]
    if not made:
        raise InputError(
            f"None of the {len(records)} sequences of {data.root} could be made: "
            + "; ".join(_left_out(records))
            + ".",
            tip="The caps protocol needs labelled images larger than the window, or frames.",
        )
    for name in ("batch_size", "workers", "resume", "images"):
        settings.pop(name, None)
    result = Result(
        tool_version=__version__,
        settings=settings,
        fingerprint=_fingerprint(model, _plan(model, data, options.seed), records),
        layout=data.layout,
        labelled=True,
        shifts={
            kind: _shift_result(kind, [r for r in made if r.kind == kind], model, data, options)
            for kind in _kinds(made)
        },
        notes=(*model.notes, *data.notes, *_left_out(records)),
        timings=timings,
    )
    return Scan(result, lambda: iter([_samples(made)]))


def _kinds(records: Sequence[SequenceRecord]) -> Iterator[str]:
    present = {record.kind for record in records}
    return (kind for kind in CAPS_KINDS if kind in present)


def _left_out(records: Sequence[SequenceRecord]) -> list[str]:
    counts = Counter((r.kind, r.unreadable) for r in records if r.unreadable is not None)
    return [
        f"{kind}: {count} of {sum(r.kind == kind for r in records)} left out: {reason}"
        for (kind, reason), count in sorted(counts.items())
    ]


def _shift_result(
    kind: str,
    own: Sequence[SequenceRecord],
    model: Model,
    data: SequenceData,
    options: ScanOptions,
) -> ShiftResult:
    frames = sorted({len(r.frames) for r in own})
    said = str(frames[0]) if len(frames) == 1 else f"{frames[0]} to {frames[-1]}"
    sources = {source.index: source for source in data.items}

    def pictured(i: int) -> tuple[Frames, NDArray[np.bool_]] | None:
        seen = read_frames(sources[own[i].index], geometry(model.preprocess, 0), reader=data.reader)
        return None if isinstance(seen, Skipped) else (seen, predicted_defects(model, seen))

    worst = most_varying([(r.file, r.frames) for r in own], pictured if options.images else None)
    each = [r.frames for r in own]
    return ShiftResult(
        kind=kind,
        metrics=summarise([score(frames) for frames in each], seed=options.seed),
        sequences=SequenceShift(by_frame=by_frame(each), worst=worst),
        notes=(
            f"windows sliding 1 px per frame, {said} frames a sequence, "
            f"{_NOTES[kind.removeprefix(CAPS + '-')]}; intervals over {len(own)} sequences",
        ),
    )


def _fingerprint(
    model: Model, plan: dict[str, Any], records: Sequence[SequenceRecord]
) -> Fingerprint:
    digest = hashlib.sha256()
    for r in records:
        digest.update(f"{r.kind}:{len(r.file)}:{r.file}:{r.truth}:{r.sha256}\n".encode())
    return Fingerprint(
        model=model.name,
        model_sha256=model.sha256,
        model_kind=model.kind,
        data_sha256=digest.hexdigest(),
        n_images=len({r.file for r in records if r.unreadable is None}),
        preprocess=model.preprocess.plain,
        plan=plan,
        plan_hash=hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest(),
        task=model.task,
        backend=model.backend,
        dtype=model.preprocess.dtype,
        device=str(model.device),
        trusted=model.trusted,
    )


def _plan(model: Model, data: SequenceData, seed: int) -> dict[str, Any]:
    return {
        "kinds": ["crop"],
        "frames": FRAMES if data.items[0].slides else None,
        "border": BORDER,
        "seed": seed,
        "window": list(model.preprocess.size),
        "stride": None if model.plan_stride is None else list(model.plan_stride),
        "protocol": CAPS,
    }


def _key(model: Model, data: SequenceData) -> str:
    how = {k: v for k, v in vars(model.preprocess).items() if k != "source"}
    parts = [__version__, model.sha256, model.backend, str(model.device), data.listing_sha256]
    parts += [
        json.dumps(_plan(model, data, 0), sort_keys=True),
        repr(data.reader),
        json.dumps(how, sort_keys=True),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _timings(
    started: float, done: Sequence[SequenceRecord], *, resumed: bool, batch: int
) -> Timings:
    return Timings(
        started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        seconds=round(time.time() - started, 3),
        passes=sum(len(r.frames) for r in done),
        batch_size=batch,
        workers=1,
        resumed=resumed,
        machine=f"{platform.machine()}, {torch.get_num_threads()} threads",
    )


def _samples(records: Sequence[SequenceRecord]) -> str:
    """One row per sequence."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for record in records:
        own = score(record.frames)
        writer.writerow(
            {
                "file": record.file,
                "kind": record.kind,
                "frames": len(record.frames),
                "mean_iou": repr(own.mean_iou),
                "iou_variance": repr(own.iou_variance),
                "area_variance": repr(own.area_variance),
                "lost_share": repr(own.lost_share),
                "iou_range": repr(own.iou_range),
                "true_area": record.frames[0].true,
                "nonfinite": 0,
            }
        )
    return out.getvalue()
