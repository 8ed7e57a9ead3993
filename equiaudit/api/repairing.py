"""`inspect`, `fix` and `verify`: loading, the engine, the scans around it, and the files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

from equiaudit.api.keeping import check_keeping, keep_preprocess
from equiaudit.api.loading import ModelSettings, as_path, as_place, lent_by, listed, prepare
from equiaudit.api.reading import ScanSettings, open_data, parted, settled_task
from equiaudit.api.room import PICTURES, pictures
from equiaudit.audit.observer import Observer, Silent
from equiaudit.audit.options import scan_options
from equiaudit.config import DEFAULTS
from equiaudit.config.flags import taken
from equiaudit.errors import InputError
from equiaudit.repair.options import FixOptions, Measuring, RepairSettings, Verifying

if TYPE_CHECKING:
    from torch import Tensor, nn

    from equiaudit.models import Model
    from equiaudit.results.elsewhere import RuntimeComparison
    from equiaudit.results.repair import FixReport, Inspection, Verification


def inspect(
    model: str | Path | nn.Module | Model,
    data: Any = None,
    *,
    limit: int = 4,
    seed: int = 0,
    output: str | Path | None = None,
    **settings: Unpack[ScanSettings],
) -> Inspection:
    """Every operation that samples, pads or flattens, and whether `fix` can make it exact.

    Needs the input size, and no normalisation. With `data`, `limit` of its images also tell how
    much each operation is to blame for (`Inspection.located`), and then normalisation is needed;
    with `output` too, that folder receives inspection.json and inspection.html. Raises NothingToDo
    where the model cannot be captured as one graph.
    """
    if data is None and output is not None:
        raise InputError("The report of inspect is about images.", tip="Give data, or no output.")
    reading, model_settings = parted(settings)
    prepared = prepare(model, normalisation=data is not None, **model_settings)
    if data is not None:
        reading.check_places(data)
    from equiaudit.repair import inspect as inspect_model

    loaded = prepared.load()
    if data is None:
        return inspect_model(loaded)
    dataset = open_data(loaded, data, reading, limit, seed, settle=False)
    found = inspect_model(loaded, pictures(dataset, loaded.preprocess, limit))
    if output is not None:
        from equiaudit.report.located import write_located

        write_located(Path(output), found)
    return found


def verify(
    model: str | Path | nn.Module | Model,
    data: Any = None,
    *,
    against: str | Path | nn.Module | Model | None = None,
    positions: Mapping[str, str] | None = None,
    limit: int = PICTURES,
    seed: int = 0,
    seconds: float = Verifying.seconds,
    output: str | Path | None = None,
    **settings: Unpack[ScanSettings],
) -> Verification:
    """Whether `model` is exactly equivariant to circular shifts, over every phase.

    Runs on `limit` images of `data` and on a synthetic set; `against` is the unmodified
    model, as a control, and what it is asked whether outputs are read rightly. What the file of
    one of the two does not say of images and output is taken from the other's. Every output
    counts; `positions` as for `fix`. An ONNX file in another runtime than onnxruntime is compared
    with itself there, on the images as they are. With `output`, that folder receives
    verification.json.
    """
    told = taken(Verifying, {"positions": positions, "seconds": seconds})
    reading, model_settings = parted(settings)
    prepared = [
        prepare(
            each,
            normalisation=data is not None,
            lent={} if other is None else lent_by(other, **_for(other, model_settings)),
            **_for(each, model_settings),
        )
        for each, other in ((model, against), (against, model))
        if each is not None
    ]
    if data is not None:
        reading.check_places(data)
    from equiaudit.repair import verify_model

    loaded, *controls = (each.load() for each in prepared)
    images = None
    if data is not None:
        images = pictures(
            open_data(loaded, data, reading, limit, seed, settle=False), loaded.preprocess, limit
        )
    found = verify_model(
        loaded,
        against=controls[0] if controls else None,
        images=images,
        positions=told.positions,
        seed=seed,
        seconds=told.seconds,
    )
    if loaded.kind == "onnx" and loaded.backend != "onnxruntime":
        found = found.model_copy(
            update={"elsewhere": _beside_onnxruntime(model, loaded, images, model_settings)}
        )
    if output is not None:
        from equiaudit.api.fixing import write_verifications

        write_verifications(Path(output), [found])
    return found


def _beside_onnxruntime(
    model: str | Path | nn.Module | Model,
    loaded: Model,
    images: Mapping[str, Tensor] | None,
    settings: ModelSettings,
) -> RuntimeComparison:
    from equiaudit.repair.verify.elsewhere import compared_runtimes
    from equiaudit.repair.verify.images import verification_images

    own: ModelSettings = {**settings, "backend": "onnxruntime"}
    source = loaded.path if not isinstance(model, str | Path) else model
    reference = prepare(str(source), normalisation=False, **_for(str(source), own)).load()
    pairs = [str(item).partition("=") for item in listed(settings.get("input", ()))]
    values = {name: value for name, _, value in pairs}
    pictures_ = verification_images(loaded.preprocess, images)
    return compared_runtimes(loaded, reference, pictures_, values)


class FixSettings(ScanSettings, RepairSettings, total=False):
    """All that `fix` may be told."""


def fix(
    model: str | Path | nn.Module | Model,
    out: str | Path | None,
    *,
    observer: Observer | None = None,
    **settings: Unpack[FixSettings],
) -> FixReport:
    """Convert `model` by `method`, verify it, and write it to `out`.

    The kind of file is told by the suffix of `out`: .pt, .pt2, .onnx or .safetensors. With
    `data`, both models are scanned with the same shifts for the before/after table, and
    `max_accuracy_drop` (0.005 is half a point) is held against the unshifted accuracies.
    `positions` says of outputs by name or place that they are "boxes", "keypoints" or "none", with
    ":px" or ":share" (of the image) behind it where their values do not tell.
    `pad` is how an ONNX file pads circularly. `window` px of every map's border are left out
    of choices, "auto" as many as a shift of 16 px and the padding before it touch.
    `save_preprocess` keeps what is known of `model` beside its file (MODEL.toml).
    With `report`, that folder receives fix.json, fix.md, verification.json and both scans. What
    claims to be exact and does not verify, or loses more accuracy, is left at ``OUT.unverified``.

    With the method "auto" every method that fits is measured on `data`, and that of the highest
    consistency under `goal` is taken among those that lose at most `max_accuracy_drop` (0.01 by
    default); `compare_methods` stops after the measurements.

    `calibrate`, `distil` (epochs) and `finetune` (epochs) win accuracy back before the net is
    verified, on up to `train_limit` images of `train_data`, or of `data` where that is not
    given; `learning_rate` is the highest, and black enters at the share `train_zero_pad` of the
    windows (None: half where a map comes out, else a quarter). A run that was stopped goes on
    where it was.

    Raises NothingToDo (exit 5) where there is nothing to fix, the conversion is refused, or no
    method is within the accuracy.
    """
    from equiaudit.api.fixing import Images, Picking, Request
    from equiaudit.api.recovering import Training

    given: dict[str, Any] = dict(settings)
    asked = taken(Measuring, given)
    data, report, method = asked.data, asked.report, asked.method
    seed = given.pop("seed", DEFAULTS.seed)
    named = {} if method is None else {"method": method}
    options = taken(FixOptions, given, seed=seed, **named)
    picking = Picking(
        wanted=asked.compare_methods or method == "auto",
        only_compare=asked.compare_methods,
        goal=asked.goal,
        max_accuracy_drop=asked.max_accuracy_drop,
    )
    place = as_place(data) if data else None
    shifts = scan_options(given)
    training = taken(Training, given, data=data, seed=seed)
    reading, model_settings = parted(cast(ScanSettings, given))
    request = Request(
        out=as_path(out),
        options=options,
        images=Images(place, reading, replace(shifts, seed=seed)),
        training=replace(training, reading=reading),
        picking=picking,
        folder=as_path(report),
        observer=observer or Silent(),
        by_default=method is None,
    )
    request.checked()
    if asked.save_preprocess:
        check_keeping(model, request.scans)
    prepared = prepare(model, normalisation=request.scans, **model_settings)
    if place is not None and request.scans:
        reading.check_places(place)
    request.check_method()
    loaded = prepared.load()
    if place is not None and request.scans:
        loaded = settled_task(loaded, place, reading)
    found = request.run(loaded)
    if asked.save_preprocess:
        keep_preprocess(loaded, request.observer)
    return found


def _for(model: str | Path | nn.Module | Model, settings: ModelSettings) -> ModelSettings:
    """The settings that fit this model of two: an architecture is only for bare weights."""
    from equiaudit.models import needs_arch

    fitting = settings.copy()
    if not isinstance(model, str | Path) or not needs_arch(model):
        fitting.pop("arch", None)
        fitting.pop("weights", None)
    return fitting
